"""Prompts: from texts and clues to conditions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny

from sam_audio.conditioning import encode as encoding
from sam_audio.conditioning.priors import BETWEEN, REST, HarmonicPrior
from sam_audio.conditioning.source import Recording
from sam_audio.errors import PromptError, UserError
from sam_audio.extending.hookspecs import Option
from sam_audio.prompts import Prompt, resolve
from sam_audio.prompts.spans import Spans
from sam_audio.prompts.times import parse_span, parse_time, read_labels
from sam_audio.separator.base import SeparationModel
from sam_audio.types import Anchor, Condition, Grid, Span

RATE = 48_000


@dataclass(frozen=True)
class Below:
    """Lets through what lies below a frequency, and after a time; remembers nothing."""

    hz: float
    from_s: float = 0.0

    def gains(self, spectrum, grid):
        inside = (grid.frequencies_hz < self.hz)[:, None] & (grid.times_s >= self.from_s)[None]
        return inside[None].astype(np.float32)


class BelowType:
    """A prompt type to test with."""

    name = "below"
    options = (Option("--below", "HZ", "What lies below."),)

    def parse(self, values):
        return float(values["below"])

    def encode(self, value, condition, recording):
        return replace(condition, masks=(*condition.masks, Below(value)))


REGISTRY = SimpleNamespace(all=lambda hook: {"prompt_types": [Spans(), BelowType()]}.get(hook, []))


def ask(prompts, clues=None):
    return resolve(prompts, clues, REGISTRY)


# ---- times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3), ("3.2", 3.2), (".5", 0.5), ("1:02.5", 62.5), ("1:00:02.125", 3602.125), (" 7s ", 7)],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "a", "1:60", "1:60:00", "-1", "1e3", "1:2:3:4", "nan", "inf", "1,5"])
def test_what_is_no_time(text):
    with pytest.raises(PromptError, match="is not a time"):
        parse_time(text)


@pytest.mark.parametrize("value", ["3.2-5.0", "0:03.2-0:05", "3.2 – 5", (3.2, 5), [3.2, 5.0], Span(3.2, 5.0)])
def test_spans(value):
    assert parse_span(value) == Span(3.2, 5.0)


@pytest.mark.parametrize(
    "value", ["3", "3-", "-3", "5-3", "3-3", "a-b", "", (1,), (1, 2, 3), 7, None, (-1, 2), (1, float("nan"))]
)
def test_what_is_no_span_is_one_sentence(value):
    with pytest.raises(PromptError) as caught:
        parse_span(value)
    assert "\n" not in str(caught.value)


def test_a_label_track(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeff1.5\t2.5\tdog\n\\\t100\t200\n\n3,0\t4,0\t-dog\n5\t6\tnot  cat\n7\t8\n")
    dog, no_dog, no_cat, any_ = read_labels(path)
    assert dog == ("dog", Anchor(Span(1.5, 2.5)))
    assert no_dog == ("dog", Anchor(Span(3.0, 4.0), False))
    assert no_cat == ("cat", Anchor(Span(5.0, 6.0), False))
    assert any_ == ("", Anchor(Span(7.0, 8.0)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no labels"),
        ("hello", "line 1"),
        ("1\t1\tx", "point"),
        ("2\t1\tx", "ends before"),
        (None, "not exist"),
    ],
)
def test_label_tracks_that_cannot_be_used(tmp_path, text, says):
    if text is not None:
        (tmp_path / "l").write_text(text)
    with pytest.raises(PromptError, match=says):
        read_labels(tmp_path / "l")


# ---- what is asked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("dog", Prompt("dog")),
        ("dog barking@3.2-5.0", Prompt("dog barking", spans=["3.2-5.0"])),
        ("dog @ 3-5, !7-9 ,1:00-1:02", Prompt("dog", spans=["3-5", "1:00-1:02"], not_spans=["7-9"])),
        ("@3-5", Prompt(spans=["3-5"])),
        ("music @home", Prompt("music @home")),
        ("mail a@b@3-4", Prompt("mail a@b", spans=["3-4"])),
    ],
)
def test_a_text_may_end_in_spans(text, prompt):
    assert Prompt.of(text) == prompt


def test_clues_of_the_call_are_for_every_prompt_without_its_own():
    requests = ask(
        ["dog@1-2", "cat", Prompt("bird", below=9)], {"spans": ["3-4"], "below": "100", "labels": None}
    )
    assert [request.name for request in requests] == ["dog", "cat", "bird"]
    spans, below = zip(*[[value for _, value in request.clues] for request in requests], strict=True)
    assert [marks.anchors[0].span.start_s for marks in spans] == [1, 3, 3]
    assert below == (100.0, 100.0, 9.0)


def test_clues_alone_are_one_prompt_named_after_their_kinds():
    (both,) = ask([], {"below": "5", "spans": "1-2"})
    (named,) = ask(Prompt(name="engine", below=5))
    assert (both.name, both.text, named.name) == ("span below", None, "engine")


def test_a_single_text_is_a_prompt():
    assert ask("  big   dog ")[0].text == "big dog"


@pytest.mark.parametrize(
    ("prompts", "clues", "says"),
    [
        ([], {}, "nothing is asked"),
        ([], {"spans": [], "labels": ""}, "nothing is asked"),
        (["dog", " "], {}, "empty"),
        ([Prompt()], {}, "nothing is asked"),
        ([3], {}, "text"),
        ([Prompt("dog", pam="left")], {}, "no 'pam'.*spans, not_spans, labels, below"),
        (["dog@3"], {}, "span"),
        (["dog@5-3"], {}, "ends before"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(prompts, clues, says):
    with pytest.raises(PromptError, match=says):
        ask(prompts, clues)


# ---- conditions -------------------------------------------------------------------------------------------


def encode(model, prompts, seconds=10.0, clues=None, **part):
    recording = Recording(np.zeros((1, round(seconds * 100))), model, 100, **part)
    return encoding.encode(ask(prompts, clues), recording)


@pytest.mark.parametrize("key", ["like", "hum", "midi", "labels", "mask", "region", "point"])
@pytest.mark.parametrize("value", [5, [5], {"a": 1}])
def test_values_of_another_kind_are_one_sentence(key, value):
    with pytest.raises(PromptError) as caught:
        resolve(["dog"], {key: value})
    assert "\n" not in str(caught.value)


def test_texts_and_clues_become_conditions(model):
    dog, mask = encode(model, ["dog@1-2,!3-4", Prompt(below=5)])
    np.testing.assert_allclose(dog.vector, model.encode(["dog"])[0].vector, atol=1e-6)
    assert dog.anchors == (Anchor(Span(1, 2)), Anchor(Span(3, 4), False))
    assert (mask.vector, mask.masks, mask.name) == (None, (Below(5),), "below")


def test_two_vectors_meet_between():
    one, other = np.eye(2, dtype=np.float32)
    between = Condition("x", None).towards(one).towards(other)
    np.testing.assert_allclose(between.vector, [0.5**0.5] * 2, rtol=1e-6)
    assert between.vector.dtype == np.float32


def test_times_are_the_recordings_also_when_it_is_cut(model):
    (condition,) = encode(model, [Prompt("x", spans=["2-5"], not_spans=["6-7.5"], below=9)], start_s=3.0)
    assert condition.anchors == (Anchor(Span(0, 2)), Anchor(Span(3, 4.5), False))
    grid = Grid(RATE, 960, 1025, 0, 2)
    seen = []
    object.__setattr__(
        condition.masks[0], "prior", SimpleNamespace(gains=lambda s, g: seen.append(g.times_s))
    )
    condition.masks[0].gains(None, grid)
    np.testing.assert_allclose(seen[0], [3.0, 3.02])


@pytest.mark.parametrize(
    ("prompt", "part", "says"),
    [
        ("dog@9-10.2", {}, "beyond the end of the recording, which is 10 s"),
        ("dog@9-99", {}, "beyond the end"),
        ("dog@1-2", {"start_s": 3.0}, "outside the part"),
        ("dog@8-9", {"start_s": 3.0, "duration_s": 2.0}, "outside the part"),
        ("dog@1-3,!2-4", {}, "at once"),
        ("@!2-4", {}, "where the sound is not"),
    ],
)
def test_spans_that_do_not_fit(model, prompt, part, says):
    with pytest.raises(PromptError, match=says):
        encode(model, [prompt], **part)


def test_a_span_may_be_rounded_up_to_the_end(model):
    assert encode(model, ["dog@9-10.04"])


def test_a_label_track_of_any_size_is_not_read(tmp_path):
    with (tmp_path / "labels.txt").open("wb") as file:
        file.truncate(10_000_001)
    with pytest.raises(PromptError, match=r"labels\.txt is larger than 10 MB: export a label track"):
        read_labels(tmp_path / "labels.txt")


def test_labels_are_for_the_prompt_of_their_text(model, tmp_path):
    path = tmp_path / "l.txt"
    path.write_text("1\t2\tDog\n3\t4\tcat\n5\t6\t-dog\n7\t8\t\n")
    dog, cat = encode(model, ["dog", "cat"], clues={"labels": path})
    assert [(a.span.start_s, a.present) for a in dog.anchors] == [(1, True), (5, False), (7, True)]
    assert [a.span.start_s for a in cat.anchors] == [3, 7]
    (alone,) = encode(model, [], clues={"labels": path})
    assert len(alone.anchors) == 4
    path.write_text("1\t2\tDog\n3\t4\tcat\n")
    with pytest.raises(PromptError, match="no label 'bird': ask for one of Dog, cat"):
        encode(model, ["bird"], clues={"labels": path})
    path.write_text("1\t2\tevent\n")  # a track with one name marks whatever is asked for
    assert len(encode(model, ["bird"], clues={"labels": path})[0].anchors) == 1


def test_a_model_that_does_not_take_a_clue_says_so(model):
    other = SimpleNamespace(name="grand", sample_rate=RATE, encode=model.encode, takes=SeparationModel.takes)
    assert encode(other, ["dog@1-2"])[0].anchors
    with pytest.raises(UserError, match="grand takes no masks: leave --below out"):
        encode(other, [Prompt("dog", below=5)])


def test_lengths_of_recordings(tmp_path, model):
    soundfile.write(tmp_path / "a.wav", np.zeros(12_345), 8_000)
    assert Recording(tmp_path / "a.wav", model).seconds == 12_345 / 8_000
    assert Recording("-", model).seconds is None
    with pytest.raises(PromptError, match="standard input has no pictures"):
        Recording("-", model).path  # noqa: B018


# ---- masks in the separator -------------------------------------------------------------------------------


def run(model, mixture, conditions, block=None, strength=1.0):
    stream = model.open(conditions, len(mixture), strength)
    block = block or mixture.shape[1]
    out = [stream.push(mixture[:, i : i + block]) for i in range(0, mixture.shape[1], block)]
    return np.concatenate([*out, stream.finish()], axis=-1)


def test_a_mask_alone_cuts_exactly_that(model):
    t = np.arange(RATE) / RATE
    low, high = (0.1 * np.sin(2 * np.pi * hz * t)[None].astype(np.float32) for hz in (500, 5_000))
    (stem,) = run(model, low + high, [Condition("x", None, masks=(Below(2_000),))])
    np.testing.assert_allclose(stem[:, 2000:-2000], low[:, 2000:-2000], atol=1e-4)


def test_masks_multiply_with_what_the_network_hears(model):
    mixture = tiny.noise(2)
    (plain,) = model.encode(["dog"])
    whole, below = (run(model, mixture, [c])[0] for c in (plain, replace(plain, masks=(Below(2_000),))))
    spectra = [np.abs(np.fft.rfft(x[0])) for x in (whole, below)]
    border = round(2_000 * mixture.shape[1] / RATE)
    np.testing.assert_allclose(spectra[0][: border - 300], spectra[1][: border - 300], rtol=0.2, atol=0.2)
    assert spectra[1][border + 300 :].sum() < 0.01 * spectra[0][border + 300 :].sum()


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0])
def test_stems_of_masks_sum_to_the_mixture(model, strength):
    mixture = tiny.noise(2, 1.3, 44_100)
    dog, cat = model.encode(["dog", "cat"])
    conditions = [
        replace(dog, masks=(Below(3_000), Below(9_000, 0.5))),
        replace(cat, against=(dog.vector,)),
        Condition("low", None, masks=(Below(5_000),)),
    ]
    parts = tiny.separated(model, conditions, mixture, 44_100, strength=strength)
    np.testing.assert_allclose(parts.sum(axis=0), mixture, atol=1e-6)
    energies = np.square(parts, dtype=np.float64).sum(axis=(1, 2))
    assert energies[:-1].max() <= 1.01 * np.square(mixture, dtype=np.float64).sum()


def test_masks_do_not_depend_on_blocks(model):
    mixture = tiny.noise(1, 17.0)  # more than one window of the network
    (dog,) = model.encode(["dog"])
    conditions = [replace(dog, masks=(Below(3_000, 15.0),)), replace(dog, against=(dog.vector,))]
    whole, cut = (run(model, mixture, conditions, block) for block in (None, 100_001))
    np.testing.assert_allclose(whole, cut, atol=1e-5)
    assert not whole[0, :, : round(14.9 * RATE)].any()
    assert whole[0, :, round(15.1 * RATE) :].std() > 1e-4


def test_what_is_not_wanted_is_taken_out(model):
    mixture = tiny.noise(1)
    dog, cat = model.encode(["dog", "cat"])
    alone, rest = (
        run(model, mixture, [dog])[0],
        run(model, mixture, [Condition("x", None, against=(dog.vector,))])[0],
    )
    np.testing.assert_allclose(alone + rest, mixture, atol=1e-4)
    less = run(model, mixture, [replace(cat, against=(dog.vector,))])[0]
    assert np.square(less).sum() < np.square(run(model, mixture, [cat])[0]).sum()


def test_partials_of_a_pitch():
    grid = Grid(RATE, 960, 1025, 0, 3)
    prior = HarmonicPrior(lambda times: np.array([[480.0, 480.0, 0.0], [0.0, 0.0, 0.0]]))
    gains = prior.gains(np.zeros((1, 1025, 3), np.complex64), grid)[0]
    on, between = (
        [round(hz / grid.frequencies_hz[1]) for hz in (480, 960, 4_800)],
        round(720 / grid.frequencies_hz[1]),
    )
    assert gains[on, 0].min() > 0.8
    assert gains[between, 0] == pytest.approx(BETWEEN, abs=0.01)
    np.testing.assert_allclose(gains[:, 2], REST)
    assert gains.min() >= 0 and gains.max() <= 1
