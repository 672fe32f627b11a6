"""Every benchmark on a folder in its very layout, with a separator whose stems are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bench_folders as made
import numpy as np
import pytest
import soundfile
from tiny_video import picture, write_video

from judge.types import AXES, Judgement, Ranker
from sam_audio.errors import UserError
from sam_audio.evaluation.bench import audiosep, dcase, sam_audio_bench, songs, speech
from sam_audio.evaluation.bench.base import Tools, evaluate
from sam_audio.evaluation.bench.driver import benches, beside, find, published
from sam_audio.evaluation.bench.measures import BssEval, bss_eval, ca_sdri, capi_sdri, sdr, si_sdr, snr

LAYOUTS = {
    "sam-audio-bench": made.sam_audio_bench,
    **{
        f"audiosep-{name}": lambda root, name=name: made.audiosep(root, name)
        for name in ("esc50", "audiocaps", "vggsound", "music", "audioset", "clotho")
    },
    "musdb18hq": made.musdb,
    "moisesdb": made.moises,
    "dnr": made.dnr,
    "dcase2025": made.dcase,
    "dcase2026": made.dcase,
    "wham": made.wham,
    "librimix": made.librimix,
}


def close(value, to=1e-3):
    return pytest.approx(value, abs=to)


def test_every_benchmark_is_tested_and_named_in_the_help_and_the_docs():
    assert set(LAYOUTS) == set(benches())
    root = Path(__file__).parents[4]
    for name in benches():
        assert name in (root / "docs/cli.md").read_text(encoding="utf-8")
    text = (root / "docs/benchmarks-field.md").read_text(encoding="utf-8")
    assert all(name.removeprefix("audiosep") in text for name in benches())


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_items_are_found(name, tmp_path):
    LAYOUTS[name](tmp_path)
    assert len(find(name).items(tmp_path)) >= 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_of_another_layout_is_refused_in_one_sentence(name, tmp_path):
    other = LAYOUTS["dnr" if name != "dnr" else "musdb18hq"]
    other(tmp_path)
    with pytest.raises(UserError) as refused:
        find(name).items(tmp_path)
    message = str(refused.value)
    assert f"{tmp_path} is not {name}" in message and "give the folder that holds" in message
    assert message.count("\n") == 0 and not message.endswith(".")


# one thing of each layout that is missing or wrong -> what the sentence says
SPOILT = {
    "audiosep-esc50": ("data/esc50", "none of its 4 mixtures is there, the first being"),
    "musdb18hq": ("test/Zed - Other/vocals.wav", "no test/Zed - Other/vocals.wav"),
    "dnr": ("tt/2007/sfx.wav", "no tt/2007/sfx.wav"),
    "dcase2026": (
        "dev_set/synthesized/test/soundscape/soundscape_0001.wav",
        "no soundscape/soundscape_0001.wav",
    ),
    "wham": ("wav8k/min/tt/s2/050a0501_1.7_442o030z_-1.7.wav", "hold different files"),
    "librimix": ("Libri2Mix/wav8k/min/test/s1/5400-34470_4973-24510.wav", "no Libri2Mix/wav8k/min/test/s1"),
    "sam-audio-bench": ("vggsound", "none of its 4 clips is there"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_is_missing_is_named(name, tmp_path):
    LAYOUTS[name](tmp_path)
    gone, message = SPOILT[name]
    path = tmp_path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if name in ("audiosep-esc50", "sam-audio-bench"):
        shutil.rmtree(tmp_path / "music", ignore_errors=True)
        (tmp_path / "data/esc50").mkdir(parents=True, exist_ok=True)
    with pytest.raises(UserError) as refused:
        find(name).items(tmp_path)
    assert message in str(refused.value)


def test_annotations_that_are_not_what_they_should_be_are_refused(tmp_path):
    made.moises(tmp_path / "m")
    description = tmp_path / "m/moisesdb_v0.1/0b2c-1/data.json"
    for content in (
        "[]",
        "{",
        '{"stems": [{"stemName": "vocals", "tracks": [{"id": "../x", "extension": "wav"}]}]}',
    ):
        description.write_text(content)
        with pytest.raises(UserError, match="lists no stems with tracks"):
            find("moisesdb").items(tmp_path / "m")
    made.dcase(tmp_path / "d")
    stray = tmp_path / "d/dev_set/synthesized/test/oracle_target/soundscape_0000_Whale.wav"
    stray.touch()
    with pytest.raises(UserError, match="Whale.wav names none of the 18 classes"):
        find("dcase2026").items(tmp_path / "d")
    made.librimix(tmp_path / "l")
    table = next((tmp_path / "l").rglob("*.csv"))
    table.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no columns mixture_path"):
        find("librimix").items(tmp_path / "l")
    row = {"video_id": "a", "description": "x", "paper_eval_sets": "s"}
    for spoilt, message in (
        (
            {"video_id": "a", "description": "x"},
            "t.jsonl has the columns video_id, description, none of which begins with paper_eval or setting or task, "
            "for settings",
        ),
        (row | {"spans": "[[3, 1]]"}, "a span from 3 s to 1 s"),
        (
            row | {"span_s": [], "spans": []},
            "t.jsonl has the columns span_s, spans, of which one is to be spans: call that one span",
        ),
        ([row], "t.jsonl cannot be read as a table"),
    ):
        made.text(tmp_path / "s/t.jsonl", json.dumps(spoilt))
        with pytest.raises(UserError, match=message):
            find("sam-audio-bench").items(tmp_path / "s")
    # a column that is called just so is the one that is meant
    made.text(tmp_path / "s/t.jsonl", json.dumps(row | {"span": [[0, 1]], "span_s": [[1, 2]]}))
    (tmp_path / "s/a.wav").touch()
    (clip,) = find("sam-audio-bench").items(tmp_path / "s")
    assert clip.spans == ((0.0, 1.0, True),)


# ---- what is measured -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["esc50", "audiocaps", "vggsound", "clotho"])
def test_audiosep_averages_over_mixtures(name, tmp_path, separator):
    pairs = made.audiosep(tmp_path, name)
    result = evaluate(find(f"audiosep-{name}"), tmp_path, made.tools(separator, otherwise=0.5))
    (row,) = result.rows
    gains = [sdr(0.5 * mixture, source) - sdr(mixture, source) for mixture, source in pairs]
    assert row["n"] == 3
    assert row["SDRi"] == close(np.mean(gains))
    assert row["SI-SDR"] == close(np.mean([si_sdr(mixture, source) for mixture, source in pairs]))


def test_audiosep_averages_music_over_classes_and_audioset_over_medians(tmp_path, separator):
    """Classes are dog, dog and cat; the gain of a stem that is the mixture is 0 and its SI-SDR the mixture's."""
    for name, average in (("music", np.mean), ("audioset", np.median)):
        ratios = [si_sdr(m, s) for m, s in made.audiosep(tmp_path / name, name)]
        bench, tools = find(f"audiosep-{name}"), made.tools(separator, otherwise=1.0)
        (row,) = evaluate(bench, tmp_path / name, tools).rows
        assert row == {
            "what": "all",
            "n": 3,
            "SDRi": close(0),
            "SI-SDR": close(np.mean([average(ratios[:2]), ratios[2]])),
        }


