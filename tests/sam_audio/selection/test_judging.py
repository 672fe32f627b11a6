"""Judges on stems that stream by and on files: blocks, rates, channels and lengths."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import tiny_judge
from tiny_judge import FakeJudge

from judge.nano import NanoJudge
from judge.report import in_mixture, presence, print_table
from judge.types import AXES, Judgement
from sam_audio.errors import AudioReadError, ModelError
from sam_audio.selection import judging
from sam_audio.selection.judging import Pair, StemJudge, judge_files, judge_prompt, load_judge
from sam_audio.separator.official.separator import TextCondition
from sam_audio.types import Anchor, Block, Condition, Span

VECTOR = np.eye(1, 384, dtype=np.float32)[0]
SPANS = Condition("span", None, (Anchor(Span(0, 1)),))


def write(path: Path, samples: np.ndarray, rate: int = 48_000) -> Path:
    soundfile.write(path, samples.T, rate, "FLOAT")
    return path


# ---- which judge ---------------------------------------------------------------------------------------


def test_a_path_is_a_judge_of_nanos_kind(tmp_path):
    path = tiny_judge.save(tmp_path / "mine.safetensors")
    assert load_judge(str(path)).name == str(path)


@pytest.mark.parametrize("name", ["missing.safetensors", "no/such/judge"])
def test_no_such_judge(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError) as caught:
        load_judge(str(tmp_path / name) if "." in name else name)
    assert not str(caught.value).endswith(".")


def test_nano_is_the_default_where_it_is_installed(monkeypatch):
    for installed, expected in (["nano", "other"], "nano"), (["other"], None):
        monkeypatch.setattr("peav.checkpoints.packaged", lambda tower, folder, names=installed: names)
        assert judging.default_judge() == expected


# ---- prompts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "vector_dim", "expected"),
    [
        (Condition("dog", VECTOR, text="dog"), 384, VECTOR),
        (Condition("dog", VECTOR, text="dog"), None, "dog"),
        (Condition("dog", VECTOR[:7], text="dog"), 384, "dog"),
        (TextCondition("dog", None, text="dog", tokens=np.zeros((2, 3), np.float32)), 384, "dog"),
        (SPANS, 384, None),
        (SPANS, None, None),
    ],
)
def test_what_a_judge_is_asked(condition, vector_dim, expected):
    asked = judge_prompt(vector_dim, condition)
    assert asked is expected or asked == expected


# ---- stems that stream by ------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_stems_are_heard_in_mono_at_the_judges_rate(rate, channels):
    judge = FakeJudge(sample_rate=16_000)
    mixture = tiny.noise(channels, 2.5, rate)
    stems = np.stack([0.5 * mixture, 0.25 * mixture, mixture])
    listener = StemJudge(judge, [Condition("a", VECTOR, text="a"), Condition("b", VECTOR, text="b")])
    for start in range(0, mixture.shape[-1], 5_000):
        listener.write(Block(mixture[:, start : start + 5_000], stems[..., start : start + 5_000], rate))
    half, quarter = listener.finish()
    assert (half.overall, quarter.overall) == pytest.approx((3, 2), abs=1e-3)
    assert [n for n, _ in judge.heard[:2]] == [16_000, 16_000]  # its windows of a second


def test_what_cannot_be_asked_is_not_judged():
    judge = FakeJudge()
    mixture = tiny.noise(1, 1.0)
    listener = StemJudge(judge, [SPANS, Condition("dog", VECTOR, text="dog")])
    listener.write(Block(mixture, np.stack([mixture, 0.5 * mixture]), 48_000))
    nothing, dog = listener.finish()
    assert nothing is None and dog.overall == pytest.approx(3)
    assert {tuple(prompts) for _, prompts in judge.heard} == {("dog",)}
    alone = StemJudge(judge, [SPANS])
    alone.write(Block(mixture, mixture[None], 48_000))
    assert alone.finish() == [None]


def test_a_judge_that_gives_up_is_no_disaster():
    listener = StemJudge(FakeJudge(fails="the sound is too odd"), [Condition("dog", VECTOR, text="dog")])
    for _ in range(5):
        listener.write(Block(tiny.noise(1, 1.0), tiny.noise(1, 1.0)[None], 48_000))
    assert listener.finish() == [None]
    assert listener.problem == "the sound is too odd"


def test_nothing_at_all_can_be_judged(tmp_path):
    listener = StemJudge(
        load_judge(str(tiny_judge.save(tmp_path / "j.safetensors"))),
        [Condition("a", VECTOR, text="a")],
    )
    assert listener.finish() == [Judgement(5, 5, 5, 5, 0)]


@pytest.fixture
def listened(model, monkeypatch):
    """How many frames the engine of the model has listened to, window by window."""
    windows, listen = [], model.engine.listen
    monkeypatch.setattr(
        model.engine, "listen", lambda *given: windows.append(given[1].shape[-1]) or listen(*given)
    )
    return windows


@pytest.mark.parametrize(("channels", "windows"), [(1, 2), (2, 2), (3, 4)])
def test_what_a_separation_hears_is_not_listened_to_again(model, listened, tmp_path, channels, windows):
    """Of one channel or two; of more, the judge's own mixture of them is another sound."""
    judge = NanoJudge(tiny_judge.save(tmp_path / "j.safetensors"), model.engine)
    mixture, conditions = tiny.noise(channels, 20.0), model.encode(["dog", "rain"])
    listener = StemJudge(judge, conditions)
    tiny.separated(model, conditions, mixture, sinks=[listener])
    found = listener.finish()
    assert listener.problem is None and all(1 <= one.overall <= 5 for one in found)
    assert len(listened) == windows


