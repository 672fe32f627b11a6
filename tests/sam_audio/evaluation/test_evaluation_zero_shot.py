"""Retrieval, classification and localization with models whose answers are known."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import types
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from sam_audio.cli import evaluate_embeddings as commands
from sam_audio.errors import AudioReadError, MissingExtraError, ModelError, UserError
from sam_audio.evaluation import classification, localization, retrieval
from sam_audio.evaluation.datasets import DATASETS, Item, LabelledEvent, load
from sam_audio.finding.spans import SpanOptions

RATE_HZ, FRAME = 16_000, 640  # frames of 40 ms
TONES_HZ = {"dog": 250, "chirping birds": 1_000, "vacuum cleaner": 4_000, "rain": 7_000}
NAMES = list(TONES_HZ)


def tone(name: str, seconds: float = 0.4) -> np.ndarray:
    return 0.2 * np.sin(2 * np.pi * TONES_HZ[name] * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)


def save(path: Path, sound: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE_HZ, format="WAV")
    return path


def presence(sound: np.ndarray) -> np.ndarray:
    """(tones, frames): 1 where a tone sounds; every tone is a bin of a frame's spectrum."""
    frames = sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME)
    bins = [hz * FRAME // RATE_HZ for hz in TONES_HZ.values()]
    return (np.abs(np.fft.rfft(frames))[:, bins].T > 0.05 * FRAME).astype(np.float32)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


class ToneEmbedder:
    """A dimension for each tone: a sound is the tones heard in it, a text the tones named in it.

    Args:
        swap: words that it takes for others.
    """

    name = "tones"

    def __init__(self, swap: Mapping[str, str] | None = None) -> None:
        self.swap = swap or {}
        self.calls: list[tuple[str, float, float | None]] = []
        self.kinds: set[str] = set()

    def embed_text(self, texts: list[str], kind: str = "audio") -> np.ndarray:
        self.kinds.add(kind)
        named = [{self.swap.get(name, name) for name in NAMES if name in text} for text in texts]
        return np.stack([unit(np.array([name in names for name in NAMES], float)) for names in named])

    def embed_audio_file(self, path: Path, start_s: float = 0, duration_s: float | None = None) -> np.ndarray:
        self.calls.append((path.name, start_s, duration_s))
        try:
            sound, _ = soundfile.read(path)
        except soundfile.SoundFileError:
            raise AudioReadError(f"{path.name} is damaged: export it again") from None
        return unit(presence(sound).max(axis=1))

    def embed_video_file(self, path: Path, start_s: float = 0, duration_s: float | None = None) -> np.ndarray:
        """The picture of a video shows what its folder is named after."""
        return np.array([name == path.parent.name for name in NAMES], float)

    def embed_audio_video_file(self, path, start_s=0, duration_s=None):
        return unit(self.embed_audio_file(path, start_s, duration_s) + self.embed_video_file(path))

    def embed_with_text(self, path, texts, kind, start_s=0, duration_s=None):
        clip = (
            self.embed_video_file(path)
            if kind == "video"
            else self.embed_audio_file(path, start_s, duration_s)
        )
        return np.stack([unit(clip + text) for text in self.embed_text(texts, kind)])


class Constant(ToneEmbedder):
    """Everything is the same to it."""

    def embed_text(self, texts, kind="audio"):
        return np.eye(4)[[0] * len(texts)]

    def embed_audio_file(self, path, start_s=0, duration_s=None):
        return np.eye(4)[0]

    embed_video_file = embed_audio_file


class ToneLocator:
    """Hears each tone where it is; a prompt that names none is never heard."""

    name, frame_rate = "tones", RATE_HZ / FRAME

    def __init__(self, deaf_to: str = "", late_frames: int = 0) -> None:
        self.deaf_to, self.late_frames = deaf_to, late_frames

    def activity(self, path: Path, prompts: list[str]) -> np.ndarray:
        sound, _ = soundfile.read(path)
        heard = np.roll(presence(sound), self.late_frames, axis=1)
        silence = np.zeros(heard.shape[1], np.float32)
        known = {name: row for name, row in zip(NAMES, heard, strict=True) if name != self.deaf_to}
        return 0.1 + 0.8 * np.stack([known.get(prompt.lower(), silence) for prompt in prompts])


@pytest.fixture(scope="module")
def esc50(tmp_path_factory) -> Path:
    """Two clips of each tone, and one whose file is missing."""
    root = tmp_path_factory.mktemp("esc50")
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i, name in enumerate([*NAMES, *NAMES]):
        category = name.replace(" ", "_")
        save(root / f"audio/{i}-A.wav", tone(name))
        lines.append(f"{i}-A.wav,{1 + i // 4},{i % 4},{category},False,{i},A")
    lines.append("9-A.wav,1,0,dog,False,9,A")
    (root / "meta").mkdir()
    (root / "meta/esc50.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def clotho(tmp_path_factory) -> Path:
    """Four clips with five captions each; the fifth is only said of two tones, and so of two clips."""
    root = tmp_path_factory.mktemp("clotho")
    lines = ["file_name," + ",".join(f"caption_{n}" for n in range(1, 6))]
    for i, name in enumerate(NAMES):
        save(root / f"evaluation/{i}.wav", tone(name))
        shared = "dog and chirping birds" if i < 2 else "vacuum cleaner and rain"
        lines.append(f"{i}.wav,a {name},the {name},one {name},{name} outside,{shared}")
    (root / "clotho_captions_evaluation.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def vggsound(tmp_path_factory) -> Path:
    """Three videos (the media are wav inside, for a fake embedder); in one the picture is of something else."""
    root = tmp_path_factory.mktemp("vggsound")
    shown = {"dog": "dog", "rain": "rain", "chirping birds": "vacuum cleaner"}
    lines = []
    for i, (heard, seen) in enumerate(shown.items()):
        save(root / f"{seen}/video{i}_000030.mp4", tone(heard))
        lines.append(f"video{i},30,{heard},test")
    (root / "vggsound.csv").write_text("\n".join(lines), encoding="utf-8")
    return root


SCENES = {
    "a": [LabelledEvent("Dog", 1.0, 3.0), LabelledEvent("Rain", 4.0, 8.0)],
    "b": [LabelledEvent("Vacuum cleaner", 2.0, 6.0), LabelledEvent("Dog", 5.0, 7.0)],
    "c": [],
}


@pytest.fixture(scope="module")
def desed(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("desed")
    lines = ["filename\tonset\toffset\tevent_label"]
    for clip, events in SCENES.items():
        sound = np.zeros(10 * RATE_HZ)
        for event in events:
            start = round(event.onset_s * RATE_HZ)
            part = tone(event.label.lower(), event.offset_s - event.onset_s)
            sound[start : start + len(part)] += part
            label = event.label.replace(" ", "_")
            lines.append(f"{clip}.wav\t{event.onset_s}\t{event.offset_s}\t{label}")
        if not events:
            lines.append(f"{clip}.wav\t\t\t")
        save(root / f"audio/validation/{clip}.wav", sound)
    (root / "metadata").mkdir()
    (root / "metadata/validation.tsv").write_text("\n".join(lines), encoding="utf-8")
    return root


def table(result) -> dict[str, dict]:
    return {next(iter(row.values())): row for row in result.rows}


# retrieval


def test_perfect_retrieval_both_ways(clotho):
    data = load("clotho", clotho)
    rows = table(retrieval.evaluate(ToneEmbedder(), data.items, retrieval.directions_of(data.items)))
    assert list(rows) == ["text-to-audio", "audio-to-text"]
    # 4 x 4 captions of one clip and 2 of two clips each
    assert (rows["text-to-audio"]["queries"], rows["text-to-audio"]["candidates"]) == (18, 4)
    assert (rows["audio-to-text"]["queries"], rows["audio-to-text"]["candidates"]) == (4, 18)
    for row in rows.values():
        assert (row["R@1"], row["R@5"], row["R@10"], row["median rank"]) == (1, 1, 1, 1)


def test_one_swap(clotho):
    """Rain is taken for a vacuum cleaner: its four captions and the shared one find the wrong clip."""
    items = load("clotho", clotho).items
    embedder = ToneEmbedder(swap={"rain": "vacuum cleaner"})
    rows = table(retrieval.evaluate(embedder, items, ["text-to-audio", "audio-to-text"]))
    # the shared caption is right for the vacuum cleaner's clip; rain's tie with two others at 0, behind one
    assert rows["text-to-audio"]["R@1"] == pytest.approx(14 / 18)
    assert rows["text-to-audio"]["R@5"] == 1
    assert rows["audio-to-text"]["R@1"] == pytest.approx(2 / 4)  # vacuum cleaner: ties with rain's captions
    assert rows["audio-to-text"]["median rank"] == pytest.approx((1 + 5) / 2)


def test_a_model_that_knows_nothing_finds_nothing(clotho):
    items = load("clotho", clotho).items
    rows = table(retrieval.evaluate(Constant(), items, ["text-to-audio", "audio-to-text"]))
    # a caption of one clip ties with three others, a shared one with two; a clip has 5 right ones of 18
    assert (rows["text-to-audio"]["R@1"], rows["text-to-audio"]["median rank"]) == (0, 4)
    assert (rows["audio-to-text"]["R@10"], rows["audio-to-text"]["median rank"]) == (0, 14)


def test_all_directions_of_videos(vggsound):
    items = load("vggsound", vggsound).items
    directions = retrieval.directions_of(items)
    assert directions == list(retrieval.DIRECTIONS)
    rows = table(retrieval.evaluate(ToneEmbedder(), items, directions))
    assert rows["text-to-audio"]["R@1"] == rows["audio-to-text"]["R@1"] == 1
    for direction in ("text-to-video", "video-to-text", "audio-to-video", "video-to-audio"):
        assert rows[direction]["R@1"] == pytest.approx(2 / 3), direction
        assert rows[direction]["R@5"] == 1, direction


def test_a_caption_helps_a_sound_that_misleads(tmp_path):
    """The sounds of the first two clips are swapped, so that only the caption, or the picture, tells them apart."""
    heard = ["chirping birds", "dog", *NAMES[2:]]
    items = [
        Item(save(tmp_path / f"{seen}/{seen}.mp4", tone(sound)), captions=(f"a {seen}", f"the {seen}"))
        for seen, sound in zip(NAMES, heard, strict=True)
    ]

    class Trusting(ToneEmbedder):
        """Believes a caption twice as much as what it hears."""

        def embed_with_text(self, path, texts, kind, start_s=0, duration_s=None):
            return np.stack([unit(self.embed_audio_file(path) + 2 * t) for t in self.embed_text(texts, kind)])

    rows = table(retrieval.evaluate(Trusting(), items, ["audio-to-video", "audio+text-to-video"]))
    assert (rows["audio-to-video"]["queries"], rows["audio-to-video"]["R@1"]) == (4, 0.5)
    assert (rows["audio+text-to-video"]["queries"], rows["audio+text-to-video"]["R@1"]) == (8, 1)


def test_videos_with_their_sound_are_found_and_find(vggsound):
    items = load("vggsound", vggsound).items
    rows = table(retrieval.evaluate(ToneEmbedder(), items, ["text-to-audio-video", "audio-video-to-text"]))
    videos = sum(item.has_video for item in items)
    assert rows["text-to-audio-video"]["candidates"] == videos == rows["audio-video-to-text"]["queries"]
    assert rows["audio-video-to-text"]["R@5"] == 1


def test_a_label_is_right_for_all_its_clips(esc50):
    rows = table(retrieval.evaluate(ToneEmbedder(), load("esc50", esc50).items, ["text-to-audio"]))
    assert rows["text-to-audio"]["queries"] == 4
    assert (rows["text-to-audio"]["candidates"], rows["text-to-audio"]["R@1"]) == (8, 1)


def test_only_what_is_asked_for_is_embedded(vggsound):
    class Blind(ToneEmbedder):
        def embed_video_file(self, path, start_s=0, duration_s=None):
            raise AssertionError

    embedder = Blind()
    retrieval.evaluate(embedder, load("vggsound", vggsound).items, ["text-to-audio", "audio-to-text"])
    assert len(embedder.calls) == 3


def test_texts_are_made_for_what_they_are_compared_with(vggsound):
    """PE-AV projects a text differently for audio and for video."""
    data = load("vggsound", vggsound)
    for directions, kinds in (
        (["text-to-audio"], {"audio"}),
        (["video-to-text"], {"video"}),
        (["audio-to-video"], set()),
        (["text-to-audio-video"], {"audio_video"}),
        (["audio+text-to-video"], {"audio"}),
        (list(retrieval.DIRECTIONS), {"audio", "video", "audio_video"}),
    ):
        embedder = ToneEmbedder()
        retrieval.evaluate(embedder, data.items, directions)
        assert embedder.kinds == kinds
    for modality in ("audio", "video"):
        embedder = ToneEmbedder()
        classification.evaluate(embedder, data.items, data.labels, modality)
        assert embedder.kinds == {modality}


def test_parts_of_a_video(tmp_path):
    save(tmp_path / "v_x.mp4", tone("dog"))
    captions = {"v_x": {"duration": 9.0, "timestamps": [[1, 3.5], [4, 9]], "sentences": ["dog", "rain"]}}
    (tmp_path / "val_1.json").write_text(json.dumps(captions), encoding="utf-8")
    embedder = ToneEmbedder()
    retrieval.evaluate(embedder, load("activitynet-clips", tmp_path).items, ["text-to-audio"])
    assert embedder.calls == [("v_x.mp4", 1.0, 2.5), ("v_x.mp4", 4.0, 5.0)]
    embedder = ToneEmbedder()
    retrieval.evaluate(embedder, load("activitynet", tmp_path).items, ["text-to-audio"])
    assert embedder.calls == [("v_x.mp4", 0.0, None)]


def test_sounds_have_no_picture(clotho):
    with pytest.raises(UserError, match="there is no video among the clips"):
        retrieval.evaluate(ToneEmbedder(), load("clotho", clotho).items, ["text-to-video"])


def test_a_silent_video_is_only_left_out_where_sound_is_needed(tmp_path):
    items = [Item(save(tmp_path / f"{name}/{name}.mp4", tone(name)), label=name) for name in NAMES]
    items[0].path.write_bytes(b"no sound")
    result = retrieval.evaluate(ToneEmbedder(), items, retrieval.directions_of(items))
    rows = table(result)
    assert {d: (row["queries"], row["candidates"]) for d, row in rows.items()} == {
        d: (4, 4) if "audio" not in d else (3, 3) for d in retrieval.DIRECTIONS
    }
    assert all(row["R@1"] == 1 for row in rows.values())
    assert result.unreadable == ["dog.mp4 is damaged: export it again"]
    for item in items:
        item.path.write_bytes(b"no sound")
    assert list(table(retrieval.evaluate(ToneEmbedder(), items, list(retrieval.DIRECTIONS)))) == [
        "text-to-video",
        "video-to-text",
    ]


def test_batches_change_nothing(clotho, monkeypatch):
    items = load("clotho", clotho).items
    whole = retrieval.evaluate(ToneEmbedder(), items, ["text-to-audio", "audio-to-text"])
    monkeypatch.setattr(retrieval, "_BATCH", 3)
    assert retrieval.evaluate(ToneEmbedder(), items, ["text-to-audio", "audio-to-text"]) == whole


# what cannot be read


def test_a_damaged_file_costs_only_itself(tmp_path):
    items = [Item(save(tmp_path / f"{name}.wav", tone(name)), label=name) for name in NAMES]
    items[1].path.write_bytes(b"RIFF damaged")
    message = ["chirping birds.wav is damaged: export it again"]
    found = retrieval.evaluate(ToneEmbedder(), items, ["text-to-audio"])
    assert (found.rows[0]["queries"], found.rows[0]["R@1"], found.unreadable) == (3, 1, message)
    named = classification.evaluate(ToneEmbedder(), items, NAMES)
    assert (named.rows[0]["clips"], named.rows[0]["top-1"], named.unreadable) == (3, 1, message)


@pytest.mark.parametrize("error", [MissingExtraError("video needs av", "video"), ModelError("it is broken")])
def test_what_no_file_would_survive_is_raised(error, tmp_path):
    class Broken(ToneEmbedder):
        def embed_audio_file(self, path, start_s=0, duration_s=None):
            raise error

    with pytest.raises(type(error)):
        classification.evaluate(Broken(), [Item(tmp_path / "x.wav", label="dog")], NAMES)


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF damaged")
    items = [Item(tmp_path / "x.wav", label="dog", events=(LabelledEvent("dog", 0, 1),))]
    message = "none of the clips could be read; the first of 1: x.wav is damaged"
    with pytest.raises(UserError, match=message):
        retrieval.evaluate(ToneEmbedder(), items, ["text-to-audio"])
    with pytest.raises(UserError, match=message):
        classification.evaluate(ToneEmbedder(), items, NAMES)
    with pytest.raises(UserError, match="none of the clips has both sides"):
        retrieval.evaluate(ToneEmbedder(), [], ["text-to-audio"])


# classification


def test_perfect_classification(esc50):
    data = load("esc50", esc50)
    rows = table(classification.evaluate(ToneEmbedder(), data.items, data.labels, per_class=True))
    assert list(rows) == ["all 4 labels", *sorted(NAMES)]
    assert rows["all 4 labels"] == {"what": "all 4 labels", "clips": 8, "top-1": 1, "mAP": 1}
    assert all(rows[name] == {"what": name, "clips": 2, "top-1": 1, "mAP": 1} for name in NAMES)


def test_two_labels_swapped(esc50):
    data = load("esc50", esc50)
    embedder = ToneEmbedder(swap={"dog": "rain", "rain": "dog"})
    rows = table(classification.evaluate(embedder, data.items, data.labels, per_class=True))
    assert rows["all 4 labels"]["top-1"] == 0.5
    assert [rows[name]["top-1"] for name in NAMES] == [0, 1, 1, 0]
    # two wrong clips first, then the other six tie: 2 right of 8
    assert rows["dog"]["mAP"] == rows["rain"]["mAP"] == pytest.approx(2 / 8)
    assert rows["all 4 labels"]["mAP"] == pytest.approx((1 + 1 + 0.25 + 0.25) / 4)


def test_classification_by_chance(esc50):
    data = load("esc50", esc50)
    (row,) = classification.evaluate(Constant(), data.items, data.labels).rows
    assert (row["top-1"], row["mAP"]) == (0, 0.25)


def test_the_answers_do_not_shrink_with_the_clips(esc50):
    data = load("esc50", esc50, limit=2)
    rows = table(classification.evaluate(ToneEmbedder(), data.items, data.labels, per_class=True))
    assert list(rows) == ["all 4 labels", "dog"]
    assert rows["all 4 labels"]["clips"] == 2


def test_classification_of_video(vggsound):
    data = load("vggsound", vggsound)
    scores = {
        modality: classification.evaluate(ToneEmbedder(), data.items, data.labels, modality).rows[0]["top-1"]
        for modality in ("audio", "video")
    }
    assert scores == pytest.approx({"audio": 1, "video": 2 / 3})


def test_templates_are_averaged_and_have_length_one():
    class Words(ToneEmbedder):
        def embed_text(self, texts, kind="audio"):
            return np.eye(4)[[{"dog": 0, "the sound of dog": 1}[text] for text in texts]]

    vectors = classification.embed_labels(Words(), ["dog"], ["{}", "the sound of {}"])
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5, 0, 0]])
    np.testing.assert_array_equal(classification.embed_labels(Words(), ["dog"], ["{}"]), [[1, 0, 0, 0]])


@pytest.mark.parametrize("templates, message", [(["a sound"], "has no {}"), ([], "no template")])
def test_bad_templates(templates, message):
    with pytest.raises(UserError, match=message):
        classification.embed_labels(ToneEmbedder(), NAMES, templates)


# localization


def test_perfect_localization(desed):
    data = load("desed", desed)
    assert {i.path.stem: list(i.events) for i in data.items} == SCENES
    rows = table(localization.evaluate(ToneLocator(), data.items, data.labels, per_class=True))
    assert list(rows) == ["3 labels, mean", "micro", "Dog", "Rain", "Vacuum cleaner"]
    assert [row["events"] for row in rows.values()] == [4, 4, 2, 1, 1]
    for name, row in rows.items():
        assert (row["segment F1"], row["event F1"]) == pytest.approx((1, 1))
        psds = (row["PSDS1"], row["PSDS2"])
        assert psds == ((None, None) if name == "micro" else pytest.approx((1, 1)))


def test_deaf_to_one_sound(desed):
    data = load("desed", desed)
    rows = table(localization.evaluate(ToneLocator(deaf_to="rain"), data.items, data.labels, per_class=True))
    assert rows["Dog"]["PSDS1"] == rows["Dog"]["event F1"] == pytest.approx(1)
    assert (rows["Rain"]["segment F1"], rows["Rain"]["event F1"], rows["Rain"]["PSDS1"]) == (0, 0, 0)
    assert rows["3 labels, mean"]["segment F1"] == rows["3 labels, mean"]["event F1"] == pytest.approx(2 / 3)
    assert rows["micro"]["event F1"] == pytest.approx(2 * 3 / (3 + 4))
    assert rows["micro"]["segment F1"] == pytest.approx(2 * 8 / (8 + 12))  # seconds
    spread = np.std([1, 0, 1])
    assert rows["3 labels, mean"]["PSDS1"] == pytest.approx(2 / 3 - spread)


def test_labels_of_an_open_vocabulary_are_asked_with_what_is_there(desed):
    """Heard everywhere is what the locator is fooled by: one of the negatives of each recording."""
    data = load("desed", desed)

    class Fooled(ToneLocator):
        asked: list[list[str]] = []

        def activity(self, path, prompts):
            activity = super().activity(path, prompts)
            if len(self.asked) % 2 and len(prompts) > 3:
                activity[-1] = 0.95
            self.asked.append(prompts)
            return activity

    result = localization.evaluate(Fooled(), data.items, data.labels, negatives=4)
    row = table(result)["open vocabulary, 4 absent"]
    n = len(data.items)
    assert (row["events"], row["said"]) == (4 * n, 1 / 4)
    there = sum(len({event.label for event in item.events}) for item in data.items)
    # the fooled ones score higher than anything that is there, all others lower
    assert row["AUROC"] == pytest.approx(1 - n / (4 * n)) and there
    for item, prompts in zip(data.items, Fooled.asked[1::2], strict=True):
        named = list(dict.fromkeys(event.label for event in item.events))
        assert prompts[: len(named)] == named and len(prompts) == len(named) + 4
        words = [word for label in named for word in label.lower().split()]
        assert not any(word in " ".join(prompts[len(named) :]) for word in words)


@pytest.mark.parametrize("frames, right", [(4, True), (6, False)])
def test_late_by_a_collar(desed, frames, right):
    """200 ms are 5 frames; at exactly 5 rounding decides."""
    data = load("desed", desed)
    result = localization.evaluate(ToneLocator(late_frames=frames), data.items, data.labels)
    assert table(result)["micro"]["event F1"] == pytest.approx(float(right))


def test_the_threshold_matters_to_f1_only(desed):
    data = load("desed", desed)
    high, low = (
        table(localization.evaluate(ToneLocator(), data.items, data.labels, SpanOptions(t)))
        for t in (0.95, 0.05)
    )
    assert high["micro"]["event F1"] == low["micro"]["event F1"] == 0
    assert high["micro"]["segment F1"] == 0
    assert low["micro"]["segment F1"] == pytest.approx(2 * 12 / (90 + 12))  # three labels in thirty seconds
    assert high["3 labels, mean"]["PSDS1"] == low["3 labels, mean"]["PSDS1"] == pytest.approx(1)


def test_events_are_made_as_locate_makes_them(desed):
    data = load("desed", desed)
    for options, expected in ((SpanOptions(min_duration_s=2.5), 2), (SpanOptions(merge_gap_s=10), 4)):
        micro = table(localization.evaluate(ToneLocator(), data.items, data.labels, options))["micro"]
        assert micro["event F1"] == pytest.approx(2 * expected / (expected + 4))


def test_audioset_strong(tmp_path):
    (tmp_path / "mid_to_display_name.tsv").write_text("/m/0bt9lr\tDog\n", encoding="utf-8")
    (tmp_path / "audioset_eval_strong.tsv").write_text(
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "s9d-2nhuJCQ_30000\t0.000\t1.000\t/m/0bt9lr\ns9d-2nhuJCQ_30000\t0.800\t2.000\t/m/0bt9lr\n",
        encoding="utf-8",
    )
    save(tmp_path / "s9d-2nhuJCQ_30000.wav", np.concatenate([tone("dog", 2.0), np.zeros(RATE_HZ * 8)]))
    data = load("audioset-strong", tmp_path)
    mean, micro = localization.evaluate(ToneLocator(), data.items, data.labels).rows
    assert mean["events"] == 1  # the two overlap
    assert micro["event F1"] == micro["segment F1"] == pytest.approx(1)
    assert (mean["PSDS1"], mean["PSDS2"]) == pytest.approx((1, 1))


def test_recordings_without_any_label(tmp_path):
    with pytest.raises(UserError, match="nothing is annotated"):
        localization.evaluate(ToneLocator(), [Item(tmp_path / "x.wav")], [])


# the commands


@pytest.fixture
def run(monkeypatch):
    """Runs a command with the fake models; what it prints on stdout, or the UserError."""
    models = types.ModuleType("models")
    models.asked = []
    models.load_embedder = lambda name: models.asked.append(name) or ToneEmbedder()
    models.load_locator = lambda name: models.asked.append(name) or ToneLocator()
    for module in ("sam_audio.conditioning.embedding", "sam_audio.finding.locate"):
        monkeypatch.setitem(sys.modules, module, models)
    app = typer.Typer(pretty_exceptions_enable=False)
    for command in (commands.retrieval, commands.classification, commands.localization):
        app.command(command.__name__)(command)

    def call(*args):
        result = CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "120"})
        if isinstance(result.exception, UserError):
            raise result.exception
        return result

    call.models = models
    return call


