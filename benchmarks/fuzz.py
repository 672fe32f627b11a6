"""Feeds mutated inputs to every door of the package, and looks for what is neither read nor one sentence.

    python benchmarks/fuzz.py --count 100000 [--only NAME] [--seed N] [--workers N]

A door is a parser of data that may come from strangers. Each case is a valid input that was mutated, knowing its
structure; the case's number and the seed say which. Cases run in worker processes that may take LIMIT_S seconds a case
and LIMIT_BYTES of addresses more than they begin with. A finding is an exception outside of the package's error tree, a
case over either limit, or a process that dies. Prints a table of counts by door; exit code 1 if there are findings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

LIMIT_S, LIMIT_BYTES = 10, 2 << 30
LOADING_S, LOADING_BYTES = 120, 16 << 30  # for the first case of a process, which brings in all libraries
BATCH = 200  # cases a worker is given at a time


@dataclass(frozen=True)
class Door:
    """A parser: a valid input and mutations of it, by ``make(random)``, go to ``feed(folder, data)``.

    ``share`` is how many cases it gets against the others: few where each takes long.
    """

    make: Callable[[Random], bytes]
    feed: Callable[[Path, bytes], None]
    share: float = 1.0


# ---- mutations -----------------------------------------------------------------------------------------

_INTEGERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
_TEXTS = (
    "", " ", "\0", "\u200b", "²", "..", "/", "../../x", "/etc/passwd", "C:/x", "a\\..\\b", "\ud800", "\udcff", "\x1b",
    "a" * 300, "é" * 5000, "9" * 400, "9" * 5000, "-1", "nan", "inf", "1e999", "0x10", "1_0", "3-", "-3", "3-2", "1:99",
    "1:1:1:1", "{stem}", "{stem:>99999999999}", "{stem!r}", "{0}", "{track.x}", "dog@1-2,!3-4", "@1", "none", "-",
    "²-³", "1-2", "1,1,2,2@1", "0.y", "².y", "99999.y", "residual", "master",
)  # fmt: skip


def _nasty(random: Random) -> Any:
    """A value that a document may hold by mistake or on purpose."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(_TEXTS)
    if kind == 3:
        return random.choice((*_INTEGERS, -1, 10**400, -(10**30)))
    if kind == 4:
        return random.choice((0.5, -1.0, 1e308, -1e308, 1e-320, float("nan"), float("inf"), -0.0))
    if kind == 5:
        return random.choice((None, True, False))
    if kind == 6:
        return [_nasty(random) for _ in range(random.randrange(4))]
    return {random.choice(_TEXTS): _nasty(random) for _ in range(random.randrange(3))}


