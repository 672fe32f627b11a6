"""Every parser against mutated inputs: what is neither read nor one sentence fails. benchmarks/fuzz.py does more."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("faiss")
pytest.importorskip("pedalboard")

_spec = importlib.util.spec_from_file_location(
    "fuzz", Path(__file__).parent.parent / "benchmarks" / "fuzz.py"
)
assert _spec is not None and _spec.loader is not None
fuzz = importlib.util.module_from_spec(_spec)
sys.modules["fuzz"] = fuzz  # dataclasses look there for the module of a class
_spec.loader.exec_module(fuzz)


@pytest.mark.parametrize("door", fuzz.DOORS)
@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=True))
def test_a_door_reads_or_refuses(door, random):
    with tempfile.TemporaryDirectory() as folder:
        assert fuzz.attempt(door, random, Path(folder)) in ("read", "refused")


@pytest.mark.parametrize("door", fuzz.DOORS)
def test_what_is_not_mutated_is_read(door, tmp_path, monkeypatch):
    """Or else the mutations would only show that everything is refused."""
    monkeypatch.setattr(fuzz, "mutated_bytes", lambda random, data, most=0: data)
    monkeypatch.setattr(fuzz, "mutated_text", lambda random, text: text.encode())
    monkeypatch.setattr(fuzz, "mutated_toml", lambda random, text: fuzz._RACK.encode())
    monkeypatch.setattr(fuzz, "mutated_values", lambda random, values: values)
    random = Random(1)
    monkeypatch.setattr(random, "random", lambda: 0.9)  # takes none of the odd turns
    assert fuzz.attempt(door, random, tmp_path) == "read"


def test_a_finding_is_found(tmp_path, monkeypatch):
    def broken(folder, data):
        raise KeyError("x")

    monkeypatch.setitem(fuzz.DOORS, "labels", fuzz.Door(fuzz.DOORS["labels"].make, broken))
    assert fuzz._case("labels", 0, 0, tmp_path / "a").startswith("KeyError: 'x' (test_fuzz.py:")