def test_audiosep_takes_any_rate_and_channel_count(tmp_path, separator):
    made.audiosep(tmp_path)
    for path in (tmp_path / "data/esc50").glob("*.wav"):
        samples, _ = soundfile.read(path)
        made.write(path, np.stack([samples, samples], axis=1), 44_100)
    (row,) = evaluate(find("audiosep-esc50"), tmp_path, made.tools(separator, otherwise=1.0)).rows
    assert row["SDRi"] == close(0)
    pair = audiosep.AudioSep("esc50").items(tmp_path)[0]
    assert len(audiosep.read_mono(pair.mixture, 32_000)) == close(12_800 * 32_000 / 44_100, 1)


@pytest.fixture
def measured(monkeypatch):
    """What museval is given of each song, in place of its filters, which take seconds: (estimates, references, rate).

    Every window of a stem scores its number in the song, times that of the stem from 1, the last window nothing.
    """
    given = []

    def windows(estimates, references, rate):
        given.append((np.array(estimates), references, rate))
        scores = np.arange(1.0, 4.0) * np.arange(1, len(references) + 1)[:, None] * len(given)
        scores[:, -1] = np.nan
        return BssEval(scores, scores, scores, scores)

    monkeypatch.setattr(songs, "bss_eval", windows)
    return given


