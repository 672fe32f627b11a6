"""``--midi FILE``: the notes of a score."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_audio.errors import PromptError
from sam_audio.extending.hookspecs import Option, PromptType, hookimpl
from sam_audio.prompts import existing_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sam_audio.conditioning.source import Recording
    from sam_audio.types import Condition

RING_S = 0.15  # notes sound on after their end
MOST_BYTES = 4_000_000  # of a file: mido reads a megabyte in seconds
DRUMS = 9  # the channel whose notes have no pitch


@dataclass(frozen=True)
class Note:
    """From ``start_s`` to ``end_s``, at ``hz``."""

    start_s: float
    end_s: float
    hz: float


@dataclass(frozen=True)
class Score:
    """Notes in the order of their starts."""

    notes: tuple[Note, ...]

    def __call__(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pitches at some times: (T,) -> (P, T) in Hz, P being how many notes sound in them."""
        import numpy as np

        rows = []
        for note in self.notes:
            sounds = (times_s >= note.start_s - 0.02) & (times_s < note.end_s + RING_S)
            if sounds.any():
                rows.append(np.where(sounds, note.hz, 0.0))
        return np.stack(rows) if rows else np.zeros((1, len(times_s)))


def read_score(path: Path, track: str | None = None) -> Score:
    """The pitched notes of a midi file, or of its tracks of one name or number (the first is 1).

    Raises:
        PromptError: it cannot be read, has no such track or no notes.
    """
    import mido

    damaged = PromptError(f"{path.name} is not a midi file that can be read: export it again")
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise PromptError(f"{path.name} is larger than {MOST_BYTES // 10**6} MB: export one song of it")
        file = mido.MidiFile(file=io.BytesIO(data))
    except PromptError:
        raise
    except Exception:  # mido lets through whatever its tables raise about damaged messages
        raise damaged from None
    if file.ticks_per_beat <= 0:  # time codes of film, which mido reads as ticks
        raise damaged
    names = [t.name.strip() for t in file.tracks]
    chosen = range(len(names))
    if track is not None:
        chosen = [i for i in chosen if track.lower() in (names[i].lower(), str(i + 1))]
        if not chosen:
            known = ", ".join(name or str(i + 1) for i, name in enumerate(names))
            raise PromptError(f"{path.name} has no track {track!r}: it has {known}")
    seconds = _clock(file)
    notes = [note for i in chosen for note in _notes(file.tracks[i], seconds)]
    if not notes:
        raise PromptError(f"{path.name} has no notes of a pitch there: choose another track")
    return Score(tuple(sorted(notes, key=lambda note: note.start_s)))


def _clock(file: Any) -> Any:
    """A function from ticks to seconds, by the tempo changes of all tracks."""
    import mido

    changes = {0: 500_000}  # tick -> microseconds a beat
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                changes[tick] = message.tempo
    ticks = sorted(changes)
    starts_s = [0.0]
    for before, at in pairwise(ticks):
        starts_s.append(starts_s[-1] + mido.tick2second(at - before, file.ticks_per_beat, changes[before]))

    def seconds(tick: int) -> float:
        last = bisect_right(ticks, tick) - 1
        passed = mido.tick2second(tick - ticks[last], file.ticks_per_beat, changes[ticks[last]])
        return float(starts_s[last] + passed)

    return seconds


def _notes(track: Any, seconds: Any) -> list[Note]:
    notes, begun, tick = [], {}, 0
    for message in track:
        tick += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
            continue
        key = message.channel, message.note
        if key in begun:  # ends, or is struck again
            hz = 440.0 * 2 ** ((message.note - 69) / 12)
            notes.append(Note(seconds(begun.pop(key)), seconds(tick), hz))
        if message.type == "note_on" and message.velocity:
            begun[key] = tick
    return notes


class Midi:
    """The partials of the notes of a score, in time with the recording."""

    name = "midi"
    options = (
        Option("--midi", "FILE", "The notes of the sound, in time with the recording.", file="read"),
        Option("--midi-track", "NAME|N", "Only a track of that file."),
    )

    def parse(self, values: Mapping[str, Any]) -> Score:
        if "midi" not in values:
            raise PromptError("--midi-track says which track of a score: add --midi FILE")
        path = existing_file(values["midi"], "the score", "name a midi file")
        track = values.get("midi_track")
        return read_score(path, None if track is None else str(track))

    def encode(self, value: Score, condition: Condition, recording: Recording) -> Condition:
        from sam_audio.conditioning.priors import HarmonicPrior

        return replace(condition, masks=(*condition.masks, HarmonicPrior(value)))


@hookimpl
def prompt_types() -> list[PromptType]:
    return [Midi()]
