"""Files in, files out: they sum to the mixture, and they appear together or not at all."""

from __future__ import annotations

import errno
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from tiny import constant_mask
from tiny_judge import FakeJudge

from judge.rank import JudgeRanker
from sam_audio.errors import AudioWriteError, OutputExistsError, PromptError, UserError
from sam_audio.io.target import FileTarget
from sam_audio.options import RenderOptions
from sam_audio.plan import Job, plan, track_name
from sam_audio.render import Company, render

RATES = [8_000, 16_000, 22_050, 44_100, 48_000, 96_000]
LSB = {"PCM_16": 2.0**-15, "PCM_24": 2.0**-23, "FLOAT": 1e-6}


def write(path: Path, samples: np.ndarray, rate: int = 48_000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples.T, rate, subtype)
    return path


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float64", always_2d=True)[0].T


@pytest.fixture
def mix(tmp_path):
    return write(tmp_path / "mix.wav", tiny.noise(2, 0.6))


@pytest.fixture
def go(model, mix, tmp_path):
    """Renders ``mix`` with the given options into ``out``."""

    def run(*prompts, source=mix, track=None, progress=None, **options):
        options = RenderOptions(**{"out": tmp_path / "out", **options})
        job = Job(str(source), prompts or ("guitar",), options, track)
        return render(model, plan(job), Company(progress=progress))

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# ---- identities -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", LSB)
def test_files_sum_to_the_mixture(go, tmp_path, rate, channels, subtype):
    source = write(tmp_path / "a.wav", tiny.noise(channels, 0.4, rate), rate, subtype)
    report = go("guitar", "dog", source=source)
    paths = [stem.path for stem in (*report.stems, report.residual)]
    assert [soundfile.info(p).subtype for p in paths] == [subtype] * 3
    assert {soundfile.info(p).samplerate for p in paths} == {rate}
    np.testing.assert_allclose(sum(map(read, paths)), read(source), atol=LSB[subtype], rtol=0)


@pytest.mark.parametrize(
    ("depth", "source_subtype"), [("int16", "FLOAT"), ("int24", "FLOAT"), ("int16", "PCM_24")]
)
def test_a_residual_makes_up_for_rounding(go, tmp_path, depth, source_subtype):
    source = write(tmp_path / "a.wav", tiny.noise(2, 0.6), subtype=source_subtype)
    report = go("a", "b", "c", source=source, depth=depth)
    total = sum(read(stem.path) for stem in (*report.stems, report.residual))
    np.testing.assert_allclose(total, read(source), atol=LSB[f"PCM_{depth[3:]}"], rtol=0)


def test_flac_sums_too(go, mix):
    report = go("guitar", format="flac")
    np.testing.assert_allclose(
        read(report.stems[0].path) + read(report.residual.path), read(mix), atol=2**-15
    )


@pytest.mark.parametrize(("format", "rate"), [("mp3", 44_100), ("ogg", 44_100), ("opus", 44_100)])
def test_lossy_formats_keep_length_and_sound(go, tmp_path, model, format, rate):
    source = write(tmp_path / "a.wav", tiny.noise(2, 1.0, rate), rate)
    with constant_mask(model, 20):
        report = go(source=source, format=format)
    info = soundfile.info(report.stems[0].path)
    assert info.samplerate == (48_000 if format == "opus" else rate)
    assert abs(info.duration - 1.0) < 0.06
    stem, mixture = read(report.stems[0].path), read(source)
    np.testing.assert_allclose(stem.std(), mixture.std(), rtol=0.15)


def test_an_excerpt_is_what_it_says(go, mix):
    report = go(start_s=0.1, duration_s=0.2, depth="float32")
    total = read(report.stems[0].path) + read(report.residual.path)
    np.testing.assert_allclose(total, read(mix)[:, 4_800:14_400], atol=1e-6)
    assert report.seconds == pytest.approx(0.2)


def test_rescaled_files_sum_to_the_scaled_mixture(go, model, tmp_path):
    loud = (tiny.noise(1, 0.3) * 30).astype(np.float32)
    source = write(tmp_path / "loud.wav", loud, subtype="FLOAT")
    report = go(source=source, depth="int16", clip_mode="rescale")
    gain = 10 ** (report.gain_db / 20)
    assert gain < 0.5
    total = read(report.stems[0].path) + read(report.residual.path)
    np.testing.assert_allclose(total, loud * gain, atol=3 * 2**-15)


# ---- names ------------------------------------------------------------------------------------------------


