"""The Python interface: arrays and files in, arrays out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import tiny
from tiny_judge import FakeJudge

import sam_audio
from sam_audio import Prompt, Separator, api
from sam_audio.errors import AudioReadError, ModelError, OutputExistsError, PromptError, UserError

RATES = [8_000, 16_000, 22_050, 44_100, 48_000, 96_000]


def total(result):
    return sum(stem.samples for stem in result.stems.values()) + result.residual.samples


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_stems_and_residual_sum_to_the_mixture(separator, rate, channels):
    mixture = tiny.noise(channels, 1.3, rate)
    result = separator.separate(mixture, ["guitar", "dog"], sample_rate=rate)
    assert list(result.stems) == ["guitar", "dog"]
    assert {stem.sample_rate for stem in (*result.stems.values(), result.residual)} == {rate}
    np.testing.assert_allclose(total(result), mixture, atol=1e-6)


def test_a_file_gives_what_its_samples_give(separator, tmp_path):
    mixture = tiny.noise(2, 1.1, 44_100)
    soundfile.write(tmp_path / "mix.wav", mixture.T, 44_100, "FLOAT")
    for path in (tmp_path / "mix.wav", str(tmp_path / "mix.wav")):
        from_file = separator.separate(path, ["dog"])
        from_array = separator.separate(mixture, ["dog"], sample_rate=44_100)
        assert from_file.sample_rate == 44_100
        np.testing.assert_allclose(from_file.stems["dog"].samples, from_array.stems["dog"].samples, atol=1e-5)


def test_part_of_a_file(separator, tmp_path):
    mixture = tiny.noise(1)
    soundfile.write(tmp_path / "mix.wav", mixture.T, 48_000, "FLOAT")
    result = separator.separate(tmp_path / "mix.wav", ["dog"], start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(total(result), mixture[:, 12_000:36_000], atol=1e-6)


def test_one_dimension_is_mono(separator):
    mixture = tiny.noise(1)
    flat, deep = (separator.separate(x, ["dog"], sample_rate=48_000) for x in (mixture[0], mixture))
    assert flat.residual.samples.shape == mixture.shape
    np.testing.assert_array_equal(flat.residual.samples, deep.residual.samples)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_float_array_will_do_and_is_left_alone(separator, dtype, order):
    mixture = np.asarray(tiny.noise(2, 0.3), dtype, order=order)
    before = mixture.copy()
    result = separator.separate(mixture, ["dog"], sample_rate=48_000)
    np.testing.assert_array_equal(mixture, before)
    np.testing.assert_allclose(total(result), mixture, atol=1e-6)
    result.residual.samples[:] = 7  # and the result is the caller's own
    np.testing.assert_array_equal(mixture, before)


@pytest.mark.parametrize("frames", [0, 1, 80])
def test_the_shortest_arrays(separator, frames):
    result = separator.separate(np.ones((2, frames)), ["dog"], sample_rate=8_000)
    assert result.stems["dog"].samples.shape == (2, frames)
    np.testing.assert_allclose(total(result), np.ones((2, frames)), atol=1e-6)


def test_silence_in_silence_out(separator):
    result = separator.separate(np.zeros((2, 10_000)), ["dog", "cat"], sample_rate=48_000)
    assert not any(stem.samples.any() for stem in (*result.stems.values(), result.residual))
    assert {stem.name: stem.level_db for stem in result.report.stems} == {"dog": -120.0, "cat": -120.0}


def test_equal_prompts_get_numbers(separator):
    result = separator.separate(tiny.noise(1, 0.2), ["dog", "dog", "residual"], sample_rate=48_000)
    assert list(result.stems) == ["dog", "dog-2", "residual-2"]
    np.testing.assert_allclose(result.stems["dog"].samples, result.stems["dog-2"].samples, atol=1e-6)


def test_one_prompt_may_be_a_text(separator):
    assert list(separator.separate(tiny.noise(1, 0.2), "big dog", sample_rate=48_000).stems) == ["big dog"]


def test_levels_are_those_of_the_stems(separator):
    mixture = tiny.noise(2)
    result = separator.separate(mixture, ["dog"], sample_rate=48_000)
    level = 10 * np.log10(np.square(result.stems["dog"].samples).sum() / np.square(mixture).sum())
    assert result.report.stem("dog").level_db == pytest.approx(level, abs=0.01)
    assert result.report.seconds == pytest.approx(mixture.shape[-1] / 48_000)


def test_progress(separator):
    seen = []
    separator.separate(
        tiny.noise(1), ["dog"], sample_rate=48_000, progress=lambda *frames: seen.append(frames)
    )
    assert seen[-1] == (62_401, 62_401)


def test_threads_share_a_separator(separator):
    mixtures = [tiny.noise(2, 0.5 + 0.2 * i, rate, seed=i) for i, rate in enumerate(RATES[:4] * 2)]
    prompts = [["dog"], ["guitar", "rain"], ["a", "b", "c"], ["speech"]] * 2

    def work(i):
        return separator.separate(mixtures[i], prompts[i], sample_rate=RATES[i % 4])

    alone = [work(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(8)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.residual.samples, other.residual.samples)


def test_a_result_is_saved_as_it_is(separator, tmp_path):
    mixture = tiny.noise(2, 0.3, 44_100)
    result = separator.separate(mixture, ["Big dog!", "big dog"], sample_rate=44_100)
    paths = result.save(tmp_path / "out")
    assert [p.name for p in paths] == ["big-dog.wav", "big-dog-2.wav", "residual.wav"]
    np.testing.assert_allclose(sum(soundfile.read(p)[0].T for p in paths), mixture, atol=1e-6)
    with pytest.raises(OutputExistsError):
        result.save(tmp_path / "out")
    assert result.save(str(tmp_path / "out"), overwrite=True) == paths


def test_render_takes_options(separator, tmp_path):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(1, 0.2).T, 48_000)
    report = separator.render(tmp_path / "mix.wav", ["dog"], sam_audio.RenderOptions(out=tmp_path), track="t")
    assert report.stems[0].path == str(tmp_path / "t" / "dog.wav")


def test_separate_keeps_its_model(tiny_weights, monkeypatch):
    made = []
    monkeypatch.setattr(api, "_last", None)
    monkeypatch.setattr(api, "Separator", lambda *args: made.append(args) or Separator(*args))
    mixture = tiny.noise(1, 0.2)
    for device in ("cpu", "cpu", "auto"):
        sam_audio.separate(mixture, ["dog"], sample_rate=48_000, model=tiny_weights, device=device)
    assert made == [(str(tiny_weights), "cpu"), (str(tiny_weights), "auto")]


@pytest.mark.parametrize(
    ("mixture", "options", "error"),
    [
        (np.zeros((2, 9)), {}, UserError),
        (np.zeros((2, 9)), {"sample_rate": 1}, AudioReadError),
        (np.zeros((2, 9)), {"sample_rate": 10_000_000}, AudioReadError),
        (np.zeros((2, 9), np.int16), {"sample_rate": 48_000}, UserError),
        (np.zeros((2, 9), complex), {"sample_rate": 48_000}, UserError),
        (np.zeros((2, 9, 9)), {"sample_rate": 48_000}, UserError),
        (np.zeros((0, 9)), {"sample_rate": 48_000}, UserError),
        (np.zeros((44_100, 2)), {"sample_rate": 48_000}, UserError),  # as soundfile gives it
        (np.zeros((100, 1)), {"sample_rate": 48_000}, UserError),
        (np.float32(0), {"sample_rate": 48_000}, UserError),
        (np.array([0, np.nan]), {"sample_rate": 48_000}, AudioReadError),
        (np.array([0, np.inf]), {"sample_rate": 48_000}, AudioReadError),
        (np.array([0, 1e300]), {"sample_rate": 48_000}, AudioReadError),
        (np.zeros((2, 9)), {"sample_rate": 48_000, "strength": 3}, UserError),
        ("gone.wav", {}, AudioReadError),
        ("gone.wav", {"sample_rate": 48_000}, UserError),
    ],
)
def test_what_cannot_be_separated(separator, mixture, options, error):
    with pytest.raises(error) as caught:
        separator.separate(mixture, ["dog"], **options)
    assert "\n" not in str(caught.value)


def test_many_channels_are_fine(separator):
    mixture = tiny.noise(65, 0.1)
    assert separator.separate(mixture, ["dog"], sample_rate=48_000).residual.samples.shape == mixture.shape


@pytest.mark.parametrize("threads", [0, 100_000])
def test_threads_that_cannot_work(tiny_weights, threads):
    with pytest.raises(UserError, match="threads cannot work: use 1 to"):
        Separator(tiny_weights, threads=threads)


def test_what_is_asked_for_twice_is_told(separator, tmp_path):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(1, 0.2).T, 48_000)
    options = sam_audio.RenderOptions(out=tmp_path)
    done = separator.render(tmp_path / "mix.wav", ["dog", "cat", "Dog"], options)
    assert [warning for warning in done.warnings if "dog is asked for more than once" in warning]
    once = separator.render(tmp_path / "mix.wav", ["dog", "cat"], sam_audio.RenderOptions(out=tmp_path / "b"))
    assert not once.warnings


def test_words_that_the_model_cannot_read_are_told(separator, tmp_path):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(1, 0.2).T, 48_000)
    done = separator.render(tmp_path / "mix.wav", ["dog", "ギター"], sam_audio.RenderOptions(out=tmp_path))
    (told,) = done.warnings
    assert told.startswith("ギター holds no word")
    assert told.endswith("ask in English")


def test_words_that_are_misspelt_are_told_with_what_was_meant(separator, tmp_path):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(1, 0.2).T, 48_000)
    options = sam_audio.RenderOptions(out=tmp_path)
    done = separator.render(tmp_path / "mix.wav", ["gitar", "dog barking"], options)
    assert done.warnings == ["gitar: did you mean guitar?"]


@pytest.mark.parametrize("prompts", [[], "", ["dog", ""], [None]])
def test_prompts_must_say_something(separator, prompts):
    with pytest.raises(PromptError):
        separator.separate(tiny.noise(1, 0.1), prompts, sample_rate=48_000)


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x:y"])
def test_unknown_devices(device):
    import torch

    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(UserError, match="device|machine"):
        Separator(device=device)


def test_devices_that_are_there():
    assert api.choose_device("cpu") == "cpu"
    assert api.choose_device("auto") in ("cpu", "cuda", "mps")


def test_other_arguments_that_cannot_work():
    with pytest.raises(ModelError):
        Separator("no such model")
    with pytest.raises(UserError, match="threads"):
        Separator(threads=0)


# ---- more than texts -------------------------------------------------------------------------------------


def test_prompts_and_clues_are_asked_of_files_and_arrays_alike(separator, tmp_path):
    mixture = tiny.noise(2, 2.0, 44_100)
    soundfile.write(tmp_path / "mix.wav", mixture.T, 44_100, "FLOAT")
    asked = [Prompt("dog", name="Rex", spans=["0.5-1"]), "rain@0.2-0.4"]
    given = {"clues": {"not_spans": ["1.5-1.8"]}}
    one = separator.separate(tmp_path / "mix.wav", asked, **given)
    other = separator.separate(mixture, asked, sample_rate=44_100, **given)
    assert list(one.stems) == ["Rex", "rain"]
    np.testing.assert_allclose(total(one), mixture, atol=1e-6)
    plain = separator.separate(mixture, ["dog", "rain"], sample_rate=44_100)
    for name, text in (("Rex", "dog"), ("rain", "rain")):
        np.testing.assert_array_equal(one.stems[name].samples, other.stems[name].samples)
        assert np.abs(one.stems[name].samples - plain.stems[text].samples).max() > 1e-4


def test_clues_alone_are_a_prompt(separator):
    result = separator.separate(tiny.noise(1, 1.0), clues={"spans": [(0.2, 0.5)]}, sample_rate=48_000)
    assert list(result.stems) == ["span"]
    with pytest.raises(PromptError, match="ends at|end"):
        separator.separate(tiny.noise(1, 1.0), clues={"spans": [(0.2, 5.0)]}, sample_rate=48_000)
    with pytest.raises(UserError, match="spams"):
        separator.separate(tiny.noise(1, 1.0), clues={"spams": [(0.2, 0.5)]}, sample_rate=48_000)


def test_stems_known_by_spans_alone_are_not_judged(judging):
    report = judging.separate(
        tiny.noise(1, 1.0), ["dog", Prompt(spans=[(0.2, 0.5)])], sample_rate=48_000
    ).report
    assert report.stem("dog").scores and report.stem("span").scores is None
    assert report.stem("span").in_mixture is None


# ---- judging and candidates ------------------------------------------------------------------------------


@pytest.fixture
def judging(tiny_weights):
    """A separator with a judge that finds stems as good as they are loud."""
    return Separator(tiny_weights, device="cpu", judge=FakeJudge())


def test_the_report_holds_scores(judging):
    report = judging.separate(tiny.noise(2, 1.0), ["dog", "absent cat"], sample_rate=48_000).report
    assert report.stem("dog").scores.overall > 1
    assert [stem.in_mixture for stem in report.stems] == [True, False]
    assert report.judge == "fake"
    assert report.stem("dog").candidates == []


@pytest.mark.usefixtures("nano_with_variants")
def test_files_and_arrays_are_judged_alike(judging, tmp_path):
    mixture = tiny.noise(2, 1.3, 44_100)
    soundfile.write(tmp_path / "mix.wav", mixture.T, 44_100, "FLOAT")
    from_file = judging.separate(tmp_path / "mix.wav", ["dog"], candidates=2).report
    from_array = judging.separate(mixture, ["dog"], sample_rate=44_100, candidates=2).report
    assert from_file.stems == from_array.stems


@pytest.mark.usefixtures("nano_with_variants")
def test_judging_may_be_left_out(judging, tiny_weights):
    mixture = tiny.noise(1, 0.3)
    assert judging.separate(mixture, ["dog"], sample_rate=48_000, judge=False).report.judge is None
    none = Separator(tiny_weights, device="cpu", judge=None)
    assert none.judge is None
    assert none.separate(mixture, ["dog"], sample_rate=48_000).report.stem("dog").scores is None
    with pytest.raises(UserError, match="judge"):
        none.separate(mixture, ["dog"], sample_rate=48_000, candidates=2)


@pytest.mark.usefixtures("nano_with_variants")
def test_the_best_candidate_is_kept(judging):
    mixture = tiny.noise(2, 1.0)
    plain = judging.separate(mixture, ["dog", "rain"], sample_rate=48_000)
    best = judging.separate(mixture, ["dog", "rain"], sample_rate=48_000, candidates=3)
    np.testing.assert_allclose(total(best), mixture, atol=1e-6)
    for name in ("dog", "rain"):
        tried = best.report.stem(name).candidates
        assert [one.candidate for one in tried if one.chosen] == ["strength x0.7"]
        assert best.report.stem(name).scores.overall >= plain.report.stem(name).scores.overall


def test_a_judge_is_loaded_once_and_when_needed(tiny_weights, tmp_path, monkeypatch):
    import copy

    loaded = []
    monkeypatch.setattr(
        "sam_audio.selection.judging.load_judge",
        lambda *args: loaded.append(args) or FakeJudge(),
        raising=True,
    )
    separator = Separator(tiny_weights, device="cpu", judge="some/judge")
    assert loaded == []
    for one in (separator, separator, copy.copy(separator)):
        one.separate(tiny.noise(1, 0.2), ["dog"], sample_rate=48_000)
    assert loaded == [("some/judge", "cpu")]


def test_without_weights_the_default_is_no_judge(tiny_weights, monkeypatch):
    monkeypatch.setattr("sam_audio.selection.judging.default_judge", lambda: None)
    assert Separator(tiny_weights, device="cpu").judge is None
    with pytest.raises(ModelError):
        Separator(tiny_weights, device="cpu", judge="no.safetensors").judge  # noqa: B018


@pytest.mark.usefixtures("nano_with_variants")
def test_render_judges_with_the_separators_judge(judging, tmp_path):
    soundfile.write(tmp_path / "mix.wav", tiny.noise(1, 0.5).T, 48_000)
    report = judging.render(
        tmp_path / "mix.wav", ["absent dog"], sam_audio.RenderOptions(out=tmp_path, candidates=2)
    )
    assert report.absent == ["absent dog"] and len(report.stems[0].candidates) == 2