def _near(random: Random, value: Any) -> Any:
    """A value of the same type that may well stand in the place of another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + random.choice((-1, 1, 7))
    if isinstance(value, float):
        return value * random.choice((0.0, 0.5, 1.01, -1.0, 3.0))
    if isinstance(value, str):
        return random.choice(
            (value + " two", value.upper(), "é" + value, value[:-1] or "x", value * 3, "bell")
        )
    return _nasty(random)


def mutated_bytes(random: Random, data: bytes, most: int = 8) -> bytes:
    """Flips, overwrites, cuts out, repeats and cuts off; often only once."""
    out = bytearray(data)
    for _ in range(1 if random.random() < 0.5 else random.randint(1, most)):
        at = random.randrange(len(out) + 1)
        kind = random.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            size = random.choice((1, 2, 4, 8))
            value = random.choice(_INTEGERS) % (1 << 8 * size)
            out[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))
        elif kind == 2:
            del out[at : at + random.randint(1, 64)]
        elif kind == 3:
            out[at:at] = out[at : at + random.randint(1, 64)]
        elif kind == 4:
            out[at:at] = random.randbytes(random.randint(1, 16))
        elif kind == 5:
            out[at:at] = random.choice(_TEXTS).encode(errors="surrogatepass")
        elif random.random() < 0.3:
            del out[at:]
    return bytes(out)


def mutated_values(random: Random, values: Any) -> Any:
    """A copy of plain values in which something is replaced, left out, renamed or added."""
    if not isinstance(values, (dict, list)) or not values:
        return _near(random, values) if random.random() < 0.6 else _nasty(random)
    if random.random() < 0.08:
        return _nasty(random)
    if isinstance(values, list):
        out = list(values)
        at = random.randrange(len(out))
        kind = random.random()
        if kind < 0.15:
            del out[at]
        elif kind < 0.25:
            out.insert(at, out[at])
        else:
            out[at] = mutated_values(random, out[at])
        return out
    table = dict(values)
    key = random.choice(list(table))
    kind = random.random()
    if kind < 0.1:
        del table[key]
    elif kind < 0.15:
        table[key[:-1] or "x"] = table.pop(key)
    elif kind < 0.2:
        table[random.choice(_TEXTS)] = _nasty(random)
    else:
        table[key] = mutated_values(random, table[key])
    return table


def mutated_json(random: Random, values: Any) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        values = mutated_values(random, values)
    text = json.dumps(values, ensure_ascii=random.random() < 0.5)
    if random.random() < 0.02:
        text = text.replace(":", ":" + "[" * 100_000, 1)
    data = text.encode(errors="surrogatepass")
    return mutated_bytes(random, data, 3) if random.random() < 0.1 else data


_TOML_WORDS = (
    "1e999", "nan", "-inf", "9" * 5000, "0x" + "f" * 999, "[", "{a = 1}", "[]", "true", "''", '"\\u0000"', "1979-05-27",
    "[[1, 2]]", "-1", "1e308", '"²"', '"../x"', "a.b", "[" * 3000, "{a=" * 2000, "a." * 500 + "a", "0", "3", '"Reverb"',
)  # fmt: skip


def mutated_toml(random: Random, text: str) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = [match.span() for match in re.finditer(r'"[^"\n]*"|[\w.-]+', text)]
        numbers = [(start, end) for start, end in places if re.fullmatch(r"-?[\d.]+", text[start:end])]
        if random.random() < 0.7 and numbers:
            start, end = random.choice(numbers)
            word = f"{_near(random, float(text[start:end])):g}"
        else:
            start, end = random.choice(places)
            word = random.choice((*_TOML_WORDS, text[start:end][:-1]))
        text = text[:start] + word + text[end:]
    data = text.encode()
    return mutated_bytes(random, data, 3) if random.random() < 0.1 else data


def mutated_text(random: Random, text: str) -> bytes:
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(text) + 1)
        text = (
            text[:at] + random.choice((*_TEXTS, *"0123456789.:-,@!\t\n{}")) + text[at + random.randrange(3) :]
        )
    return text.encode(errors="surrogatepass")


# ---- doors ---------------------------------------------------------------------------------------------

_JOB = {
    "mixture": "a.wav",
    "prompts": ["dog", {"text": "cat", "name": "Tom", "spans": ["1-2", [3, 4.5]], "like": ["a.wav"]}],
    "out": "o", "filename": "{track}/{stem}.{ext}", "mode": "extract", "residual": "rest", "format": "wav",
    "depth": "int16", "clip_mode": "clamp", "overwrite": False, "start": 1, "duration": 2.5, "strength": 0.5,
    "judge": True, "candidates": 2,
    "track": "t", "region": "1,1,2,2@1", "preview": "p.png", "pan": "left", "boxes": ["1-2,200-4k"], "labels": "a.txt",
    "midi": "a.mid", "midi_track": 1, "but_not": ["x"], "lassos": ["1,2 3,4 5,6"],
}  # fmt: skip


def _feed_jobs(folder: Path, data: bytes) -> None:
    from sam_audio.errors import UserError
    from sam_audio.jobs import read_jobs
    from sam_audio.options import RenderOptions
    from sam_audio.plan import plan

    (folder / "jobs").write_bytes(data)
    (folder / "a.wav").write_bytes(_wav())
    (folder / "a.mid").write_bytes(_midi())
    (folder / "a.txt").write_text(_LABELS)
    with contextlib.chdir(folder):
        for job in read_jobs("jobs", RenderOptions()):
            if isinstance(job, UserError):
                raise job
            plan(job)


_RACK = """prompts = ["voice", "drums"]
strength = 1.5
description = "x"
[strips.voice]
gain_db = 3
pan = -0.5
solo = true
bus = "room"
chain = [{ effect = "Compressor", threshold_db = -22, ratio = 3 }, { effect = "Reverb", room_size = 0.4 }]
automation = [
  { target = "gain_db", points = [[0, -60], [2, 3]], shape = "hold" }, { target = "1.room_size", points = [[0, 0.1]] },
]
[strips.residual]
mute = true
chain = [{ effect = "Convolution", impulse_response_filename = "a.wav", mix = 0.5 }, { effect = "Delay" }]
[buses.room]
gain_db = -3
[master]
chain = [{ effect = "Limiter" }]
"""
_PLUGIN = """prompts = ["voice"]
[strips.voice]
chain = [{ plugin = "a.vst3", name = "x", preset = "y", parameters = { cutoff_hz = 200 } }]
"""


class _Words:
    """A model that only reads; racks ask it for conditions."""

    name, sample_rate = "words", 48_000

    def encode(self, prompts: list[str]) -> list[Any]:
        from sam_audio.types import Condition

        return [Condition(text, None) for text in prompts]


def _feed_rack(folder: Path, data: bytes) -> None:
    from sam_audio.host.chains import ChainRunner
    from sam_audio.host.files import load_rack

    (folder / "a.wav").write_bytes(_wav())
    (folder / "x.rack.toml").write_bytes(data)
    rack = load_rack(folder / "x.rack.toml", model=_Words())
    for name, strip in [*rack.strips.items(), *rack.buses.items(), ("master", rack.master)]:
        strip.check(name)
        ChainRunner(strip.chain, [curve for curve in strip.automation if curve.effect is not None], 8000, 2)


_SESSION = {
    "format": "sam-audio session", "version": 1, "name": "a", "mixture": "mixture.wav", "title": "t.wav",
    "model": "nano", "strength": 1.5,
    "prompts": ["dog", {"text": "cat", "like": "mixture.wav", "spans": ["0-0.1"]}, {"region": "1,1,2,2@0"}],
    "mixer": {"dog": {"gain_db": -3, "pan": 0.5, "mute": False, "solo": True}}, "stems": {"dog": "mixture.wav"},
    "report": {"level_db": {"dog": -3.5}, "in_mixture": {"dog": None},
               "scores": {"dog": {"overall": 1, "recall": 2, "precision": 3, "faithfulness": 4}}},
}  # fmt: skip


def _feed_session(folder: Path, data: bytes) -> None:
    from sam_audio.prompts import resolve
    from sam_audio.session import read_session

    (folder / "mixture.wav").write_bytes(_wav())
    (folder / "session.json").write_bytes(data)
    saved = read_session(folder)
    named = [saved.mixture, *saved.stems.values()]
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in named)
    resolve(saved.asked())


def _make_session(random: Random) -> bytes:
    """Often only the parts that need not agree with others."""
    if random.random() < 0.5:
        return mutated_json(random, _SESSION)
    part = random.choice(("prompts", "mixer", "report", "strength"))
    session = {**_SESSION, part: mutated_values(random, _SESSION[part])}
    return json.dumps(session, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")


def _make_zip(random: Random) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as packed:
        warnings.simplefilter("ignore")
        odd = random.random() < 0.3
        session = json.dumps(_SESSION).encode() if odd else _make_session(random)
        members = [("session.json", session), ("mixture.wav", _wav())]
        if odd:
            members.append((random.choice(_TEXTS).encode(errors="replace").decode() or "x", b"x" * 99))
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (random.choice((0o100644, 0o120777, 0o020777)) if odd else 0) << 16
            packed.writestr(entry, content, random.choice((0, 8, 12, 14)) if odd else 8)
    return mutated_bytes(random, out.getvalue(), 3) if random.random() < 0.2 else out.getvalue()


def _feed_zip(folder: Path, data: bytes) -> None:
    from sam_audio.session import read_session, unpack_session

    (folder / "a.zip").write_bytes(data)
    read_session(unpack_session(folder / "a.zip", folder / "a", 10**8))


def _feed_labels(folder: Path, data: bytes) -> None:
    from sam_audio.prompts.times import read_labels

    (folder / "a.txt").write_bytes(data)
    read_labels(folder / "a.txt")


def _feed_time(folder: Path, data: bytes) -> None:
    from sam_audio.prompts.times import parse_time

    parse_time(_text(data))


def _feed_span(folder: Path, data: bytes) -> None:
    from sam_audio.prompts.times import parse_span

    parse_span(_text(data))


def _feed_template(folder: Path, data: bytes) -> None:
    from sam_audio.naming import check_template, fill_template

    made = fill_template(check_template(_text(data)), folder, "track", "stem", "wav")
    assert len(str(made)) < 100_000


def _feed_prompt(folder: Path, data: bytes) -> None:
    from sam_audio.prompts import Prompt, resolve

    resolve([Prompt.of(_text(data))])


def _text(data: bytes) -> str:
    """As the command line gives it."""
    return data.decode(errors="surrogateescape")


def _feed_events(folder: Path, data: bytes) -> None:
    from sam_audio.export.timeline import spans_of_events

    (folder / "a.json").write_bytes(data)
    spans_of_events(folder / "a.json")


def _feed_report(folder: Path, data: bytes) -> None:
    from sam_audio.export.timeline import prompts_of_report

    (folder / "a.json").write_bytes(data)
    prompts_of_report(folder / "a.json")


@cache
def _wav() -> bytes:
    return _sound("WAV", "PCM_16")


@cache
def _sound(format: str, subtype: str | None = None) -> bytes:
    import numpy as np
    import soundfile

    out = io.BytesIO()
    samples = np.sin(np.arange(4000) / 5)[:, None] * [0.5, 0.1]
    soundfile.write(out, samples, 8000, format=format, subtype=subtype)
    return out.getvalue()


def _make_audio(random: Random) -> bytes:
    return mutated_bytes(random, _sound(random.choice(("WAV", "WAVEX", "AIFF", "FLAC", "OGG", "RF64"))))


def _feed_audio(folder: Path, data: bytes) -> None:
    from sam_audio.io import open_audio

    (folder / "a.wav").write_bytes(data)
    with open_audio(folder / "a.wav") as reader:
        for taken, _ in enumerate(reader.blocks(4096)):
            if taken == 100:
                break


@cache
def _tensors() -> dict[str, Any]:
    import torch

    return {"a": torch.ones(2, 3), "b": torch.arange(4, dtype=torch.int8), "b.scale": torch.ones(4).half()}


def _make_safetensors(random: Random) -> bytes:
    from safetensors.torch import save

    data = save(_tensors())
    kind = random.random()
    if kind < 0.2:
        return mutated_bytes(random, data)
    (length,) = struct.unpack("<Q", data[:8])
    if kind < 0.6:  # other numbers in the place of these, NaN and infinity among them
        return data[: 8 + length] + random.randbytes(len(data) - 8 - length)
    header = mutated_json(random, json.loads(data[8 : 8 + length]))
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _feed_safetensors(folder: Path, data: bytes) -> None:
    from peav.checkpoints import load

    (folder / "a.safetensors").write_bytes(data)
    (folder / "a.json").write_text('{"format": 1, "tower": "audio"}')
    _open_tensors(folder / "a.safetensors")
    load(folder / "a.safetensors", "audio")


def _open_tensors(path: Path) -> None:
    from peav.hub import TensorFile

    file = TensorFile.open(path)
    file.read(file.shapes)


def _make_pt(random: Random) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(_tensors(), out)
    if random.random() < 0.4:
        return mutated_bytes(random, out.getvalue(), 4)
    again = io.BytesIO()  # the pickle alone, in a zip that is whole
    with zipfile.ZipFile(out) as source, zipfile.ZipFile(again, "w") as packed:
        for name in source.namelist():
            data = source.read(name)
            packed.writestr(name, mutated_bytes(random, data, 3) if name.endswith(".pkl") else data)
    return again.getvalue()


def _feed_pt(folder: Path, data: bytes) -> None:
    (folder / "a.pt").write_bytes(data)
    _open_tensors(folder / "a.pt")


def _feed_tensor_index(folder: Path, data: bytes) -> None:
    from safetensors.torch import save_file

    for name in ("a", "b"):
        save_file(_tensors(), folder / f"{name}.safetensors")
    (folder / "a.safetensors.index.json").write_bytes(data)
    _open_tensors(folder / "a.safetensors.index.json")


def _feed_config(folder: Path, data: bytes) -> None:
    from sam_audio.separator.official.config import read_config

    (folder / "config.json").write_bytes(data)
    read_config(folder / "config.json")


_CONFIG = {
    "in_channels": 768, "audio_codec": {"encoder_dim": 64, "sample_rate": 48000, "decoder_rates": [2, 3]},
    "text_encoder": {"name": "t5-base", "max_length": 77, "dim": 768},
    "transformer": {"dim": 2048, "n_heads": 16, "n_layers": 16, "context_dim": 2048, "out_channels": 256},
}  # fmt: skip


_NETWORKS = {
    "audio": ("peav", "nano-audio"), "video": ("peav", "nano-video"), "text": ("peav", "nano-text"),
    "judge": ("judge", "nano-judge"), "separator": ("sam_audio.separator", "nano-separator"),
}  # fmt: skip


def _make_network(random: Random) -> bytes:
    """The settings beside weights that are as they should be; the tower's name leads."""
    tower, (package, name) = random.choice(list(_NETWORKS.items()))
    settings = json.loads((files(package) / "weights" / f"{name}.json").read_text())
    if tower == "judge":
        settings["model"] = {"widths": [32, 64, 96], "hidden": 128}
    kind = random.random()
    if kind < 0.1:
        settings["trained"] = _nasty(random)  # about which nobody asks
        return tower.encode() + b" " + json.dumps(settings).encode()
    if kind > 0.8:
        return tower.encode() + b" " + mutated_json(random, settings)
    model = dict(settings["model"])
    for name in random.sample(list(model), 1 if kind < 0.6 else 2):
        value = (
            _nasty(random)
            if random.random() < 0.3
            else random.choice((*_INTEGERS, 10**30, True, 1e9, model[name]))
        )
        if isinstance(model[name], list) and random.random() < 0.8:
            model[name] = list(model[name])
            model[name][random.randrange(len(model[name]))] = value
        else:
            model[name] = value
    return tower.encode() + b" " + json.dumps({**settings, "model": model}).encode()


