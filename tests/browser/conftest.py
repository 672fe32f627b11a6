"""A server of the editor and a Chromium to look at it with; both live for the whole run.

A plain ``pytest`` takes one of these tests, ``pytest -m browser`` all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chromium import CHROMIUM
from driving import WIDE, visit
from editor_server import Server

SMOKE = "test_a_span_selected_on_the_waveform"


def pytest_collection_modifyitems(config, items):
    here = Path(__file__).parent
    ours = [item for item in items if item.path.is_relative_to(here)]
    for item in ours:
        item.add_marker("browser")
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="needs Chromium: apt-get install chromium"))
    if "browser" not in " ".join([config.getoption("markexpr"), *map(str, config.args)]):
        left_out = [item for item in ours if item.name != SMOKE]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("server"), "--max-upload", "20MB")
    yield one
    one.close()


@pytest.fixture
def page(chromium, server):
    """A visitor; what the page tries to fetch from elsewhere, or against its own policy, is a failure."""
    context = chromium.new_context(viewport=WIDE, accept_downloads=True)
    one = visit(context, server.url)
    yield one
    if os.environ.get("SAM_AUDIO_LAST"):  # how it looked in the end, for those who mend a test
        one.screenshot(path=os.environ["SAM_AUDIO_LAST"], full_page=True)
    context.close()
    assert not one.traffic.problems
    assert "Traceback" not in server.log()
