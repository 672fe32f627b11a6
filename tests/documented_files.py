"""The files that the examples of the docs name: short, made here, and nothing else is needed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
from documented import ROOT, blocks

# (seconds, of which example): songs and scenes are as long as the spans that are marked in them
SOUNDS = {
    "song.wav": (22, "band.wav"),
    "band.wav": (3, "band.wav"),
    "in.wav": (1.5, "speech.ogg"),
    "talk.wav": (3, "speech.ogg"),
    "office.wav": (3, "speech.ogg"),
    "mix.wav": (5.5, "scene.ogg"),
    "scene.wav": (10, "scene.ogg"),
    "birds.wav": (5.5, "scene.ogg"),
    "bark.wav": (1, "scene.ogg"),
    "melody.wav": (3, "band.wav"),
    "my-guitar.wav": (1, "band.wav"),
    "recordings/one.wav": (2, "band.wav"),
    "recordings/two.wav": (2, "band.wav"),
    "episodes/first.wav": (2, "speech.ogg"),
}
VIDEOS = ("clip.mp4", "interview.mp4", "a.mp4", "b.mp4")


def make(folder: Path) -> Path:
    """Makes them all in a new folder."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    for name, (seconds, example) in SOUNDS.items():
        samples, rate = soundfile.read(ROOT / "examples" / example, always_2d=True)
        n = round(seconds * rate)
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.tile(samples, (-(-n // len(samples)), 1))[:n], rate)
    _videos(folder)
    _score(folder / "song.mid")
    _session(folder)
    _blind(folder / "best_model.pth")
    _blind(folder / "runs/voices/model.pth")
    (job,) = [text for language, text in blocks(ROOT / "docs/prompts.md") if language == "json"]
    (folder / "jobs.jsonl").write_text(json.dumps(json.loads(job)) + "\n")
    rack = next(text for language, text in blocks(ROOT / "docs/studio.md") if language == "toml")
    (folder / "my.rack.toml").write_text(re.sub(r"^ *\{ plugin =.*\n", "", rack, flags=re.MULTILINE))
    shutil.copy(ROOT / "sam_audio/training/recipes/flow/toy.toml", folder / "mine.toml")
    rows = ["path\tlabel", *(f"{path}\tdrums" for path in ("recordings/one.wav", "bark.wav", "talk.wav"))]
    (folder / "clips.tsv").write_text("\n".join(rows) + "\n")
    return folder


def _videos(folder: Path) -> None:
    """Four seconds of a moving picture, with two sound tracks."""
    sources = ["-f", "lavfi", "-i", "testsrc=s=400x300:r=5:d=4"]
    sources += ["-i", folder / "mix.wav", "-i", folder / "talk.wav"]
    kept = ["-map", "0", "-map", "1", "-map", "2", "-t", "4", "-c:v", "mpeg4", "-c:a", "aac"]
    first, *others = (folder / name for name in VIDEOS)
    subprocess.run(["ffmpeg", "-v", "error", *sources, *kept, first], check=True)
    for other in others:
        shutil.copy(first, other)


def _score(path: Path) -> None:
    """Four notes of a bass."""
    import mido

    track = mido.MidiTrack([mido.MetaMessage("track_name", name="bass")])
    for note in (40, 43, 45, 47):
        track.append(mido.Message("note_on", note=note, velocity=80, time=0))
        track.append(mido.Message("note_on", note=note, velocity=0, time=480))
    mido.MidiFile(tracks=[track]).save(path)


def _session(folder: Path) -> None:
    """What the editor saved: ``~/sam-audio/my-band``, where ~ is the folder."""
    session = folder / "sam-audio/my-band"
    session.mkdir(parents=True)
    shutil.copy(folder / "band.wav", session / "mixture.wav")
    content = {"format": "sam-audio session", "version": 1, "name": "my-band", "title": "band.wav"}
    content |= {
        "mixture": "mixture.wav",
        "model": "nano",
        "strength": 1.0,
        "options": {},
        "prompts": ["guitar"],
    }
    content |= {"mixer": {}, "stems": {}, "report": {}}
    (session / "session.json").write_text(json.dumps(content))


def _blind(path: Path) -> None:
    """A network of asteroid for two sources that has learned nothing."""
    import torch
    from asteroid.models import ConvTasNet

    network = ConvTasNet(
        n_src=2, n_filters=32, kernel_size=16, stride=8, n_blocks=1, n_repeats=1, bn_chan=16, hid_chan=16,
        skip_chan=16, sample_rate=16_000,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model_name": "ConvTasNet", **network.serialize()}, path)


def snapshot(hub: Path, name: str) -> Path:
    """Where a hub's cache has the files of a model."""
    return hub / f"models--facebook--{name}" / "snapshots" / ("0" * 40)


def make_hub(folder: Path) -> Path:
    """A hub's cache in which the published models have random weights and are tiny."""
    import official_tiny
    import tiny_t5

    from peav.official.frame import PEAudioFrame
    from peav.official.model import PEAudioVideo

    made = {
        "sam-audio-small": tiny_t5.write_model,
        "pe-av-large": lambda path: official_tiny.make(path, PEAudioVideo),
        "pe-a-frame-small": lambda path: official_tiny.make(path, PEAudioFrame),
        "pe-a-frame-large": lambda path: official_tiny.make(path, PEAudioFrame),
    }
    for name, write in made.items():
        repository = folder / f"models--facebook--{name}"
        write(snapshot(folder, name))
        (repository / "refs").mkdir()
        for reference in ("main", "perception_models"):
            (repository / "refs" / reference).write_text("0" * 40)
    return folder
