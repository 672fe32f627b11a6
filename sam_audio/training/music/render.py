"""Multi-stem music without limit: composed by seed, played by `fluidsynth` from soundfonts, mixed here.

    fonts = fetch_soundfonts(FIRST)
    for seed, stems in render_many(range(1000), fonts):
        mixture = sum(samples for _, samples in stems)

Levels: every part is brought to REFERENCE_DB (the mean power of the louder half of its 0.4 s windows) plus
its `level_db`: drums and soloists 0, bass and rhythm guitars -1 to -4, chords -3 to -6, pads and ornaments
-5 to -9, hand percussion about -9, each with a random 2 dB. Then all stems of a song share one gain, so that
the peak of their sum is PEAK_DB. Stems with the same label (two guitars) are one stem: words cannot tell them
apart.
"""

from __future__ import annotations

import logging
import shutil
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from sam_audio.training.music.amps import through
from sam_audio.training.music.compose import Effect, Note, Part, Song, compose, compose_solo
from sam_audio.training.music.sampler import Sampler
from sam_audio.training.music.soundfonts import DRUM_BANK, has_preset
from sam_audio.training.music.synths import FAMILIES, PUMPED_SHARE, pumped
from sam_audio.training.music.tables import (
    BAND_GENRES,
    DRUM_SOUNDS,
    INSTRUMENTS,
    LABELS,
    SONG_GROUPS,
    SYNTH_GENRES,
)

__all__ = [
    "LABELS",
    "Effect",
    "Note",
    "Part",
    "Song",
    "compose",
    "compose_solo",
    "midi_bytes",
    "render",
    "render_batch",
    "render_many",
    "render_solo",
]

log = logging.getLogger(__name__)

REFERENCE_DB = -23.0
PEAK_DB = -3.0
TICKS_PER_SECOND = 1000
GAP_S = 0.1  # between two parts on fluidsynth's timeline
DRY_PEAK = 0.5  # what amplifiers and compressors get: their thresholds are absolute
FADE_S = 0.05
DRUM_CHANNEL = 9
BEND_RANGE = 2  # semitones, General MIDI's own
SAMPLED_SHARE = 0.85  # of the parts that a sampler can play; soundfonts play the others
APART_SHARE = 0.3  # of sampled kits: a stem for each drum
APART_DB = {"kick drum": 0.0, "snare drum": 0.0, "hi-hat": -9.0, "cymbal": -5.0, "tom drum": -4.0}

Stems = list[tuple[str, np.ndarray]]


def render(song: Song, soundfonts: Sequence[Path], sample_rate: int = 48_000) -> Stems:
    """Plays a song.

    Returns:
        (label, mono float32 samples) for each label; all `song.seconds` long; their sum peaks at PEAK_DB.
    """
    return render_batch([song], soundfonts, sample_rate)[0]


def render_solo(seed: int, soundfonts: Sequence[Path], sample_rate: int = 48_000) -> tuple[str, np.ndarray]:
    """One instrument alone: (label, mono float32 samples, 6-12 s)."""
    return render(compose_solo(seed), soundfonts, sample_rate)[0]


def render_sampled(song: Song, sampler: Sampler, soundfonts: Sequence[Path]) -> Stems:
    """Plays a song with recorded instruments, at 48 kHz; soundfonts play what the sampler lacks, and the sampler's
    singers sing to it. With synthesizers it is produced as songs of today are, and its stems are groups of a song.

    Without soundfonts, parts that the sampler lacks are left out.

    Raises:
        RuntimeError: nothing is left to play, or fewer than two stems of a song that had two.
    """
    rng = np.random.default_rng(song.seed)
    parts: list[Part] = []
    dry: list[np.ndarray] = []
    for part in song.parts:
        if sampler.singers is not None and part.label == "choir singing":
            continue  # they sing themselves
        if sampler.can_play(part) and (not soundfonts or rng.random() < SAMPLED_SHARE):
            family = "drums" if part.is_drum else INSTRUMENTS[part.instrument].family
            for piece in _pieces(part, rng):
                samples = through(family, sampler.play(piece, song.seconds, rng), sampler.sample_rate, rng)
                if sampler.synths and piece.instrument in FAMILIES and rng.random() < PUMPED_SHARE:
                    samples = pumped(samples, song, rng)
                parts.append(replace(piece, effects=()))
                dry.append(samples)
        elif soundfonts:
            font = _font_for(part, soundfonts, Random(f"fonts {song.seed}"))
            parts.append(part)
            dry += _play([(part, song.seconds)], font, sampler.sample_rate)
    if sampler.singers is not None:
        for part, sung in sampler.singers.perform(song, rng, backed=sampler.synths):
            parts.append(part)
            dry.append(through("voice", sung, sampler.sample_rate, rng))
    if sampler.synths:
        parts = [replace(part, label=group_name(part)) for part in parts]
    song = replace(song, parts=tuple(parts))
    if len({part.label for part in parts}) < min(len({part.label for part in song.parts}), 2) or not parts:
        raise RuntimeError("too few of its instruments are there")
    return _mix(song, dry, sampler.sample_rate)


