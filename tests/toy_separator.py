"""A whole separator in one file, as a third party would write it: it keeps what lies above or below a frequency."""

from dataclasses import dataclass, replace

import numpy as np

from sam_audio.extending.hookspecs import hookimpl
from sam_audio.options import option
from sam_audio.separator.base import SeparationModel, SeparationStream, Variant
from sam_audio.separator.family import SeparatorType
from sam_audio.types import Condition


@dataclass(frozen=True)
class SplitOptions:
    border_hz: float = option(1000.0, "Split: where low ends and high begins, in Hz.", metavar="HZ")


class Split(SeparationModel):
    name, sample_rate, block_samples = "split", 48_000, 256

    def __init__(self, options):
        self.options = options

    def encode(self, texts):
        return [Condition(text, None, text=text) for text in texts]

    def open(self, conditions, channels, strength=1.0):
        return SplitStream(self.options.border_hz, [c.text for c in conditions], channels, strength)

    def variants(self, n):
        higher = replace(self.options, border_hz=1.5 * self.options.border_hz)
        return [Variant("", self), Variant("higher border", self.with_options(higher))]

    def with_options(self, options):
        return Split(options)

    def live(self):
        return self  # it never waits

    def emitted(self, pushed):
        return pushed


class SplitStream(SeparationStream):
    """A filter of first order, sample by sample: y += (x - y) * share."""

    def __init__(self, border_hz, texts, channels, strength):
        self.share = 1 - np.exp(-2 * np.pi * border_hz / 48_000)
        self.high = [text.startswith("high") for text in texts]
        self.low, self.gain = np.zeros(channels, np.float32), min(strength, 1.0)

    def push(self, samples):
        low = np.empty_like(samples, np.float32)
        for t, x in enumerate(samples.T):
            low[:, t] = self.low = self.low + (x - self.low) * np.float32(self.share)
        return np.stack([self.gain * (samples - low if high else low) for high in self.high]).astype(
            np.float32
        )

    def finish(self):
        return np.zeros((len(self.high), len(self.low), 0), np.float32)


class SplitFamily(SeparatorType):
    name, options = "split", SplitOptions

    def load(self, name, device, options):
        return Split(options)


@hookimpl
def separators():
    return [SplitFamily()]