def test_songs_stream_and_are_measured_stem_by_stem(tmp_path, separator, measured):
    stems = made.musdb(tmp_path)
    gains = {"drums": 0.3, "bass": 0.2, "vocals": 0.1}
    result = evaluate(find("musdb18hq"), tmp_path, made.tools(separator, gains), limit=1)
    rows = {row["what"]: row for row in result.rows}
    order = ["drums", "bass", "vocals", "other"]
    assert list(rows) == [*order, "average"]
    ((estimates, true, rate),) = measured
    assert (estimates.shape, true.shape, rate) == ((4, 20_000, 2), (4, 20_000, 2), 8_000)
    mixture = sum(stems.values())
    for name, estimate, reference in zip(order, estimates, true, strict=True):
        np.testing.assert_array_equal(reference, stems[name])
        expected = gains.get(name, 0.4) * mixture  # what is left is "other"
        inner = slice(100, -100)  # it goes through 48 kHz and back
        np.testing.assert_allclose(estimate[inner], expected[inner], atol=2e-3)
        assert rows[name]["uSDR"] == close(snr(expected, reference))
    assert [rows[name]["SDR"] for name in order] == [1.5, 3.0, 4.5, 6.0]  # medians of the windows that count
    assert rows["average"]["SDR"] == close((1.5 + 3 + 4.5 + 6) / 4)


def test_a_set_of_songs_is_the_median_over_songs(tmp_path, separator, measured):
    made.musdb(tmp_path)
    bench, tools = find("musdb18hq"), made.tools(separator)
    rows = {row["what"]: row for row in evaluate(bench, tmp_path, tools).rows}
    assert (rows["drums"]["n"], rows["drums"]["SDR"]) == (2, np.median([1.5, 3.0]))
    each = [snr(estimates[0], true[0]) for estimates, true, _ in measured]
    assert rows["drums"]["uSDR"] == close(np.mean(each))


def test_a_stem_that_a_song_has_not_is_not_measured(tmp_path, separator, measured):
    stems = made.musdb(tmp_path)
    song = tmp_path / "test/A Band - Some Song"
    made.write(song / "vocals.wav", 0 * stems["vocals"], 8_000)
    rows = {r["what"]: r for r in evaluate(find("musdb18hq"), tmp_path, made.tools(separator)).rows}
    assert len(measured[0][1]) == 3 and len(measured[1][1]) == 4
    assert (rows["vocals"]["n"], rows["other"]["n"]) == (1, 2)


def test_moisesdb_sums_tracks_and_measures_the_stems_that_a_song_has(tmp_path, separator):
    stems = made.moises(tmp_path)
    gains = {"vocals": 0.5, "guitar": 0.25}
    rows = {r["what"]: r for r in evaluate(find("moisesdb"), tmp_path, made.tools(separator, gains)).rows}
    assert list(rows) == ["vocals", "guitar", "other", "average"]
    mixture = sum(stems.values())
    true = np.stack([stems["vocals"], stems["guitar"], stems["bowed_strings"]])
    frames = bss_eval(np.stack([0.5 * mixture, 0.25 * mixture, 0.25 * mixture]), true, 8_000).sdr
    assert [rows[name]["SDR"] for name in ("vocals", "guitar", "other")] == close(
        np.median(frames, axis=1), 1e-2
    )
    assert rows["guitar"]["uSDR"] == close(snr(0.25 * mixture, stems["guitar"]))
    assert rows["other"]["uSDR"] == close(snr(0.25 * mixture, stems["bowed_strings"]))