def test_layout(go, tmp_path):
    go("Electric guitar!", "drums", "drums", "residual")
    names = ["drums-2", "drums", "electric-guitar", "residual-2", "residual"]
    assert files(tmp_path / "out") == [f"mix/{name}.wav" for name in names]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"residual": None}, ["mix/guitar.wav"]),
        ({"residual": "The Rest"}, ["mix/guitar.wav", "mix/the-rest.wav"]),
        ({"mode": "remove"}, ["mix/residual.wav"]),
        ({"mode": "remove", "residual": "karaoke"}, ["mix/karaoke.wav"]),
        ({"filename": "{stem} of {track}"}, ["guitar of mix", "residual of mix"]),
        ({"format": "flac"}, ["mix/guitar.flac", "mix/residual.flac"]),
        ({"filename": "{stem}.v2"}, ["guitar.v2", "residual.v2"]),
        ({"track": "x/y"}, ["x/y/guitar.wav", "x/y/residual.wav"]),
    ],
)
def test_options_name_files(go, tmp_path, options, expected):
    go(**options)
    assert files(tmp_path / "out") == expected


def test_remove_writes_the_same_rest(go):
    everything, rest = go(), go(mode="remove", filename="{stem}.wav")
    assert rest.stems == []
    np.testing.assert_array_equal(read(everything.residual.path), read(rest.residual.path))


@pytest.mark.parametrize(("source", "name"), [("-", "stdin"), ("a/b.c.wav", "b.c"), (Path("x"), "x")])
def test_track_names(source, name):
    assert track_name(source) == name


# ---- the report -------------------------------------------------------------------------------------------


def test_report_measures_what_was_written(go, mix):
    report = go("guitar", "dog", depth="float32")
    mixture = read(mix)
    for stem in (*report.stems, report.residual):
        samples = read(stem.path)
        assert stem.level_db == pytest.approx(
            10 * np.log10(np.square(samples).sum() / np.square(mixture).sum()), abs=0.01
        )
        assert stem.peak == pytest.approx(np.abs(samples).max(), abs=1e-5)
    assert (report.channels, report.sample_rate, report.track) == (2, 48_000, "mix")
    assert report.seconds == pytest.approx(mixture.shape[-1] / 48_000)
    assert report.warnings == []
    assert report.as_dict()["stems"][1]["prompt"] == "dog"


def test_clipping_is_counted_and_told(go, model, tmp_path):
    source = write(tmp_path / "loud.wav", tiny.noise(1, 0.3) * 30, subtype="FLOAT")
    with constant_mask(model, 20):
        report = go(source=source, depth="int16")
    assert report.stems[0].clipped_samples == int((np.abs(read(source)) > 1).sum())
    assert "guitar exceeds full scale" in report.warnings[0]
    assert go(source=source, depth="int16", clip_mode="clamp", overwrite=True).warnings == []


def test_silence_is_told(go, tmp_path):
    source = write(tmp_path / "silence.wav", np.zeros((2, 9_999)))
    report = go(source=source)
    assert report.warnings == [f"{source} is silent, and so are its stems"]
    assert (report.stems[0].level_db, report.residual.level_db) == (-120, -120)
    assert not read(report.stems[0].path).any()


def test_progress_counts_every_frame(go, mix):
    seen = []
    go(progress=lambda done, total: seen.append((done, total)))
    frames = read(mix).shape[-1]
    assert [total for _, total in seen] == [frames] * len(seen)
    assert seen[-1][0] == frames
    assert sorted(seen) == seen


# ---- all or nothing ---------------------------------------------------------------------------------------


def test_existing_files_stay_and_nothing_is_added(go, tmp_path):
    folder = tmp_path / "out" / "mix"
    folder.mkdir(parents=True)
    (folder / "residual.wav").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="residual.wav"):
        go()
    assert files(tmp_path / "out") == ["mix/residual.wav"]
    assert (folder / "residual.wav").read_bytes() == b"mine"
    go(overwrite=True)
    assert soundfile.info(folder / "residual.wav").frames == 28_801