def _feed_network(folder: Path, data: bytes) -> None:
    from judge.network import load_judge
    from peav.nano.audio import AudioTower
    from peav.nano.text import TextTower
    from peav.nano.video import VideoTower
    from sam_audio.separator.nano.torch_engine import load_network

    tower, _, settings = data.partition(b" ")
    package, name = _NETWORKS[tower.decode()]
    weights = Path(str(files(package))) / "weights"
    path = folder / f"{name}.safetensors"
    path.symlink_to(weights / path.name)
    path.with_suffix(".json").write_bytes(settings)
    if tower == b"text":
        (folder / f"{name}-tokenizer.json").symlink_to(weights / f"{name}-tokenizer.json")
    load: dict[str, Callable[[Path], Any]] = {
        "audio": AudioTower.from_pretrained,
        "text": TextTower.from_pretrained,
        "video": VideoTower.from_pretrained,
        "judge": load_judge,
        "separator": load_network,
    }
    load[tower.decode()](path)


@cache
def _picture(format: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(out, format)
    return out.getvalue()


def _make_picture(random: Random) -> bytes:
    return mutated_bytes(random, _picture(random.choice(("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"))), 4)


def _feed_picture(folder: Path, data: bytes) -> None:
    from sam_audio.io.pictures import read_picture

    (folder / "a.png").write_bytes(data)
    read_picture(folder / "a.png")


@cache
def _video(suffix: str) -> bytes:
    from sam_audio.io.ffmpeg import find_ffmpegs

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"a.{suffix}"
        sources = ["-f", "lavfi", "-i", "testsrc=s=32x32:d=0.4:r=10", "-f", "lavfi", "-i", "sine=d=0.4"]
        command = [
            find_ffmpegs()[-1],
            "-v",
            "error",
            *sources,
            "-c:v",
            "mpeg4" if suffix != "webm" else "vp8",
        ]
        subprocess.run([*command, path], check=True, stdin=subprocess.DEVNULL)
        return path.read_bytes()


def _make_video(random: Random) -> bytes:
    return mutated_bytes(random, _video(random.choice(("mp4", "mkv", "avi", "ts"))), 4)


def _feed_video(folder: Path, data: bytes) -> None:
    """Through ffmpeg for its sound, and through libav for its pictures; each reads what it can."""
    from sam_audio.io import open_audio
    from sam_audio.io.pictures import read_frames

    path = folder / "a.mp4"
    path.write_bytes(data)
    with open_audio(path) as reader:
        for taken, _ in enumerate(reader.blocks(4096)):
            if taken == 100:
                break
    for taken, _ in enumerate(read_frames(path)):
        if taken == 20:
            break


@cache
def _midi() -> bytes:
    import mido

    track = mido.MidiTrack(
        [mido.MetaMessage("set_tempo", tempo=400_000), mido.MetaMessage("key_signature", key="C")]
    )
    for note in range(60, 70):
        track += [mido.Message("note_on", note=note, time=9), mido.Message("note_off", note=note, time=480)]
    out = io.BytesIO()
    mido.MidiFile(ticks_per_beat=480, tracks=[track, track]).save(file=out)
    return out.getvalue()


def _make_midi(random: Random) -> bytes:
    """Half of them only with other notes, times and events, of which each is a byte or two in a whole file."""
    data = bytearray(_midi())
    if random.random() > 0.5:
        return mutated_bytes(random, bytes(data))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(22, len(data))
        if data[at] < 0x80:  # a value, not what kind of event it is
            data[at] = random.randrange(0x80)
    return bytes(data)


def _feed_midi(folder: Path, data: bytes) -> None:
    import numpy as np
    from sam_audio_midi import read_score

    (folder / "a.mid").write_bytes(data)
    read_score(folder / "a.mid")(np.arange(10) / 10)


@cache
def _index() -> dict[str, bytes]:
    """The files of a search index of one sound."""
    import numpy as np

    from sam_audio.finding.index import SearchIndex
    from sam_audio.finding.media import Segment

    with tempfile.TemporaryDirectory() as name:
        index = SearchIndex(Path(name) / "index", name, "nano", "1")
        index.path.mkdir()
        for number in range(5):
            index._add(
                f"{number}.wav", (1, 2), [Segment("audio", 0.0, 1.0, np.eye(8, dtype=np.float32)[number])]
            )
        index._commit()
        return {path.name: path.read_bytes() for path in index.path.iterdir()}


def _make_tables(random: Random) -> bytes:
    data = _index()["index.sqlite"]
    if random.random() < 0.5:
        return mutated_bytes(random, data)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a"
        path.write_bytes(data)
        database = sqlite3.connect(path, isolation_level=None)
        table, column = random.choice(
            [("meta", "value"), ("meta", "key"), *(("files", c) for c in ("id", "path", "mtime_ns", "size"))]
            + [("segments", c) for c in ("file", "kind", "start_s", "end_s")]
        )
        value = random.choice((None, -1, 2**62, 1e308, "x", "../x", b"\xff", "vectors-00000000.faiss"))
        with contextlib.suppress(sqlite3.Error):  # a key that is there already
            database.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, random.randint(1, 5))
            )
        database.close()
        return path.read_bytes()


