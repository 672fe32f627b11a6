"""What is each kind of prompt worth by itself? SI-SDR improvement over the mixture, on held-out recordings.

    python benchmarks/prompts.py --bank ~/.cache/sam-audio/bank -n 20

Mixtures are made from the test split; asking for nothing gives the mixture, which is 0 dB by definition. Clues
are what a careful user would give: spans where the target sounds, another recording of the same kind, the side
it stands on, a box around it, its melody as a plain tone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(path) for path in (ROOT / "plugins").iterdir() if path.is_dir()]
RATE, SECONDS = 48_000, 6.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("-n", type=int, default=20)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()

    from judge.metrics import si_sdr
    from sam_audio.separator import load
    from sam_audio.training.data.bank import Bank
    from sam_audio.training.data.mixing import Mixer

    model = load("nano")
    bank = Bank(options.bank)
    print("| prompt | n | median SI-SDRi (dB) | mean | improved |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in KINDS.items():
            if options.only and kind not in options.only:
                continue
            mixer = Mixer(bank, "test", SECONDS, seed=7)
            gains = []
            for _ in range(options.n):
                mixture, target, request = make(mixer, Path(folder))
                estimate = separate(model, mixture, request, Path(folder))
                before, after = (
                    float(si_sdr(x.reshape(1, -1), target.reshape(1, -1))[0]) for x in (mixture, estimate)
                )
                gains.append(after - before)
            share = 100 * np.mean(np.array(gains) > 0)
            print(
                f"| {kind} | {len(gains)} | {np.median(gains):.2f} | {np.mean(gains):.2f} | {share:.0f} % |",
                flush=True,
            )


def registry():
    """The prompt types of the first-party plugins, installed or not."""
    from types import SimpleNamespace

    import sam_audio_box
    import sam_audio_but_not
    import sam_audio_hum
    import sam_audio_like
    import sam_audio_midi
    import sam_audio_pan

    from sam_audio import builtin

    modules = (
        builtin,
        sam_audio_like,
        sam_audio_pan,
        sam_audio_but_not,
        sam_audio_box,
        sam_audio_hum,
        sam_audio_midi,
    )
    return SimpleNamespace(all=lambda hook: [kind for module in modules for kind in module.prompt_types()])


def separate(model, mixture: np.ndarray, prompt, folder: Path) -> np.ndarray:
    """The stem of one prompt, of the shape of the mixture (C, T)."""
    from sam_audio.conditioning.encode import encode
    from sam_audio.conditioning.source import Recording
    from sam_audio.prompts import resolve

    recording = Recording(mixture, model, RATE)
    if {"region", "point", "mask"} & set(prompt.clues):
        recording = Recording(folder / "clip.mp4", model)
    conditions = encode(resolve([prompt], registry=registry()), recording)
    stream = model.open(conditions, len(mixture))
    return np.concatenate([stream.push(mixture), stream.finish()], axis=-1)[0]


def two(mixer, groups=("event", "event")) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Target and other, (T,) float32, with their labels."""
    made = mixer.pair(groups, [0.0, float(mixer.rng.uniform(-3, 3))])
    one, other = made.sources[:2]
    return *(s.samples.astype(np.float32) for s in (one, other)), one.label, other.label


