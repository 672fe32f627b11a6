# %% [markdown]
# # A plugin
#
# What the package lacks can be added from outside: ways to ask, models, rankers, exporters, changes of the
# stems. Here a post-processor takes the rumble out of every stem, and a ranker prefers candidates that
# leave little behind.

# %%
from __future__ import annotations

from pathlib import Path

import numpy as np

from judge.types import Ranker
from sam_audio import Separator
from sam_audio.extending.hookspecs import hookimpl
from sam_audio.separator.base import SeparationStream

examples = next(path for path in (Path("examples"), Path("..")) if (path / "band.wav").is_file())

# %% [markdown]
# ## Changing stems on their way out
#
# A post-processor wraps the stream of stems, (N, channels, samples) a block. The residual takes up what it
# removes, so the parts still sum to the mixture.


# %%
class WithoutRumble:
    """Takes out what is below 100 Hz, by a filter of one pole that remembers where the block before ended."""

    name = "no-rumble"

    def wrap(self, stream, conditions, channels, sample_rate):
        return _Filtered(stream, np.exp(-2 * np.pi * 100 / sample_rate))


class _Filtered(SeparationStream):
    def __init__(self, stream: SeparationStream, decay: float) -> None:
        self.stream, self.decay, self.low = stream, decay, None

    def push(self, samples):
        return self._filter(self.stream.push(samples))

    def finish(self):
        return self._filter(self.stream.finish())

    def _filter(self, stems):
        low = np.zeros(stems.shape[:2], np.float32) if self.low is None else self.low
        out = np.empty_like(stems)
        for t in range(stems.shape[-1]):
            low = self.decay * low + (1 - self.decay) * stems[..., t]
            out[..., t] = stems[..., t] - low
        self.low = low
        return out


# %%
separator = Separator("nano")
plain = separator.separate(examples / "band.wav", ["guitar"], duration_s=2)
changed = separator.separate(examples / "band.wav", ["guitar"], duration_s=2, post=[WithoutRumble()])


def rumble(samples: np.ndarray, sample_rate: int) -> float:
    """The share of energy below 60 Hz."""
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(power[:, : int(60 * samples.shape[1] / sample_rate)].sum() / power.sum())


for name, result in (("plain", plain), ("changed", changed)):
    print(f"{name:8} below 60 Hz: {rumble(result.stems['guitar'].samples, result.sample_rate):.2%}")

# %% [markdown]
# ## Choosing among candidates
#
# A ranker scores candidates; the highest score is kept. Nano has one way to separate; models with several, such as
# the published ones, take it as `candidates=4, ranker=Boldest()`. Here it chooses among the stems from above.


# %%
class Boldest(Ranker):
    """The candidate with the most energy: the one that leaves the least behind."""

    sample_rate = 48_000

    def rank(self, candidates, mixture, prompt, spans=None):
        return np.array([np.square(sound).sum() for sound in candidates], np.float32)


candidates = {"plain": plain, "changed": changed}
sounds = [result.stems["guitar"].samples.mean(axis=0) for result in candidates.values()]
mixture = sum(part.samples for part in (*plain.stems.values(), plain.residual)).mean(axis=0)
scores = Boldest().rank(sounds, mixture, "guitar")
for name, score in zip(candidates, scores, strict=True):
    print(f"{name:8} {score:9.2f} {'chosen' if score == scores.max() else ''}")

# %% [markdown]
# ## Packaging it
#
# In a module of a distribution with the entry point `[project.entry-points.sam_audio]`, these functions are
# all that is needed: `separate --post no-rumble --ranker boldest` then works for everybody who installs it.
# `sam-audio plugins new NAME` writes such a distribution; docs/plugins.md lists all hooks.


# %%
class BoldestType:
    name = "boldest"

    def load(self, device: str) -> Ranker:
        return Boldest()


@hookimpl
def post_processors():
    return [WithoutRumble()]


@hookimpl
def rankers():
    return [BoldestType()]


print([thing.name for hook in (post_processors, rankers) for thing in hook()])