def _feed_index(folder: Path, data: bytes, file: str) -> None:
    import numpy as np

    from sam_audio.finding.index import SearchIndex

    for name, content in _index().items():
        (folder / name).write_bytes(data if name.endswith(file) else content)
    SearchIndex(folder, None, "nano", "1").search({"audio": np.eye(8, dtype=np.float32)[0]})


def _make_vectors(random: Random) -> bytes:
    (data,) = (content for name, content in _index().items() if name.endswith(".faiss"))
    return mutated_bytes(random, data)


_LABELS = "0.5\t1.5\tdog\n1,5\t2\t-cat\n\\\t100\t200\n3\t4\tnot bird\n"
_EVENTS = {"events": [{"prompt": "dog", "start_s": 1, "end_s": 2.5, "score": 0.5}] * 2}
_REPORT = {
    "files": [{"mixture": "a", "stems": [{"path": "a/b.wav", "prompt": "dog", "level_db": -3}]}],
    "errors": [],
}
_WEIGHTS = {"metadata": {"total_size": 9}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}


def _json_door(values: Any, feed: Callable[[Path, bytes], None]) -> Door:
    return Door(lambda random: mutated_json(random, values), feed)


def _text_door(text: str, feed: Callable[[Path, bytes], None]) -> Door:
    return Door(lambda random: mutated_text(random, text), feed)