def test_tables(run, clotho, esc50, desed):
    def rows(shown) -> list[str]:
        return [" ".join(line.split()) for line in shown.stdout.splitlines()]

    shown = run("retrieval", "clotho", clotho, "--model", "other")
    assert shown.exit_code == 0
    assert rows(shown) == [
        "clotho evaluation, 4 clips, tones",
        "direction queries candidates R@1 R@5 R@10 median rank",
        "text-to-audio 18 4 100.0 % 100.0 % 100.0 % 1",
        "audio-to-text 4 18 100.0 % 100.0 % 100.0 % 1",
    ]
    assert run.models.asked == ["other"]

    shown = run("classification", "esc50", esc50)
    assert rows(shown)[1:] == ["what clips top-1 mAP", "all 4 labels 8 100.0 % 100.0 %"]
    assert "left out because their files are not in the folder: 1\n" in shown.stderr

    assert rows(run("localization", "desed", desed))[1:] == [
        "what events segment F1 event F1 PSDS1 PSDS2 AUROC",
        "3 labels, mean 4 100.0 % 100.0 % 1.000 1.000 1.000",
        "micro 4 100.0 % 100.0 % - - -",
    ]
    shown = rows(run("localization", "desed", desed, "--negatives", 5))
    assert shown[1].endswith("AUROC said") and shown[-1] == "open vocabulary, 5 absent 15 - - - - 1.000 0.0 %"