def test_a_failing_model_leaves_nothing(go, model, tmp_path, monkeypatch):
    monkeypatch.setattr(model.engine.network, "respond", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        go()
    assert files(tmp_path / "out") == []
    assert not (tmp_path / "out").exists()


def test_nan_from_a_model_leaves_nothing(go, model, tmp_path):
    with constant_mask(model, float("nan")), pytest.raises(AudioWriteError, match="NaN"):
        go()
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(go, tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileTarget, "sync", full)
    with pytest.raises(AudioWriteError, match="no space left"):
        go()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strength": 3}, "strength of 3"),
        ({"strength": -0.1}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"mode": "keep"}, "not a mode"),
        ({"mode": "remove", "residual": None}, "residual"),
        ({"filename": "{track}.wav"}, "template"),
        ({"format": "aac"}, "not an output format"),
        ({"filename": "{stem}.MP3"}, "guitar.MP3 would be no mp3 but wav: add format='mp3'|a.MP3 would be"),
        ({"format": "mp3", "depth": "int16"}, "no sample depth"),
        ({"depth": "int12"}, "not a sample depth"),
        ({"clip_mode": "soft"}, "clipping"),
        ({"start_s": -1}, "start"),
        ({"start_s": 99}, "ends before"),
        ({"duration_s": 0}, "duration"),
        ({"out": "-"}, "standard output takes one stem"),
    ],
)
def test_options_that_cannot_work(go, tmp_path, options, says):
    prompts = ["a", "b"] if options.get("out") == "-" else ["a"]
    with pytest.raises(UserError, match=says):
        go(*prompts, **options)
    assert files(tmp_path) == ["mix.wav"]


@pytest.mark.parametrize("prompts", [[""], [" "]])
def test_empty_prompts(go, prompts):
    with pytest.raises(PromptError):
        go(*prompts)


def test_no_prompts(model, mix):
    with pytest.raises(PromptError):
        plan(Job(str(mix)))


@pytest.mark.parametrize("folder", ["out", "mix.wav"])
def test_a_file_in_place_of_the_folder(go, tmp_path, folder):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(AudioWriteError):
        go(out=tmp_path / folder / "x")
    assert files(tmp_path) == ["mix.wav", "out"]


# ---- extremes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "seconds", "rate"),
    [(24, 0.2, 48_000), (1, 0.05, 768_000), (2, 0.01, 44_100), (1, 0.01, 8_000), (1, 1.0, 1_000)],
)
def test_extreme_recordings(go, tmp_path, channels, seconds, rate):
    source = write(tmp_path / "a.wav", tiny.noise(channels, seconds, rate), rate, "FLOAT")
    report = go(source=source)
    np.testing.assert_allclose(
        read(report.stems[0].path) + read(report.residual.path), read(source), atol=1e-6
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_a_named_pipe_is_a_source(go, mix, tmp_path):
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_bytes(mix.read_bytes()), daemon=True)
    feeder.start()
    report = go(source=pipe)
    feeder.join()
    np.testing.assert_allclose(read(report.stems[0].path) + read(report.residual.path), read(mix), atol=1e-6)


# ---- judging ----------------------------------------------------------------------------------------------


@pytest.fixture
def judged(model, mix, tmp_path):
    """As ``go``, with a judge."""

    def run(*prompts, source=mix, judge=None, ranker=None, progress=None, **options):
        options = RenderOptions(**{"out": tmp_path / "out", **options})
        job = Job(str(source), prompts or ("guitar",), options)
        return render(model, plan(job), Company(judge or FakeJudge(), ranker, progress=progress))

    return run


def test_every_stem_is_judged(judged, mix):
    judge = FakeJudge(lambda share: 5 * share)
    report = judged("guitar", "absent dog", judge=judge, depth="float32")
    mixture = read(mix).mean(axis=0)
    for stem in report.stems:
        share = np.linalg.norm(read(stem.path).mean(axis=0)) / np.linalg.norm(mixture)
        assert stem.scores.overall == pytest.approx(5 * share, abs=1e-3)
    assert [stem.in_mixture for stem in report.stems] == [True, False]
    assert report.absent == ["absent dog"]
    assert (report.judge, report.residual.scores) == ("fake", None)
    told = json.loads(json.dumps(report.as_dict()))
    assert list(told["stems"][0]["scores"]) == ["overall", "recall", "precision", "faithfulness", "present"]
    assert told["stems"][1]["in_mixture"] is False


def test_judging_changes_no_sample(go, judged):
    plain, other = go("guitar", "dog"), judged("guitar", "dog", filename="{stem}.wav")
    for one, two in zip(plain.stems, other.stems, strict=True):
        np.testing.assert_array_equal(read(one.path), read(two.path))


def test_what_is_removed_is_judged_too(judged, tmp_path):
    report = judged("guitar", "absent dog", mode="remove")
    assert files(tmp_path / "out") == ["mix/residual.wav"]
    assert report.stems == [] and [(stem.name, stem.path) for stem in report.removed] == [
        ("guitar", ""),
        ("absent-dog", ""),
    ]
    assert report.absent == ["absent dog"]
    assert (
        report.removed[0].level_db == judged("guitar", "absent dog", filename="{stem}.wav").stems[0].level_db
    )