def test_dnr_takes_what_is_left_for_effects(tmp_path, separator):
    stems = made.dnr(tmp_path)
    mixture = sum(stems.values())
    tools = made.tools(separator, {"speech": 0.5, "music": 0.3})
    rows = {row["what"]: row for row in evaluate(find("dnr"), tmp_path, tools, limit=1).rows}
    for name, gain in (("speech", 0.5), ("music", 0.3), ("sfx", 0.2)):
        assert rows[name]["SDR"] == close(snr(gain * mixture, stems[name]), 1e-2)  # through 48 kHz and back
        assert rows[name]["SI-SDR"] == close(si_sdr(mixture, stems[name]), 1e-2)
        assert rows[name]["SI-SDRi"] == close(0, 1e-2)
    assert rows["average"]["n"] == 3
    # the second soundtrack has no music, which is then not measured
    assert [row["n"] for row in evaluate(find("dnr"), tmp_path, tools).rows] == [2, 1, 2, 5]


class Hears:
    """Hears some words in the middle of every recording of one channel, the same in all."""

    name, frame_rate = "hears", 25.0

    def __init__(self, present):
        self.present = present

    def activity(self, path, prompts):
        assert soundfile.info(path).channels == 1
        return np.array([[0.1, self.present.get(prompt, 0.2), 0.1] for prompt in prompts])


class Same:
    """A judge that says the same of everything."""

    name, sample_rate = "same", 16_000

    def judge(self, mixture, stems, prompts):
        assert all(len(stem) == len(mixture) for stem in stems)
        return [Judgement(3.0, 2.0, 4.0, 5.0) for _ in prompts]


def dcase_tools(separator, present):
    tools = made.tools(separator, otherwise=0.4)
    tools.__dict__["locator"] = Hears(present)
    return tools


@pytest.mark.parametrize(("year", "measure"), [(2025, ca_sdri), (2026, capi_sdri)])
def test_dcase_measures_labels_and_stems_together(year, measure, tmp_path, separator):
    scenes = made.dcase(tmp_path)
    tools = dcase_tools(separator, {"speech": 0.95, "blender": 0.85})
    bench = find(f"dcase{year}")
    rows = {row["what"]: row for row in evaluate(bench, tmp_path, tools).rows}
    predicted, given = [], []
    for scene, sources in scenes.items():
        path = tmp_path / f"dev_set/synthesized/test/soundscape/{scene}.wav"
        mixture = soundfile.read(path, dtype="float32")[0][:, 0]
        stem = 0.4 * mixture
        predicted.append(measure([("Speech", stem), ("Blender", stem)], sources, mixture))
        given.append(measure([(label, stem) for label in dict(sources)], sources, mixture))
    name = "CA-SDRi" if year == 2025 else "CAPI-SDRi"
    assert rows["labels predicted"][name] == close(np.nanmean(predicted))
    assert rows["labels given"][name] == close(np.nanmean(given))
    assert np.isnan(given[2])  # the empty scene, about which nothing was said
    # of 4 sources one is found, 5 labels are made up and 3 missed; no scene is right
    assert rows["labels predicted"]["accuracy (scenes)"] == 0
    assert rows["labels predicted"]["accuracy (sources)"] == close(1 / (1 + 5 + 3))
    # with labels given the second voice is missed still
    assert rows["labels given"]["accuracy (sources)"] == close(3 / 4)
    assert rows["labels given"]["accuracy (scenes)"] == close(2 / 3)


def test_dcase_says_at_most_three_labels_the_surest_first(tmp_path, separator):
    sure = {"speech": 0.81, "coughing": 0.9, "blender": 0.83, "buzzer": 0.86, "doorbell": 0.79}
    mixture = made.sound(1, 32_000)[:, 0]
    assert dcase.heard(mixture, 32_000, dcase_tools(separator, sure)) == ["Cough", "Buzzer", "Blender"]


@pytest.mark.parametrize("name", ["wham", "librimix"])
def test_two_voices_are_put_in_their_best_order(name, tmp_path, separator):
    voices = LAYOUTS[name](tmp_path)
    assert voices[0].shape == (2, 3200)
    result = evaluate(find(name), tmp_path, made.tools(separator))
    assert result.rows == [{"what": "two voices", "n": 2, "SI-SDRi": close(0, 1e-2)}]
    one, two = voices[0]
    swapped = np.stack([two + 0.1 * one, one + 0.1 * two])
    gained = speech.gained(swapped, voices[0], one + two)
    assert gained == close(
        np.mean(
            [
                20 + 10 * np.log10(np.var(a) / np.var(b)) - x
                for a, b, x in (
                    (one, two, 10 * np.log10(np.var(one) / np.var(two))),
                    (two, one, 10 * np.log10(np.var(two) / np.var(one))),
                )
            ]
        ),
        0.5,
    )