def test_what_could_not_be_read_is_said(run, esc50, tmp_path):
    shutil.copytree(esc50, tmp_path / "copy")
    (tmp_path / "copy/audio/0-A.wav").write_bytes(b"RIFF damaged")
    shown = run("classification", "esc50", tmp_path / "copy", "--json")
    message = "0-A.wav is damaged: export it again"
    assert f"left out because they could not be read: 1, the first: {message}\n" in shown.stderr
    summary = json.loads(shown.stdout)
    assert (summary["missing"], summary["unreadable"]) == (1, [message])


def test_json_and_csv_hold_the_same_table(run, desed, tmp_path):
    file = tmp_path / "table.csv"
    shown = run("localization", "desed", desed, "--json", "--csv", file, "--per-class", "--limit", 2)
    summary = json.loads(shown.stdout)
    assert {k: summary[k] for k in ("dataset", "split", "model", "clips", "missing", "unreadable")} == {
        "dataset": "desed",
        "split": "validation",
        "model": "tones",
        "clips": 2,
        "missing": 0,
        "unreadable": [],
    }
    with file.open(encoding="utf-8", newline="") as lines:
        written = list(csv.DictReader(lines))
    assert written == [{k: "" if v is None else str(v) for k, v in row.items()} for row in summary["table"]]