DOORS = {
    "jobs": _json_door(_JOB, _feed_jobs),
    "rack": Door(lambda random: mutated_toml(random, random.choice((_RACK, _RACK, _PLUGIN))), _feed_rack),
    "session": Door(_make_session, _feed_session),
    "session-zip": Door(_make_zip, _feed_zip),
    "events": _json_door(_EVENTS, _feed_events),
    "report": _json_door(_REPORT, _feed_report),
    "labels": _text_door(_LABELS, _feed_labels),
    "time": _text_door("1:02.5", _feed_time),
    "span": _text_door("3.2-1:05.0", _feed_span),
    "template": _text_door("{track}/{stem}.{ext}", _feed_template),
    "prompt": _text_door("dog barking@3.2-5,!7-9", _feed_prompt),
    "audio": Door(_make_audio, _feed_audio),
    "safetensors": Door(_make_safetensors, _feed_safetensors),
    "tensor-index": _json_door(_WEIGHTS, _feed_tensor_index),
    "pt": Door(_make_pt, _feed_pt),
    "config": _json_door(_CONFIG, _feed_config),
    "network": Door(_make_network, _feed_network, share=0.3),
    "picture": Door(_make_picture, _feed_picture),
    "video": Door(_make_video, _feed_video, share=0.05),
    "midi": Door(_make_midi, _feed_midi),
    "index-tables": Door(_make_tables, lambda folder, data: _feed_index(folder, data, ".sqlite")),
    "index-vectors": Door(_make_vectors, lambda folder, data: _feed_index(folder, data, ".faiss")),
}