def group_name(part: Part) -> str:
    """How `songs.GROUPS` calls what such a part is of a recorded song; the label of what they lack."""
    if part.instrument == "synth pluck" and part.role == "arp":
        return "arpeggiated synth"
    by_label = SONG_GROUPS.get(part.label, part.label)
    return SONG_GROUPS.get(part.instrument, by_label)


def _pieces(part: Part, rng: np.random.Generator) -> list[Part]:
    """The part, or now and then each drum of a kit by itself."""
    if part.label != "drum kit" or rng.random() > APART_SHARE:
        return [part]
    pieces = []
    for label, offset_db in APART_DB.items():
        notes = tuple(note for note in part.notes if note.pitch in DRUM_SOUNDS[label])
        if notes:
            pieces.append(replace(part, label=label, notes=notes, level_db=part.level_db + offset_db))
    return pieces


def render_batch(songs: Sequence[Song], soundfonts: Sequence[Path], sample_rate: int = 48_000) -> list[Stems]:
    """Several songs in one call of fluidsynth per soundfont: loading one costs more than playing."""
    if not soundfonts:
        raise ValueError("no soundfonts given: pass the .sf2 files of fluid-soundfont-gm or another GM bank")
    if shutil.which("fluidsynth") is None:
        raise FileNotFoundError(
            "the program 'fluidsynth' is not on the PATH (Debian: apt-get install fluidsynth)"
        )
    by_font: dict[Path, list[tuple[int, int]]] = {}
    for i, song in enumerate(songs):
        rng = Random(f"fonts {song.seed}")
        for j in range(len(song.parts)):
            by_font.setdefault(_font_for(song.parts[j], soundfonts, rng), []).append((i, j))
    dry: dict[tuple[int, int], np.ndarray] = {}
    for font, places in by_font.items():
        timeline = [(songs[i].parts[j], songs[i].seconds) for i, j in places]
        dry.update(zip(places, _play(timeline, font, sample_rate), strict=True))
    return [
        _mix(song, [dry[i, j] for j in range(len(song.parts))], sample_rate) for i, song in enumerate(songs)
    ]


def _font_for(part: Part, soundfonts: Sequence[Path], rng: Random) -> Path:
    bank = DRUM_BANK if part.is_drum else part.bank
    able = [font for font in soundfonts if has_preset(font, bank, part.program)]
    if not able:
        raise ValueError(f"none of the soundfonts has the preset {bank}:{part.program} of {part.label}")
    return rng.choice(able)


def render_many(
    seeds: Iterable[int],
    soundfonts: Sequence[Path],
    workers: int = 2,
    *,
    solo: bool = False,
    sample_rate: int = 48_000,
    batch: int | None = None,
    sampler: Sampler | None = None,
) -> Iterator[tuple[int, Stems]]:
    """Renders songs (or solos) in a process pool and yields (seed, stems) in the order of the seeds.

    With a sampler, bands and solos of what recorded instruments play.

    A seed that cannot be rendered is reported in the log and left out. At most a few batches are in flight,
    so `seeds` may be endless.
    """
    batch = batch or (24 if solo else 4)
    remaining = iter(seeds)
    pending: deque[Future[list[tuple[int, Stems | str]]]] = deque()
    with ProcessPoolExecutor(workers) as pool:
        try:
            while True:
                while len(pending) < workers + 1 and (group := list(islice(remaining, batch))):
                    pending.append(
                        pool.submit(_render_group, group, tuple(soundfonts), solo, sample_rate, sampler)
                    )
                if not pending:
                    return
                for seed, stems in pending.popleft().result():
                    if isinstance(stems, str):
                        log.warning("music of seed %d left out: %s", seed, stems)
                    else:
                        yield seed, stems
        finally:  # a caller that stops early must not wait for what it will not take
            for future in pending:
                future.cancel()