def test_a_table_is_only_replaced_when_asked(run, clotho, tmp_path):
    file = tmp_path / "table.csv"
    args = "retrieval", "clotho", clotho, "--csv", file
    run(*args)
    first = file.read_bytes()
    with pytest.raises(UserError, match="exists"):
        run(*args)
    file.write_bytes(b"old")
    run(*args, "--overwrite")
    assert file.read_bytes() == first
    assert list(tmp_path.iterdir()) == [file]


def test_options_reach_the_measure(run, vggsound, esc50):
    shown = run(
        *("retrieval", "vggsound", vggsound, "--json"),
        *("--direction", "video-to-audio", "--direction", "text-to-audio", "--direction", "video-to-audio"),
    )
    assert [row["direction"] for row in json.loads(shown.stdout)["table"]] == [
        "video-to-audio",
        "text-to-audio",
    ]
    for modality, expected in (("audio", 1), ("video", 2 / 3)):
        shown = run("classification", "vggsound", vggsound, "--modality", modality, "--json")
        assert json.loads(shown.stdout)["table"][0]["top-1"] == pytest.approx(expected)
    shown = run("classification", "esc50", esc50, "--split", "2", "--template", "no {}", "--json")
    assert json.loads(shown.stdout)["table"][0]["clips"] == 4