def test_the_options_can_say_no(model, mix, tmp_path):
    judge = FakeJudge()
    report = render(
        model, plan(Job(str(mix), ("dog",), RenderOptions(out=tmp_path, judge=False))), Company(judge)
    )
    assert judge.heard == [] and report.judge is None
    assert (report.stems[0].scores, report.stems[0].in_mixture, report.absent) == (None, None, [])


def test_a_judge_that_gives_up_costs_no_stem(judged):
    report = judged(judge=FakeJudge(fails="too odd"))
    assert report.stems[0].scores is None
    assert report.warnings[0].endswith("could not be judged: too odd")
    assert read(report.stems[0].path).any()


def test_judging_keeps_one_window(judged, tmp_path):
    judge = FakeJudge()
    judged(source=write(tmp_path / "long.wav", tiny.noise(1, 20.0)), judge=judge)
    assert [n for n, _ in judge.heard] == [48_000] * 20


@pytest.mark.usefixtures("nano_with_variants")
@pytest.mark.parametrize("prefers", ["much", "little"])
def test_the_best_candidate_is_written(model, judged, mix, prefers, tmp_path):
    judge = FakeJudge(lambda share: 5 * share if prefers == "much" else -share)
    report = judged("guitar", "dog", judge=judge, candidates=3, depth="float32")
    for stem in report.stems:
        best = max(stem.candidates, key=lambda one: one.score)
        assert [one.candidate for one in stem.candidates] == ["strength x1", "strength x0.7", "strength x1.4"]
        assert [one for one in stem.candidates if one.chosen] == [best]
        assert stem.scores.overall == pytest.approx(best.score, abs=2e-3)
        assert best.candidate == ("strength x0.7" if prefers == "much" else "strength x1.4")
    total = sum(read(stem.path) for stem in (*report.stems, report.residual))
    np.testing.assert_allclose(total, read(mix), atol=1e-6)
    assert json.loads(json.dumps(report.as_dict()))["stems"][0]["candidates"][0]["scores"]["recall"] == 2.0


def test_one_candidate_is_no_choice(judged):
    assert judged().stems[0].candidates == []


@pytest.mark.usefixtures("nano_with_variants")
def test_candidates_from_a_pipe_and_an_excerpt(judged, mix, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(mix.read_bytes())))
    report = judged(source="-", candidates=2, start_s=0.1, duration_s=0.3, depth="float32")
    total = read(report.stems[0].path) + read(report.residual.path)
    np.testing.assert_allclose(total, read(mix)[:, 4_800:19_200], atol=1e-6)


@pytest.mark.usefixtures("nano_with_variants")
def test_candidates_can_be_ranked_otherwise(judged):
    quiet = JudgeRanker(FakeJudge(lambda share: -share))
    report = judged(candidates=3, ranker=quiet)
    assert [one.candidate for one in report.stems[0].candidates if one.chosen] == ["strength x1.4"]


@pytest.mark.usefixtures("nano_with_variants")
def test_progress_counts_all_candidates(judged, mix):
    seen = []
    judged(candidates=2, progress=lambda done, total: seen.append((done, total)))
    frames = read(mix).shape[-1]
    assert {total for _, total in seen} == {3 * frames}  # the one that is chosen is separated again
    assert seen == sorted(seen) and seen[-1][0] == 3 * frames


@pytest.mark.usefixtures("nano_with_variants")
def test_existing_files_are_found_before_candidates_are_made(judged):
    judged()
    judge = FakeJudge()
    with pytest.raises(OutputExistsError):
        judged(candidates=3, judge=judge)
    assert judge.heard == []


@pytest.mark.usefixtures("nano_with_variants")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"candidates": 0}, "too few"),
        ({"candidates": 2, "judge": False}, "chosen by a judge"),
        ({"candidates": 99}, "use 1 to 3"),
    ],
)
def test_candidates_that_cannot_be(model, mix, tmp_path, options, says):
    with pytest.raises(UserError, match=says):
        job = Job(str(mix), ("dog",), RenderOptions(out=tmp_path / "out", **options))
        render(model, plan(job), Company(FakeJudge()))
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("nano_with_variants")
def test_candidates_need_a_judge(go, tmp_path):
    with pytest.raises(UserError, match="there is none"):
        go(candidates=2)
    assert not (tmp_path / "out").exists()
