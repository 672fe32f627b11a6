"""Fixtures shared by the tests; everything here is seeded, tiny and offline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny
from chromium import CHROMIUM


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What has been made is remembered in no cache but the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM_AUDIO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a separator with random weights."""
    return tiny.save_network(
        tmp_path_factory.mktemp("weights") / "tiny-separator.safetensors", tiny.network()
    )


@pytest.fixture(scope="session")
def separator(tiny_weights):
    """A loaded :class:`sam_audio.Separator` with random weights."""
    from sam_audio import Separator

    return Separator(tiny_weights, device="cpu")


@pytest.fixture(scope="session")
def model(separator):
    """Its :class:`NanoSeparator`."""
    return separator.model


@pytest.fixture
def nano_with_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nano declares variants, as models do that have candidates: the strengths 1, 0.7 and 1.4."""
    from sam_audio.separator.nano.model import NanoSeparator

    monkeypatch.setattr(NanoSeparator, "variants", tiny.strengths)


@pytest.fixture(scope="session")
def bank_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_bank(tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="session")
def chromium():
    """A Chromium that pages are opened in; Playwright allows one in a process."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class Finished(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_command(monkeypatch, capfd):
    """Runs ``sam-audio`` or ``separate`` as its entry point does; gives exit code, stdout and stderr."""
    import sam_audio.cli

    entry_points = {"sam-audio": sam_audio.cli.main, "separate": sam_audio.cli.separate_main}

    def run(name, *arguments):
        monkeypatch.setattr("sys.argv", [name, *map(str, arguments)])
        capfd.readouterr()
        try:
            entry_points[name]()
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        return Finished(code, *capfd.readouterr())

    return run


@pytest.fixture
def fake_hub(tmp_path, monkeypatch):
    """An empty :class:`FakeHub` in place of the network, with an empty cache."""
    from fake_hub import FakeHub

    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    fake = FakeHub(cache)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fake.download)
    return fake


@pytest.fixture
def cli(run_command):
    """Runs ``sam-audio``; modules that test one command of it override this."""
    return partial(run_command, "sam-audio")


@pytest.fixture
def refused(cli):
    """Runs the module's ``cli``, which has to fail with one sentence; gives that."""

    def run(*arguments):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
        return err

    return run


@pytest.fixture(scope="session")
def s3():
    """A bucket on a server of this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("sounds")
        yield "s3://sounds"
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
