"""Samples of the data engine's shards: sound, pictures, and what is said about them.

KEY.flac    sound, mono
KEY.N.jpg   pictures in the order of time, N = 0, 1, ...
KEY.json    `About`
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import soundfile
import soxr

from sam_audio.documents import parse_json, structured

KINDS = ("audio", "visual", "audio_visual")
SILENCE = 1e-4  # peak up to which a stretch of sound is silence
PART_OF = {"audio": "Ta", "visual": "Tv", "audio_visual": "Tav"}  # as pairs of the contrastive loss call them


class Said(msgspec.Struct, frozen=True):
    """One caption: what it says, who says so, and how sure that is, 0..1."""

    text: str
    by: str
    confidence: float = 1.0


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a clip.

    Args:
        label: by which it was filed; may be empty.
        captions: the final one of each kind (`KINDS`) that there is one of.
        weak: what captioners said, by kind, from which those were made.
        agreement: cosine of the audio caption and the sound, in the space of PE-AV; None if it was not measured.
        picture: where the pictures are from, if it is not the recording itself.
    """

    label: str = ""
    category: str = ""
    source: str = ""
    licence: str = ""
    picture: str = ""
    captions: dict[str, Said] = {}
    weak: dict[str, list[Said]] = {}
    agreement: float | None = None

    def text(self, kind: str) -> str | None:
        """The caption of a kind; the label stands in for one of the sound."""
        if kind in self.captions:
            return self.captions[kind].text
        return self.label or None if kind == "audio" and not self.captions else None


def about(sample: Mapping[str, Any]) -> About:
    """Raises UserError if its JSON is none of ours."""
    where = f"{sample['__key__']}.json"
    return structured(parse_json(sample["json"].decode(), where), About, where)


def sound_of(
    sample: Mapping[str, Any], sample_rate: int, n: int | None, rng: np.random.Generator | None
) -> tuple[np.ndarray, About]:
    """A stretch of ``n`` samples of a sample's sound, float32 (n,), and what is known of it.

    Args:
        n: None for all of it.
        rng: chooses the stretch, or where a shorter sound lies in the silence; None takes the start.
    """
    sound, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32", always_2d=True)
    mono = sound.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate)
    n = len(mono) if n is None else n
    spare = len(mono) - n
    at = 0 if rng is None else int(rng.integers(abs(spare) + 1))
    if spare >= 0:
        return np.ascontiguousarray(mono[at : at + n], np.float32), about(sample)
    out = np.zeros(n, np.float32)
    out[at : at + len(mono)] = mono
    return out, about(sample)


def pictures_of(sample: Mapping[str, Any]) -> list[bytes]:
    """Encoded pictures, in order."""
    numbers = sorted(int(name[:-4]) for name in sample if name.endswith(".jpg") and name[:-4].isdigit())
    return [sample[f"{n}.jpg"] for n in numbers]