def attempt(door: str, random: Random, folder: Path) -> str:
    """One case: "read" or "refused".

    Raises:
        Exception: whatever is a finding; also AssertionError for a message that is not one line.
    """
    from peav.checkpoints import CheckpointError
    from sam_audio.errors import SamAudioError

    data = DOORS[door].make(random)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            DOORS[door].feed(folder, data)
        except (SamAudioError, CheckpointError) as error:
            assert str(error).strip() and "\n" not in str(error), f"not one sentence: {error}"
            assert not _lacked_memory(error), f"took too much memory, and said: {error}"
            return "refused"
    return "read"


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether what was said to be a bad file had only asked for more than there was."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or re.search("bad_alloc|alloc\\w* memory", str(error)):
        return True
    return _lacked_memory(error.__cause__) or _lacked_memory(error.__context__)


# ---- workers -------------------------------------------------------------------------------------------


def _work(door: str, seed: int, first: int, last: int, tell: Any) -> None:
    """Cases ``first`` to ``last``; says what became of each, after saying which it begins."""
    import resource

    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch) / "0"

        def limit(most_bytes: int) -> None:
            addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (addresses + most_bytes, resource.RLIM_INFINITY))

        limit(LOADING_BYTES)
        signal.setitimer(signal.ITIMER_REAL, LOADING_S)
        _case(door, seed, first, folder)
        limit(LIMIT_BYTES)
        for number in range(first, last):
            tell.send((number, None))
            signal.setitimer(signal.ITIMER_REAL, LIMIT_S)  # ends the process, whatever it is doing
            found = _case(door, seed, number, folder)
            signal.setitimer(signal.ITIMER_REAL, 0)
            tell.send((number, found))
    os._exit(0)  # at a usual end this copy of the parent would wait for the threads that only that one has