def test_what_is_wrong_is_said_before_a_model_is_loaded(run, clotho, esc50, desed, tmp_path):
    with pytest.raises(UserError, match="is not a folder: give the folder that holds clotho"):
        run("retrieval", "clotho", tmp_path / "nowhere")
    with pytest.raises(UserError, match="is a folder: give the name of a file in it"):
        run("retrieval", "clotho", clotho, "--csv", tmp_path)
    with pytest.raises(UserError, match="lets all or nothing through"):
        run("localization", "desed", desed, "--threshold", 1)
    with pytest.raises(UserError, match="holds no videos of esc50: use --modality audio"):
        run("classification", "esc50", esc50, "--modality", "video")
    assert run("retrieval", "no-such-set", tmp_path).exit_code == 2
    assert run("retrieval", "clotho", clotho, "--limit", 0).exit_code == 2
    assert run.models.asked == []


def test_every_data_set_has_a_command():
    kinds = commands.Captioned, commands.Labelled, commands.Timed
    assert {member.value for kind in kinds for member in kind} == set(DATASETS)
    assert [member.value for member in commands.Direction] == list(retrieval.DIRECTIONS)


def test_the_commands_load_nothing_heavy():
    code = """
import sys
import sam_audio.cli.evaluate_embeddings
print([n for n in ("numpy", "torch", "soundfile", "sklearn", "pandas", "rich.table") if n in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