class Pleasant(Ranker):
    """An aesthetics predictor, as a plugin would bring it."""

    sample_rate = 8_000

    def rank(self, candidates, mixture, prompt, spans=None):
        assert len(candidates[0]) == len(mixture)
        return np.array([7.5], np.float32)


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_sam_audio_bench_judges_each_setting(table, tmp_path, separator, monkeypatch):
    made.sam_audio_bench(tmp_path, table)
    bench = find("sam-audio-bench")
    clips = bench.items(tmp_path)
    assert [(c.setting, c.by_spans, c.spans) for c in clips] == [
        ("sfx", False, ((0.1, 0.3, True),)),
        ("sfx-span", True, ((0.1, 0.3, True),)),
        ("instr-pro", False, ()),
        ("sfx", False, ()),  # whose file is missing
    ]
    tools = made.tools(separator)
    asked, separate = [], tools.separator.separate

    def noted(path, prompts, **options):
        asked.append((path.name, prompts[0], options["start_s"], options["duration_s"]))
        return separate(path, prompts, **options)

    tools.separator.separate = noted
    tools.__dict__["judge"] = Same()
    tools.__dict__["scorers"] = {"pleasant": Pleasant()}
    result = evaluate(bench, tmp_path, tools)
    rows = {row["what"]: row for row in result.rows}
    assert len(result.unreadable) == 1 and "gone" in result.unreadable[0]
    asked = [one for one in asked if one[0] != "gone"]
    assert [(name, str(prompt)) for name, prompt, *_ in asked] == [
        ("abc.wav", "Prompt('dog barking')"),
        ("abc.wav", "Prompt('dog barking', spans=['0.1-0.3'])"),
        ("long.wav", "Prompt('guitar')"),
    ]
    assert asked[2][2:] == (0.2, close(0.3))  # its part of a longer file
    assert {axis: rows["sfx"][axis] for axis in AXES} == dict(zip(AXES, (3.0, 2.0, 4.0, 5.0), strict=True))
    assert -1 <= rows["sfx"]["text similarity"] <= 1
    assert rows["instr-pro"]["pleasant"] == 7.5


def test_a_visual_setting_is_asked_for_by_the_mask_alone(tmp_path):
    png = b"\x89PNG rest"
    clip = sam_audio_bench.Clip(tmp_path / "a.mp4", "speaker-visual", "a man", mask=png)
    with sam_audio_bench.ExitStack() as files:
        prompt = find("sam-audio-bench")._prompt(clip, files)
        assert (prompt.text, prompt.name) == (None, "a man")
        assert prompt.clues["mask"].read_bytes() == png and prompt.clues["mask"].suffix == ".png"
    with (
        pytest.raises(UserError, match="neither a picture nor a video"),
        sam_audio_bench.ExitStack() as files,
    ):
        find("sam-audio-bench")._prompt(sam_audio_bench.Clip(clip.path, "visual", "", mask=b"PK"), files)
    made.text(
        tmp_path / "t.jsonl", json.dumps({"video": "a", "text": "", "task": "visual", "mask": "../up.png"})
    )
    with pytest.raises(UserError, match="lies outside"):
        find("sam-audio-bench").items(tmp_path)