def _case(door: str, seed: int, number: int, folder: Path) -> str:
    folder.mkdir()
    try:
        return attempt(door, Random(f"{seed} {door} {number}"), folder)
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _batch(task: tuple[str, int, int, int]) -> tuple[str, Counter[str], list[tuple[int, str]]]:
    """Has a batch of cases run, again from the next case where a process dies."""
    door, seed, first, last = task
    counts: Counter[str] = Counter()
    findings = []
    while first < last:
        hear, tell = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(
            target=_work, args=(door, seed, first, last, tell)
        )
        process.start()
        tell.close()
        begun = first
        try:
            while True:
                number, found = hear.recv()
                begun = number
                if found is not None:
                    first = number + 1
                    counts[found if found in ("read", "refused") else "finding"] += 1
                    if found not in ("read", "refused"):
                        findings.append((number, found))
        except EOFError:
            process.join()
        if process.exitcode:
            code = process.exitcode
            why = f"over {LIMIT_S} s" if code == -signal.SIGALRM else f"ended with {code}"
            counts["finding"] += 1
            findings.append((begun, why))
            first = begun + 1
    return door, counts, findings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="cases in all, shared among the doors")
    parser.add_argument("--only", choices=DOORS, help="one door")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    doors = [chosen.only] if chosen.only else list(DOORS)
    shares = sum(DOORS[door].share for door in doors)
    counts_of = {door: math.ceil(chosen.count * DOORS[door].share / shares) for door in doors}
    tasks = [
        (door, chosen.seed, n, min(n + BATCH, counts_of[door]))
        for n in range(0, max(counts_of.values()), BATCH)
        for door in doors
        if n < counts_of[door]
    ]
    begun_s = time.monotonic()
    totals: dict[str, Counter[str]] = {door: Counter() for door in doors}
    kinds: Counter[str] = Counter()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(chosen.workers) as pool:
        for door, counts, findings in pool.map(_batch, tasks):
            totals[door] += counts
            for number, what in findings:
                kind = f"{door}: {re.sub(r'[0-9]+', 'N', what)}"
                kinds[kind] += 1
                if kinds[kind] == 1:
                    print(f"{door} case {number}: {what}", flush=True)
    print(f"{'door':14} {'cases':>7} {'read':>7} {'refused':>8} {'findings':>9}")
    for door, counts in totals.items():
        print(f"{door:14} {counts.total():7} {counts['read']:7} {counts['refused']:8} {counts['finding']:9}")
    took_s = time.monotonic() - begun_s
    print(f"{sum(counts_of.values()) / took_s:.0f} cases a second with {chosen.workers} workers")
    sys.exit(any(counts["finding"] for counts in totals.values()))


if __name__ == "__main__":
    main()