def _render_group(
    seeds: list[int],
    soundfonts: tuple[Path, ...],
    solo: bool,
    sample_rate: int,
    sampler: Sampler | None,
) -> list[tuple[int, Stems | str]]:
    try:
        if sampler is not None:
            stems = [_render_sampled_seed(seed, sampler, soundfonts, solo) for seed in seeds]
        else:
            make = compose_solo if solo else compose
            stems = render_batch([make(seed) for seed in seeds], soundfonts, sample_rate)
        return list(zip(seeds, stems, strict=True))
    except Exception as error:  # noqa: BLE001 - find the one that fails, keep the others
        if len(seeds) == 1:
            return [(seeds[0], f"{type(error).__name__}: {error}")]
        groups = ([seed] for seed in seeds)
        return [
            result
            for group in groups
            for result in _render_group(group, soundfonts, solo, sample_rate, sampler)
        ]


def _render_sampled_seed(seed: int, sampler: Sampler, soundfonts: Sequence[Path], solo: bool) -> Stems:
    genres = SYNTH_GENRES if sampler.synths else BAND_GENRES
    song = compose_solo(seed, sampler.solo_instruments()) if solo else compose(seed, genres)
    if solo and sampler.singers is not None:
        song = replace(song, parts=())  # sung alone
    return render_sampled(song, sampler, () if solo else soundfonts)


# --- playing --------------------------------------------------------------------------------


def midi_bytes(timeline: Sequence[tuple[Part, float]]) -> bytes:
    """A MIDI file with the parts one after the other, each in its own `seconds` + GAP_S; one tick is 1 ms."""
    events: list[tuple[int, int, bytes]] = []  # (tick, order within the tick, message)
    start_s = 0.0
    for part, seconds in timeline:
        events += _part_events(part, start_s, seconds)
        start_s += seconds + GAP_S
    end = _ticks(start_s)
    events.append((end, 9, b"\xff\x2f\x00"))
    track = bytearray(b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big"))  # a quarter note is one second
    now = 0
    for tick, _, message in sorted(events):
        track += _variable_length(tick - now) + message
        now = tick
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_SECOND)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _part_events(part: Part, start_s: float, seconds: float) -> list[tuple[int, int, bytes]]:
    presets = {DRUM_CHANNEL: (0, part.program)} if part.is_drum else {0: (part.bank, part.program)}
    if part.alt_preset is not None:
        presets[1] = part.alt_preset
    main = DRUM_CHANNEL if part.is_drum else 0
    first, last = _ticks(start_s), _ticks(start_s + seconds)
    events = []
    for channel, (bank, program) in presets.items():
        setup = (
            bytes((0xB0 | channel, 121, 0)),  # all controllers as new
            bytes((0xB0 | channel, 101, 0)) + bytes((0, 0xB0 | channel, 100, 0)),
            bytes((0xB0 | channel, 6, BEND_RANGE)),
            bytes((0xB0 | channel, 0, bank)),
            bytes((0xC0 | channel, program)),
        )
        joined = setup[0] + b"".join(b"\x00" + message for message in setup[1:])
        events.append((first, 0, joined))
        events.append((last, 8, bytes((0xB0 | channel, 120, 0))))  # silence before the next part
    bent = any(note.bends for note in part.notes)
    struck_again: dict[tuple[int, int], int] = {}  # a key still held when it is struck anew is let go before
    for note in sorted(part.notes, key=lambda note: -note.start_s):
        channel = 1 if note.alt and part.alt_preset is not None else main
        on = first + _ticks(note.start_s)
        if on >= struck_again.get((channel, note.pitch), last):
            continue
        off = max(min(on + _ticks(note.duration_s), struck_again.get((channel, note.pitch), last)), on + 1)
        struck_again[channel, note.pitch] = on
        events.append((on, 5, bytes((0x90 | channel, note.pitch, note.velocity))))
        events.append((off, 4, bytes((0x80 | channel, note.pitch, 0))))
        if bent:
            events.append((on, 2, _bend(channel, 0.0)))
        for offset_s, semitones in note.bends:
            if offset_s < note.duration_s:
                events.append((on + _ticks(offset_s), 3, _bend(channel, semitones)))
    for time_s, controller, value in part.controls:
        events.append((min(first + _ticks(time_s), last), 2, bytes((0xB0 | main, controller, value))))
    return events


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)


def _bend(channel: int, semitones: float) -> bytes:
    value = min(max(round(8192 + semitones / BEND_RANGE * 8192), 0), 16383)
    return bytes((0xE0 | channel, value & 127, value >> 7))


def _variable_length(number: int) -> bytes:
    parts = [number & 127]
    while number := number >> 7:
        parts.append(128 | number & 127)
    return bytes(reversed(parts))


