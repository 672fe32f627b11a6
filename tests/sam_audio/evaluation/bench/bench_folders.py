"""Small folders in the very layouts of the benchmarks, and a separator whose stems are known."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import soundfile

from sam_audio.evaluation.bench.base import Tools
from sam_audio.separator.base import SeparationModel, SeparationStream
from sam_audio.types import Condition

SECONDS = 0.4


class Gains(SeparationModel):
    """Every prompt gets the mixture times a gain: that of its text, else ``otherwise``."""

    name, sample_rate = "gains", 48_000
    takes = frozenset({"anchors", "vector", "masks", "video"})

    def __init__(self, gains: dict[str, float], otherwise: float = 0.5) -> None:
        self.gains, self.otherwise = gains, otherwise

    def encode(self, texts):
        return [Condition(text, None, text=text) for text in texts]

    def open(self, conditions, channels, strength=1.0):
        return _Gained([self.gains.get(c.text, self.otherwise) for c in conditions], channels)


class _Gained(SeparationStream):
    def __init__(self, gains, channels):
        self.gains, self.channels = np.array(gains, np.float32)[:, None, None], channels

    def push(self, samples):
        return samples[None] * self.gains

    def finish(self):
        return np.zeros((len(self.gains), self.channels, 0), np.float32)


def tools(separator, gains: dict[str, float] | None = None, otherwise: float = 0.5, **more) -> Tools:
    """Of a loaded separator, whose model is another then."""
    fake = copy.copy(separator)
    fake.model = Gains(gains or {}, otherwise)
    return Tools(fake, **more)


def sound(seed: int, rate: int, channels: int = 1, seconds: float = SECONDS) -> np.ndarray:
    """(T, C), quiet enough for several of them to be added; nothing above half of the Nyquist frequency."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate)
    spectrum = rng.standard_normal((n // 2 + 1, channels)) + 1j * rng.standard_normal((n // 2 + 1, channels))
    spectrum[n // 4 :] = 0
    samples = np.fft.irfft(spectrum, n, axis=0)
    return (0.05 * samples / samples.std()).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return samples


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def audiosep(root: Path, name: str = "esc50") -> list[tuple[np.ndarray, np.ndarray]]:
    """AudioSep's evaluation folder with one set; (mixture, source) of each, (T,)."""
    rate, pairs = 32_000, []
    place = root / "data" / name
    for i in range(3):
        source, other = sound(2 * i, rate), 2 * sound(2 * i + 1, rate)
        mixture, where = source + other, (place / f"mixture-{i}.wav", place / f"segment-{i}.wav")
        if name == "vggsound":
            where = place / f"data/mix_wav/{i}.wav", place / f"data/s0_wav/{i}.wav"
        if name == "audioset":
            where = tuple(
                place / f"class_id={i // 2}/class_id={i // 2},index=00{i},{kind}.wav"
                for kind in ("mixture", "source")
            )
        for path, samples in zip(where, (mixture, source), strict=True):
            write(path, samples, rate)
        pairs.append((mixture[:, 0], source[:, 0]))
    heads = {
        "audiocaps": "idx,caption,labels,src_wav,noise_wav",
        "clotho": "idx,caption,src_wav,noise_wav1,noise_wav1",
        "vggsound": "file_id,mix_wav,s0_wav,s0_text,s1_wav,s1_text",
    }
    lines = [heads.get(name, "idx,caption,src_wav,noise_wav")]
    captions = ["dog", '"rain, softly"' if name in ("audiocaps", "clotho") else "dog", "cat"]
    for i, caption in enumerate(captions):
        inside = f"evaluation/data/audioset/class_id={i // 2}/class_id={i // 2},index=00{i}"
        lines.append(
            {
                "audiocaps": f"{i},{caption},Dog,Ya.wav,Yb.wav",
                "clotho": f"{i},{caption},a.wav,b.wav,c.wav",
                "vggsound": f"{i},data/mix_wav/{i}.wav,data/s0_wav/{i}.wav,{caption},data/s1_wav/{i}.wav,cat",
                "audioset": f'{i // 2},{caption},"{inside},source.wav","{inside},mixture.wav"',
            }.get(name, f"{i},{caption},1-100032-A-0.wav,5-207836-D-29.wav")
        )
    text(root / f"metadata/{name}_eval.csv", *lines, "7,dog,gone.wav,gone.wav,x,y" if name == "esc50" else "")
    return pairs


def musdb(root: Path, rate: int = 8_000) -> dict[str, np.ndarray]:
    """Two test songs of 2.5 s; the stems of the first, (T, 2)."""
    songs = []
    for number, song in enumerate(("A Band - Some Song", "Zed - Other")):
        stems = {
            name: sound(10 * number + i, rate, 2, 2.5)
            for i, name in enumerate(("bass", "drums", "other", "vocals"))
        }
        for name, samples in {**stems, "mixture": sum(stems.values())}.items():
            write(root / f"test/{song}/{name}.wav", samples, rate)
        songs.append(stems)
    write(root / "train/Not This/mixture.wav", sound(9, rate, 2), rate)
    return songs[0]


def moises(root: Path, rate: int = 8_000) -> dict[str, np.ndarray]:
    """One song with guitars of two tracks, and bowed strings, which are "other"."""
    song = root / "moisesdb_v0.1/0b2c-1"
    tracks = {"vocals": ["v"], "guitar": ["g1", "g2"], "bowed_strings": ["s"]}
    made: dict[str, np.ndarray] = {}
    stems = []
    for i, (stem, names) in enumerate(tracks.items()):
        listed = []
        for j, name in enumerate(names):
            samples = write(song / stem / f"{name}.wav", sound(3 * i + j, rate, 2, 2.0), rate)
            made[stem] = made.get(stem, 0) + samples
            listed.append({"id": name, "extension": "wav", "trackType": stem, "has_bleed": False})
        stems.append({"id": stem, "stemName": stem, "tracks": listed})
    text(song / "data.json", json.dumps({"song": "x", "artist": "y", "genre": "rock", "stems": stems}))
    return made


def dnr(root: Path, rate: int = 44_100) -> dict[str, np.ndarray]:
    """Two soundtracks, the second without music; the stems of the first, (T,)."""
    tracks = []
    for number in ("1002", "2007"):
        stems = {name: sound(int(number) + i, rate) for i, name in enumerate(("speech", "music", "sfx"))}
        if number == "2007":
            stems["music"] = 0 * stems["music"]
        for name, samples in {**stems, "mix": sum(stems.values())}.items():
            write(root / f"tt/{number}/{name}.wav", samples, rate)
        text(root / f"tt/{number}/annots.csv", "file,class")
        tracks.append({name: samples[:, 0] for name, samples in stems.items()})
    return tracks[0]


def dcase(root: Path, rate: int = 32_000) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Scenes of four channels: two of one class and another; one class; none. Sources (T,) by scene."""
    place = root / "dev_set/synthesized/test"
    scenes = {
        "soundscape_0000": ["Speech", "Speech", "Doorbell"],
        "soundscape_0001": ["Cough"],
        "soundscape_0002": [],
    }
    made: dict[str, list[tuple[str, np.ndarray]]] = {}
    for number, (scene, labels) in enumerate(scenes.items()):
        total = 0.5 * sound(100 + number, rate, 4)
        made[scene] = []
        for i, label in enumerate(labels):
            # 2025 wrote NAME_LABEL, 2026 NAME_NUMBER_LABEL
            name = f"{scene}_{i}_{label}" if labels.count(label) > 1 else f"{scene}_{label}"
            source = write(place / f"oracle_target/{name}.wav", sound(10 * number + i, rate), rate)
            total = total + source
            made[scene].append((label, source[:, 0]))
        write(place / f"soundscape/{scene}.wav", total, rate)
    (place / "oracle_target").mkdir(parents=True, exist_ok=True)
    return made


def wham(root: Path, rate: int = 8_000) -> list[np.ndarray]:
    """Two mixtures of two voices; the voices of each, (2, T)."""
    voices = []
    for i, name in enumerate(("050a0501_1.7_442o030z_-1.7.wav", "050a0502_0.1_440c020w_-0.1.wav")):
        one, two = sound(2 * i, rate), sound(2 * i + 1, rate)
        for kind, samples in (("s1", one), ("s2", two), ("mix_clean", one + two), ("mix_both", one)):
            write(root / f"wav8k/min/tt/{kind}/{name}", samples, rate)
        voices.append(np.stack([one[:, 0], two[:, 0]]))
    return voices


def librimix(root: Path, rate: int = 8_000) -> list[np.ndarray]:
    """The same as Libri2Mix, whose lists name paths of another machine."""
    place = root / "Libri2Mix/wav8k/min"
    lines = ["mixture_ID,mixture_path,source_1_path,source_2_path,length"]
    voices = []
    for i in range(2):
        one, two = sound(20 + 2 * i, rate), sound(21 + 2 * i, rate)
        name = f"5400-3447{i}_4973-2451{i}.wav"
        for kind, samples in (("s1", one), ("s2", two), ("mix_clean", one + two)):
            write(place / f"test/{kind}/{name}", samples, rate)
        paths = ",".join(f"/elsewhere/wav8k/min/test/{kind}/{name}" for kind in ("mix_clean", "s1", "s2"))
        lines.append(f"{name[:-4]},{paths},{len(one)}")
        voices.append(np.stack([one[:, 0], two[:, 0]]))
    text(place / "metadata/mixture_test_mix_clean.csv", *lines)
    return voices


def sam_audio_bench(root: Path, table: str = "jsonl", rate: int = 16_000) -> None:
    """A clip that counts in two settings, one cut out of a longer file, and one whose file is missing."""
    rows = [
        {
            "video_id": "abc",
            "source_dataset": "vggsound",
            "description": "dog barking",
            "paper_eval_sets": ["sfx", "sfx-span"],
            "start_offset": None,
            "end_offset": None,
            "spans": [[0.1, 0.3]],
        },
        {
            "video_id": "long",
            "source_dataset": "music",
            "description": "guitar",
            "paper_eval_sets": ["instr-pro"],
            "start_offset": 0.2,
            "end_offset": 0.5,
            "spans": None,
        },
        {"video_id": "gone", "source_dataset": "x", "description": "cat", "paper_eval_sets": ["sfx"]}
        | {"start_offset": None, "end_offset": None, "spans": None},
    ]
    root.mkdir(parents=True, exist_ok=True)
    if table == "jsonl":
        text(root / "test.jsonl", *map(json.dumps, rows))
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "test-00000-of-00001.parquet")
    write(root / "vggsound/abc.wav", sound(1, rate), rate)
    write(root / "music/long.wav", sound(2, rate, 2, 0.8), rate)
