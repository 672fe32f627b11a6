"""Every parser against mutated inputs: what is neither read nor one sentence fails. benchmarks/fuzz.py does more."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections import Counter
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
def test_a_door_reads_or_refuses(door):
    outcomes = Counter()

    @settings(
        max_examples=max(20, round(200 * fuzz.DOORS[door].share)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(random=st.randoms(use_true_random=True))
    def attempt(random):
        with tempfile.TemporaryDirectory() as folder:
            outcomes[fuzz.attempt(door, random, Path(folder))] += 1

    attempt()
    assert outcomes["read"]  # or else everything would die at the first check


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


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
@pytest.mark.parametrize("what", ["slow", "greedy", "greedy in silence"])
def test_limits_are_real(monkeypatch, what):
    from sam_audio.errors import UserError

    calls = []

    def feed(folder, data):
        calls.append(data)
        if len(calls) == 1:  # the one that loads the libraries
            return
        if what == "slow":
            time.sleep(60)
        try:
            bytearray(2 * fuzz.LIMIT_BYTES)
        except MemoryError:
            if what == "greedy":
                raise
            raise UserError("it is damaged: get another") from None

    monkeypatch.setitem(fuzz.DOORS, "labels", fuzz.Door(fuzz.DOORS["labels"].make, feed))
    monkeypatch.setattr(fuzz, "LIMIT_S", 2)
    _, counts, findings = fuzz._batch(("labels", 0, 0, 1))
    assert counts == {"finding": 1}
    ((number, said),) = findings
    expected = {"slow": "over 2 s", "greedy": "MemoryError", "greedy in silence": "took too much memory"}
    assert number == 0 and expected[what] in said