def _play(timeline: Sequence[tuple[Part, float]], font: Path, sample_rate: int) -> list[np.ndarray]:
    """Renders the parts without fluidsynth's reverb and chorus; a mono slice for each."""
    with tempfile.TemporaryDirectory(prefix="sam-audio-music-") as folder:
        midi, raw = Path(folder) / "parts.mid", Path(folder) / "parts.f32"
        midi.write_bytes(midi_bytes(timeline))
        command = [
            "fluidsynth",
            "-q",
            "-n",
            "-i",
            "-r",
            str(sample_rate),
            "-R",
            "0",
            "-C",
            "0",
            "-g",
            "0.4",
            "-z",
            "1024",
            # only the samples of the presets used are read: half the time of loading a large soundfont
            "-o",
            "synth.dynamic-sample-loading=1",
            "-O",
            "float",
            "-T",
            "raw",
            "-F",
            str(raw),
            str(font),
            str(midi),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0 or not raw.exists():
            raise RuntimeError(f"fluidsynth failed on {font.name}: {done.stderr.strip()[-300:]}")
        stereo = np.fromfile(raw, np.float32).reshape(-1, 2)
    slices, start_s = [], 0.0
    for _, seconds in timeline:
        first, length = round(start_s * sample_rate), round(seconds * sample_rate)
        piece = stereo[first : first + length].mean(axis=1)
        slices.append(np.pad(piece, (0, length - len(piece))))
        start_s += seconds + GAP_S
    return slices


# --- mixing ---------------------------------------------------------------------------------


def _mix(song: Song, dry: list[np.ndarray], sample_rate: int) -> Stems:
    stems: dict[str, np.ndarray] = {}
    for part, samples in zip(song.parts, dry, strict=True):
        peak = float(np.abs(samples).max(initial=0.0))
        if peak < 1e-5:
            raise RuntimeError(f"{part.label} ({part.bank}:{part.program}) came out silent")
        wet = _apply(part.effects, samples * (DRY_PEAK / peak), sample_rate)
        wet = wet * 10 ** ((REFERENCE_DB + part.level_db - loudness_db(wet, sample_rate)) / 20)
        stems[part.label] = stems[part.label] + wet if part.label in stems else wet
    if song.room is not None:  # a linear effect: the stems' rooms add up to the room of the sum
        stems = {label: _apply((song.room,), samples, sample_rate) for label, samples in stems.items()}
    gain = _glue(sum(stems.values(), np.zeros_like(dry[0])), song.glue_db, sample_rate)
    fade = round(FADE_S * sample_rate)
    gain[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    stems = {label: samples * gain for label, samples in stems.items()}
    peak = max(float(np.abs(sum(stems.values())).max()), 1e-6)
    scale = np.float32(10 ** (PEAK_DB / 20) / peak)
    mixed = [(label, (samples * scale).astype(np.float32)) for label, samples in stems.items()]
    if not all(np.isfinite(samples).all() for _, samples in mixed):
        raise RuntimeError("an effect produced samples that are not numbers")
    return mixed


def _apply(effects: Iterable[Effect], samples: np.ndarray, sample_rate: int) -> np.ndarray:
    import pedalboard

    plugins: list[Any] = [getattr(pedalboard, effect.name)(**effect.settings) for effect in effects]
    if not plugins:
        return samples
    return np.asarray(pedalboard.Pedalboard(plugins)(samples.astype(np.float32), sample_rate, reset=True))


def loudness_db(samples: np.ndarray, sample_rate: int) -> float:
    """Mean power, in dB, of the louder half of the 0.4 s windows in which anything sounds."""
    hop = min(round(0.4 * sample_rate), len(samples))
    power = np.square(samples[: len(samples) // hop * hop].reshape(-1, hop)).mean(axis=1)
    sounding = np.sort(power[power > power.max() * 1e-4])
    return (
        float(10 * np.log10(max(sounding[len(sounding) // 2 :].mean(), 1e-12))) if len(sounding) else -120.0
    )


def _glue(mixture: np.ndarray, amount_db: float, sample_rate: int) -> np.ndarray:
    """The gain of a bus compressor listening to the mixture: one curve for all stems, which still sum."""
    if amount_db <= 0:
        return np.ones(len(mixture), np.float32)
    hop = sample_rate // 100
    frames = -(-len(mixture) // hop)
    power = np.square(np.pad(mixture, (0, frames * hop - len(mixture))).reshape(frames, hop)).mean(axis=1)
    level = 10 * np.log10(uniform_filter1d(power, 8, mode="nearest") + 1e-9)
    over = np.clip((level - np.median(level)) / 6.0, 0.0, 1.0)  # full reduction 6 dB above the usual level
    times = (np.arange(frames) + 0.5) * hop
    return (10 ** (-amount_db * np.interp(np.arange(len(mixture)), times, over) / 20)).astype(np.float32)