def test_stems_of_another_rate_are_judged_at_the_recordings(model, tmp_path):
    judge = FakeJudge(sample_rate=16_000)
    mixture, conditions = tiny.noise(1, 3.0, 8_000), model.encode(["dog"])
    listener = StemJudge(judge, conditions)
    tiny.separated(model, conditions, mixture, 8_000, sinks=[listener])
    assert listener.finish()[0] is not None and sum(n for n, _ in judge.heard) == pytest.approx(48_000, abs=4)


# ---- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "stem_rate"), [(48_000, 48_000), (44_100, 48_000), (8_000, 96_000)])
@pytest.mark.parametrize(("channels", "stem_channels"), [(1, 1), (2, 1), (1, 6)])
def test_rates_and_channels_may_differ(tmp_path, rate, stem_rate, channels, stem_channels):
    def tone(rate: int, level: float) -> np.ndarray:
        return (level * np.sin(np.arange(2.2 * rate) * 2 * np.pi * 440 / rate)).astype(np.float32)

    mixture = write(tmp_path / "mix.wav", np.tile(tone(rate, 0.5), (channels, 1)), rate)
    stem = write(tmp_path / "stem.wav", np.tile(tone(stem_rate, 0.25), (stem_channels, 1)), stem_rate)
    judgement = judge_files(FakeJudge(), Pair(mixture, stem, "dog"))
    assert judgement.overall == pytest.approx(3, abs=0.01)
    assert judgement.present == 0.9


@pytest.mark.parametrize("longer", ["mix", "stem"])
def test_small_differences_of_length_are_cut(tmp_path, longer):
    sound = tiny.noise(1, 2.0)
    cut = sound[:, : -round(0.15 * 48_000)]
    mixture = write(tmp_path / "mix.wav", sound if longer == "mix" else cut)
    stem = write(tmp_path / "stem.wav", 0.5 * (sound if longer == "stem" else cut))
    judge = FakeJudge()
    assert judge_files(judge, Pair(mixture, stem, "dog")).overall == pytest.approx(3, abs=1e-3)
    assert judge.heard[0][0] == 48_000


@pytest.mark.parametrize(("mix_s", "stem_s"), [(2.0, 1.0), (1.0, 2.0), (1.0, 1.3)])
@pytest.mark.parametrize("told", [True, False])
def test_large_ones_are_refused(tmp_path, monkeypatch, mix_s, stem_s, told):
    mixture = write(tmp_path / "mix.wav", tiny.noise(1, mix_s))
    stem = write(tmp_path / "stem.wav", tiny.noise(1, stem_s))
    if not told:
        from sam_audio.io.reader import AudioReader

        original = AudioReader.__init__

        def silent_about_length(self, *args, **kwargs):
            original(self, *args, **kwargs)
            self.frames = None

        monkeypatch.setattr(AudioReader, "__init__", silent_about_length)
    judge = FakeJudge()
    with pytest.raises(AudioReadError, match=rf"stem.wav lasts {stem_s:.2f} s and .*mix.wav {mix_s:.2f} s"):
        judge_files(judge, Pair(mixture, stem, "dog"))
    assert bool(judge.heard) != told  # before any work, if headers say so


def test_long_files_are_judged_in_windows(tmp_path):
    sound = tiny.noise(1, 5.3)
    judge = FakeJudge()
    pair = Pair(write(tmp_path / "mix.wav", sound), write(tmp_path / "stem.wav", 0.5 * sound), "dog")
    judge_files(judge, pair)
    assert [n for n, _ in judge.heard] == [48_000] * 5


# ---- how it is told ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "there"), [(0.7, True), (0.69, None), (0.3, None), (0.29, False), (None, None)]
)
def test_presence(present, there):
    judgement = Judgement(1, 2, 3, 4, present)
    assert in_mixture(judgement) is there
    assert presence(judgement).startswith(
        "-" if present is None else {True: "yes", False: "not in the mix", None: "perhaps"}[there]
    )
    assert in_mixture(None) is None and presence(None) == "not judged"


def test_table(capsys):
    rows = [
        ("dog [1] " + "x" * 99, Judgement(4.25, 3, 2, 1, 0.97)),
        ("cat", Judgement(1, 2, 3, 4, 0.02)),
        ("span", None),
    ]
    print_table(rows, sys.stdout)
    head, dog, cat, span = capsys.readouterr().out.splitlines()
    assert all(axis in head for axis in AXES)
    assert dog.split() == ["dog", "[1]", "x" * 99, "4.2", "3.0", "2.0", "1.0", "yes", "(97", "%)"]
    assert "not in the mix (2 %)" in cat
    assert "not judged" in span