def active(samples: np.ndarray) -> list[tuple[float, float]]:
    """Stretches of time in which something is heard, to 0.1 s."""
    step = RATE // 10
    levels = [np.square(samples[i : i + step]).mean() for i in range(0, len(samples), step)]
    loud = np.array(levels) > max(levels) * 10**-2.5
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud, [0]]).astype(int)))
    return [(a / 10, min(b / 10, SECONDS)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def text(mixer, folder):
    from sam_audio.prompts import Prompt

    target, other, label, _ = two(mixer)
    return (target + other)[None], target[None], Prompt(label)


def span(mixer, folder, words=False):
    from sam_audio.prompts import Prompt

    while True:  # events that sound all the time leave nothing to mark
        target, other, label, _ = two(mixer)
        spans = active(target)
        alone = active(other)
        if spans and sum(b - a for a, b in spans) < 0.7 * SECONDS and alone:
            break
    absent = [
        (a, b) for a, b in gaps(spans) if any(min(b, d) - max(a, c) > 0 for c, d in alone) and b - a > 0.2
    ]
    clues = {"spans": spans, "not_spans": absent}
    return (target + other)[None], target[None], Prompt(label if words else None, **clues)


def gaps(spans):
    edges = [0.0, *(t for s in spans for t in s), SECONDS]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]


def like(mixer, folder, words=False):
    from sam_audio.prompts import Prompt

    target, other, label, _ = two(mixer)
    soundfile.write(folder / "like.wav", mixer.source(label), RATE)
    return (target + other)[None], target[None], Prompt(label if words else None, like=folder / "like.wav")


def pan(mixer, folder, words=False):
    from sam_audio.prompts import Prompt

    target, other, label, _ = two(mixer)
    place = np.array([[1.0], [0.25]], np.float32)
    left, right = target * place, other * place[::-1]
    return left + right, left, Prompt(label if words else None, pan=-18)


def box(mixer, folder):
    import torch

    from sam_audio.prompts import Prompt
    from sam_audio.separator.nano.bands import HOP
    from sam_audio.separator.nano.spectra import power, stft

    target, other, _, _ = two(mixer)
    mine, theirs = (power(stft(torch.from_numpy(x))).numpy() for x in (target, other))
    worth = np.where(mine > theirs, mine, 0)

    def extent(weights: np.ndarray, scale: float) -> tuple[float, float]:
        total = np.cumsum(weights) / max(weights.sum(), 1e-12)
        low, high = np.searchsorted(total, [0.01, 0.99])
        return low * scale, (high + 1) * scale

    (start, end), (low, high) = extent(worth.sum(0), HOP / RATE), extent(worth.sum(1), RATE / 2048)
    return (
        (target + other)[None],
        target[None],
        Prompt(boxes=[f"{start:.2f}-{min(end, 6):.2f},{low:.0f}-{high:.0f}"]),
    )


def melody(mixer) -> tuple[np.ndarray, list[tuple[float, float, int]]]:
    """A sounding melody of a held-out instrument's single note, transposed by resampling, and its notes."""
    import librosa

    notes, out = [], np.zeros(round(SECONDS * RATE), np.float32)
    pitch = int(mixer.rng.integers(55, 72))
    for start in np.arange(0, SECONDS - 0.6, 0.5):
        pitch = int(np.clip(pitch + mixer.rng.integers(-4, 5), 50, 79))
        t = np.arange(round(0.5 * RATE)) / RATE
        hz = librosa.midi_to_hz(pitch) * (1 + 0.003 * np.sin(2 * np.pi * 5 * t))
        phase = 2 * np.pi * np.cumsum(hz) / RATE
        tone = sum(np.sin(k * phase) / k**1.3 for k in range(1, 15) if k * hz.max() < 20_000)
        shape = np.minimum(1, np.minimum(t / 0.02, (0.5 - t) / 0.04))
        at = round(start * RATE)
        out[at : at + len(t)] += (0.1 * tone * shape).astype(np.float32)
        notes.append((float(start), float(start) + 0.5, pitch))
    return out, notes


def over_event(mixer, target):
    _, other, _, _ = two(mixer, ("event", "event"))
    return target, other * np.sqrt(np.square(target).mean() / max(np.square(other).mean(), 1e-9)).astype(
        np.float32
    )


def hum(mixer, folder):
    import librosa

    from sam_audio.prompts import Prompt

    target, notes = melody(mixer)
    target, other = over_event(mixer, target)
    hummed = np.zeros_like(target)
    for start, end, pitch in notes:  # a singer of plain tones, a little out of tune
        t = np.arange(round((end - start) * RATE)) / RATE
        hz = librosa.midi_to_hz(pitch + mixer.rng.normal(0, 0.1))
        hummed[round(start * RATE) :][: len(t)] = 0.2 * np.sin(2 * np.pi * hz * t) + 0.1 * np.sin(
            4 * np.pi * hz * t
        )
    soundfile.write(folder / "hum.wav", hummed, RATE)
    return (target + other)[None], target[None], Prompt(hum=folder / "hum.wav")


def midi(mixer, folder):
    import mido

    from sam_audio.prompts import Prompt

    target, notes = melody(mixer)
    target, other = over_event(mixer, target)
    track = mido.MidiTrack()
    for start, end, pitch in notes:
        gap = 0 if not notes.index((start, end, pitch)) else 0
        track.append(mido.Message("note_on", note=pitch, velocity=80, time=gap))
        track.append(mido.Message("note_off", note=pitch, time=round((end - start) * 960)))
    file = mido.MidiFile(ticks_per_beat=480, tracks=[track])
    file.save(folder / "score.mid")
    return (target + other)[None], target[None], Prompt(midi=folder / "score.mid")


def but_not(mixer, folder):
    from sam_audio.prompts import Prompt

    target, other, _, unwanted = two(mixer, ("event", "speech"))
    return (target + other)[None], target[None], Prompt(but_not=[unwanted])


DATA = Path(os.environ.get("SAM_AUDIO_DATA", ROOT.parent / "shared" / "data"))  # with images.tsv.gz


@cache
def pictures() -> dict[str, list[np.ndarray]]:
    """Pictures (H, W, 3) by label, of the packages that the video tower was not trained on."""
    from sam_audio.errors import UserError
    from sam_audio.io.pictures import read_picture
    from sam_audio.training.data.collect import locate
    from sam_audio.training.data.pictures import HELD_OUT, read_pictures

    found: dict[str, list[np.ndarray]] = {}
    members = read_pictures(DATA / "images.tsv.gz")
    for package in HELD_OUT:
        own = [p for p in members if p.package == package]
        with tempfile.TemporaryDirectory() as folder:
            files = locate(own[0].source, package, [p.path for p in own], DATA, Path(folder))
            for picture in own:
                if picture.path in files:
                    try:
                        array = read_picture(files[picture.path]).transpose(1, 2, 0)
                    except UserError:
                        continue
                    found.setdefault(picture.label, []).append(array)
    return found


def region(mixer, folder):
    """Two pictures side by side, each sounding; the left one is wanted."""
    import av
    import cv2

    from sam_audio.prompts import Prompt

    known = pictures()
    while True:
        target, other, label, another = two(mixer)
        if label in known and another in known:
            break
    left, right = (known[name][int(mixer.rng.integers(len(known[name])))] for name in (label, another))
    frame = np.full((160, 320, 3), 255, np.uint8)
    for x, picture in ((0, left), (160, right)):
        scale = 140 / max(picture.shape[:2])
        h, w = (max(1, round(side * scale)) for side in picture.shape[:2])
        frame[80 - h // 2 :, x + 80 - w // 2 :][:h, :w] = cv2.resize(np.ascontiguousarray(picture), (w, h))
    with av.open(str(folder / "clip.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=2)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 160, "yuv420p", 2_000_000
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(round(2 * SECONDS)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = RATE
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
    return (target + other)[None], target[None], Prompt(region="0,0,160,160")


def also(make: Callable, **more) -> Callable:
    return lambda mixer, folder: make(mixer, folder, **more)


KINDS: dict[str, Callable] = {
    "text": text,
    "span": span,
    "text + span": also(span, words=True),
    "like": like,
    "text + like": also(like, words=True),
    "pan": pan,
    "text + pan": also(pan, words=True),
    "region": region,
    "box": box,
    "hum": hum,
    "midi": midi,
    "not": but_not,
}

if __name__ == "__main__":
    main()