def test_a_video_with_a_mask_is_separated_by_what_is_seen(tmp_path, separator):
    """Text is not used: the stem is asked for by the picture under the mask."""
    import cv2

    frames = [picture(x=20 + i) for i in range(10)]
    marked = np.zeros(frames[0].shape[:2], np.uint8)
    marked[30:62, 20:52] = 255
    audible = np.tile(made.sound(3, 48_000)[:, 0], 3)[:48_000]
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips/v1.mp4", frames, 10, audible)
    assert cv2.imwrite(str(tmp_path / "v1.png"), marked)
    row = {
        "video_id": "v1",
        "description": "a red square",
        "paper_eval": ["speaker-visual"],
        "mask": "v1.png",
    }
    made.text(tmp_path / "t.jsonl", json.dumps(row))
    tools = Tools(separator)
    tools.__dict__["judge"] = Same()
    result = evaluate(find("sam-audio-bench"), tmp_path, tools)
    assert result.unreadable == []
    assert result.rows[0]["what"] == "speaker-visual" and result.rows[0]["overall"] == 3.0


def test_scorers_are_rankers_of_plugins(separator, monkeypatch):
    loaded = []

    class Kind:
        name = "pleasant"

        def load(self, device):
            loaded.append(device)
            return Pleasant()

    class Found:
        def get(self, hook, name):
            assert (hook, name) == ("rankers", "pleasant")
            return Kind()

    monkeypatch.setattr("sam_audio.extending.registry.registry", lambda: Found())
    tools = Tools(separator, scorers=["pleasant"])
    assert list(tools.scorers) == ["pleasant"] and loaded == ["cpu"]
    monkeypatch.undo()
    with pytest.raises(UserError, match="there is no ranker 'beauty'"):
        _ = Tools(separator, scorers=["beauty"]).scorers


# ---- the loop and the table -------------------------------------------------------------------------------


def test_items_are_limited_evenly_and_damaged_ones_left_out(tmp_path, separator):
    made.audiosep(tmp_path)
    (tmp_path / "data/esc50/mixture-0.wav").write_bytes(b"RIFF")
    result = evaluate(find("audiosep-esc50"), tmp_path, made.tools(separator))
    assert result.rows[0]["n"] == 2
    assert [Path(text.split()[0]).name for text in result.unreadable] == [
        "mixture-0.wav",
        "mixture-7.wav",
    ]  # damaged, missing
    seen = []
    evaluate(
        find("audiosep-esc50"), tmp_path, made.tools(separator), 2, lambda items: seen.extend(items) or items
    )
    assert [pair.mixture.name for pair in seen] == ["mixture-0.wav", "mixture-2.wav"]
    with pytest.raises(UserError, match="is not a folder"):
        evaluate(find("dnr"), tmp_path / "nowhere", made.tools(separator))


def test_published_figures_have_sources_and_belong_to_benchmarks_and_measures():
    for name in benches():
        for row in published(name):
            assert row["source"] and row["system"]
    table = beside("dnr", "nano", [{"what": "speech", "n": 3, "SI-SDR": 1.0, "SDR": 2.0}])
    assert table[0] == {
        "system": "nano",
        "what": "speech",
        "n": 3,
        "SI-SDR": 1.0,
        "SDR": 2.0,
        "source": "this run",
    }
    bandit = next(row for row in table if row["system"] == "BandIt Plus" and row["what"] == "speech")
    assert bandit["SDR"] == 15.6 and bandit["SI-SDR"] is None
    with pytest.raises(UserError, match="there is no benchmark 'mnist': use sam-audio-bench, audiosep-esc50"):
        find("mnist")


def test_the_command_prints_a_table_beside_published_figures(tmp_path, cli, tiny_weights, refused):
    made.audiosep(tmp_path / "a")
    run = (
        "eval",
        "bench",
        "audiosep-esc50",
        "--data",
        tmp_path / "a",
        "--model",
        tiny_weights,
        "--device",
        "cpu",
    )
    done = cli(*run, "--json", "--limit", "1", "--report", tmp_path / "r.md")
    assert done.code == 0, done.err
    table = json.loads(done.out)["table"]
    assert table[0]["n"] == 1 and table[0]["source"] == "this run"
    assert {"AudioSep", "CLAPSep", "LASS-Net"} < {row["system"] for row in table}
    assert "| AudioSep | all |" in (tmp_path / "r.md").read_text()
    assert "already exists" in refused(*run, "--report", tmp_path / "r.md")
    assert "is not dnr" in refused("eval", "bench", "dnr", "--data", tmp_path / "a", "--model", tiny_weights)
