"""A rack: mixture -> separator -> a strip per stem -> buses -> master.

Called like a pedalboard: ``rack(audio, sample_rate)`` for a whole recording, ``rack.process(block, sample_rate,
reset=False)`` for block after block. pedalboard cannot host plugins written in Python, so the separator stands
beside its chains.

With every chain empty and every fader at 0 dB the output is the mixture: stems and residual sum to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam_audio.errors import UserError
from sam_audio.host.automation import Automation
from sam_audio.host.chains import ChainRunner, chain_latency
from sam_audio.io.arrays import checked_samples
from sam_audio.io.buffer import SampleQueue
from sam_audio.naming import RESIDUAL, check_prompts, distinct
from sam_audio.separation import Separation, latency
from sam_audio.separator.base import SeparationModel
from sam_audio.types import Samples

MASTER = "master"
DEFAULT_RATE_HZ = 48_000
MOST_DB = 60.0


@dataclass
class Strip:
    """A channel of the mixer: a chain of effects, then the fader.

    Args:
        chain: pedalboard plugins, in order; one plugin object stands in one chain only.
        gain_db: of the fader.
        pan: -1 is left, 0 leaves the sound as it is, 1 is right; for stereo only (it balances, nothing is moved).
        solo: when any strip is soloed, only those are heard.
        mute: not heard.
        bus: where it goes: ``master``, or a bus.
        automation: parameters that move, over the faders and effects of this strip.
    """

    chain: list[Any] = field(default_factory=list)
    gain_db: float = 0.0
    pan: float = 0.0
    solo: bool = False
    mute: bool = False
    bus: str = MASTER
    automation: list[Automation] = field(default_factory=list)

    def check(self, name: str) -> None:
        """Raises UserError for values that could never work."""
        if not -np.inf <= self.gain_db <= MOST_DB:
            raise UserError(
                f"a gain of {self.gain_db:g} dB for {name} is out of range: use at most {MOST_DB:g}"
            )
        if not -1 <= self.pan <= 1:
            raise UserError(f"a pan of {self.pan:g} for {name} is out of range: use -1 (left) to 1 (right)")


class Desk:
    """The mixer of a rack: a strip for each stem, buses, and the master.

    Args:
        stems: their names, which the strips have.
        buses: names of buses. A bus may feed the master, or a bus named after it.

    Attributes:
        strips: by name, in the order of the stems.
        buses: by name.
        master: the last strip.

    Raises:
        UserError: two strips would have one name.
    """

    def __init__(self, stems: Sequence[str], buses: Sequence[str] = ()):
        self.strips = {name: Strip() for name in stems}
        taken = {*self.strips, MASTER}
        for bus in buses:
            if bus in taken:
                raise UserError(f"two strips would be called {bus}: give the bus another name")
            taken.add(bus)
        self.buses = {bus: Strip() for bus in buses}
        self.master = Strip()

    def __contains__(self, name: str) -> bool:
        return name in self._by_name()

    def __getitem__(self, name: str) -> Strip:
        """A strip, a bus, or the master.

        Raises:
            UserError: there is none of that name.
        """
        strips = self._by_name()
        if name not in strips:
            raise UserError(f"the rack has no strip {name}: use {', '.join(strips)}")
        return strips[name]

    def _by_name(self) -> dict[str, Strip]:
        return {**self.strips, **self.buses, MASTER: self.master}

    def audible(self, name: str) -> bool:
        """Whether a stem's strip is heard, after every solo and mute on its way."""
        strip = self[name]
        soloed = [n for n, s in self._all() if s.solo]
        path = [name]
        while path[-1] != MASTER:
            path.append(self[path[-1]].bus)
        on_the_way = set(path) & set(soloed)
        return not strip.mute and (not soloed or name not in self.strips or bool(on_the_way))

    def _all(self) -> list[tuple[str, Strip]]:
        """Every strip, each before the one it feeds; checked."""
        order = [*self.strips.items(), *self.buses.items(), (MASTER, self.master)]
        seen: set[str] = set()
        plugins: dict[int, str] = {}
        for name, strip in order:
            strip.check(name)
            seen.add(name)
            known = {*self.buses, MASTER}
            if name != MASTER and strip.bus not in known:
                raise UserError(
                    f"{name} goes to {strip.bus}, which is no bus: use {', '.join(sorted(known))}"
                )
            if name != MASTER and strip.bus in seen:
                raise UserError(
                    f"bus {name} goes back to {strip.bus}: a bus feeds a later bus, or the master"
                )
            for plugin in strip.chain:
                if id(plugin) in plugins:
                    raise UserError(
                        f"one plugin stands in {plugins[id(plugin)]} and in {name}: make two of it"
                    )
                plugins[id(plugin)] = name
        return order


class Rack(Desk):
    """The separator and a mixer.

    Args:
        prompts: what to pull out; each gets a strip of its name, and what is left has the strip ``residual``.
        chains: effects by strip, to begin with; the strips can be changed later, too.
        buses: names of buses. A bus may feed the master, or a bus named after it.
        model: ``nano``, a path, a hub id, or a loaded :class:`sam_audio.separator.base.SeparationModel`.
        live: separate with a bounded look-ahead of 0.1 s in place of whole windows of 15 s.
        strength: how boldly to cut, 0..2.
        device: where to compute.

    Attributes:
        strips: by name: stems in order of the prompts, then ``residual``.
        buses: by name.
        master: the last strip.

    Raises:
        UserError: prompts, names or a model that cannot work.

    >>> rack = Rack(prompts=["guitar"])  # doctest: +SKIP
    >>> rack["guitar"].chain.append(pedalboard.Reverb(room_size=0.7))  # doctest: +SKIP
    >>> rack["residual"].gain_db = -6  # doctest: +SKIP
    >>> wet = rack(audio, sample_rate)  # doctest: +SKIP
    """

    def __init__(
        self,
        prompts: Sequence[str],
        chains: Mapping[str, Iterable[Any]] | None = None,
        *,
        buses: Sequence[str] = (),
        model: str | Path | SeparationModel = "nano",
        live: bool = False,
        strength: float = 1.0,
        device: str = "auto",
    ):
        self.prompts = check_prompts(prompts)
        if not 0 <= strength <= 2:
            raise UserError(f"a strength of {strength:g} is out of range: use 0 to 2, 1 is neutral")
        self.strength = strength
        super().__init__([*distinct(self.prompts, taken=[RESIDUAL]), RESIDUAL], buses)
        for name, chain in (chains or {}).items():
            self[name].chain = list(chain)
        self.model = _load(model, device, live)
        self._conditions = self.model.encode(self.prompts)
        self._running: _Running | None = None

    @property
    def latency_samples(self) -> int:
        """By how much :meth:`process` delays the sound, at the rate of its last block (48 kHz before the first).

        Raises:
            UserError: the model does not tell its delay.
        """
        if self._running is not None:
            return self._running.latency
        return self.latency(DEFAULT_RATE_HZ)

    def latency(self, sample_rate: int, channels: int = 2) -> int:
        """The same at any rate, in samples."""
        chains = {name: _latency(strip, sample_rate, channels) for name, strip in self._all()}
        longest = dict.fromkeys(chains, 0)  # from the separator to the output of each strip
        for name, strip in self._all():
            longest[name] += chains[name]
            if name != MASTER:
                longest[strip.bus] = max(longest[strip.bus], longest[name])
        return latency(self.model, sample_rate) + longest[MASTER]

    def __call__(self, audio: Samples, sample_rate: int, reset: bool = True) -> Samples:
        return self.process(audio, sample_rate, reset)

    def process(self, audio: Samples, sample_rate: int, reset: bool = True) -> Samples:
        """The mix of a recording, or of its next block.

        Args:
            audio: (channels, T) or (T,) floats, full scale +-1.
            sample_rate: in Hz.
            reset: True: ``audio`` is a whole recording, and its mix comes back in step with it. False: it is the next
                block of one. As many samples come back as went in, ``latency_samples`` late: the first that many of
                a recording are zeros, and :meth:`flush` gives its last.

        Returns:
            The shape of ``audio``, float32.

        Raises:
            UserError: samples, strips or automations that cannot work.
        """
        samples = checked_samples(audio)
        if reset:
            self.reset()
            return np.concatenate(
                list(self.stream(iter([samples]), sample_rate, len(samples))), axis=-1
            ).reshape(np.shape(audio))
        if self._running is None:
            self._running = _Running(self, sample_rate, len(samples))
        return self._running.process(samples, sample_rate).reshape(np.shape(audio))

    def flush(self) -> Samples:
        """The last ``latency_samples`` samples of what :meth:`process` was given with reset=False; ends it."""
        running, self._running = self._running, None
        return np.zeros((1, 0), np.float32) if running is None else running.flush()

    def reset(self) -> None:
        """Forgets the recording that :meth:`process` is in."""
        self._running = None

    def stream(self, blocks: Iterable[Samples], sample_rate: int, channels: int) -> Iterator[Samples]:
        """The mix of a recording of any length, block by block and in step with it, in constant memory.

        Args:
            blocks: (C, n) float32, in order.
            sample_rate: in Hz.
            channels: C.

        Yields:
            (C, m); all m together are all n.
        """
        for parts in self.stream_parts(blocks, sample_rate, channels):
            yield parts[MASTER]

    def stream_parts(
        self, blocks: Iterable[Samples], sample_rate: int, channels: int
    ) -> Iterator[dict[str, Samples]]:
        """The same with every strip beside the master, after its fader: (C, m) by name, the m of each its own."""
        flow = _Flow(self, sample_rate, channels)
        for block in blocks:
            yield flow.push(block)
        yield flow.finish()


class _Line:
    """A strip at work: chain, then fader."""

    def __init__(self, strip: Strip, name: str, sample_rate: int, channels: int):
        self.strip, self.name, self.sample_rate, self.channels = strip, name, sample_rate, channels
        moving = [curve for curve in strip.automation if curve.target not in ("gain_db", "pan")]
        self._gain = next((c for c in strip.automation if c.target == "gain_db"), None)
        self._pan = next((c for c in strip.automation if c.target == "pan"), None)
        self._chain = ChainRunner(strip.chain, moving, sample_rate, channels)
        self._position = 0

    def push(self, samples: Samples, audible: bool) -> Samples:
        return self._fade(self._chain.push(samples), audible)

    def finish(self, audible: bool) -> Samples:
        return self._fade(self._chain.finish(), audible)

    def _fade(self, samples: Samples, audible: bool) -> Samples:
        start, self._position = self._position, self._position + samples.shape[-1]
        if not audible:
            return np.zeros_like(samples)
        moves = self._gain is not None or self._pan is not None
        times_s = (start + np.arange(samples.shape[-1] if moves else 1)) / self.sample_rate
        gain_db = self.strip.gain_db if self._gain is None else self._gain.at(times_s)
        pan = np.asarray(self.strip.pan if self._pan is None else self._pan.at(times_s))
        gain = 10 ** (np.asarray(gain_db) / 20)
        if np.all(gain == 1) and not np.any(pan):
            return samples
        if np.any(pan) and self.channels != 2:
            raise UserError(f"pan needs stereo, and {self.name} has {self.channels} channels: leave pan at 0")
        out = samples * gain.astype(np.float32)
        if np.any(pan):
            out[0] *= np.clip(1 - pan, 0, 1).astype(np.float32)
            out[1] *= np.clip(1 + pan, 0, 1).astype(np.float32)
        return out


class _Flow:
    """A recording on its way through the rack: pieces in, aligned pieces out, however late."""

    def __init__(self, rack: Rack, sample_rate: int, channels: int):
        self._mixing = Mixing(rack, sample_rate, channels)
        self._stage = Separation(rack.model, rack._conditions, sample_rate, channels, rack.strength)

    def push(self, samples: Samples) -> dict[str, Samples]:
        return self._mixing.push(self._stage.push(samples).parts)

    def finish(self) -> dict[str, Samples]:
        return self._mixing.push(self._stage.finish().parts, last=True)


class Mixing:
    """The stems of one recording on their way through a desk, in step with each other.

    Args:
        desk: its strips, chains and ways are taken as they are now; faders may move meanwhile.
        sample_rate: in Hz.
        channels: C, of every stem.

    Raises:
        UserError: strips or automations that cannot work.
    """

    def __init__(self, desk: Desk, sample_rate: int, channels: int):
        self.desk = desk
        order = desk._all()
        self._lines = {name: _Line(strip, name, sample_rate, channels) for name, strip in order}
        self._feeds: dict[str, dict[str, SampleQueue]] = {name: {} for name in (*desk.buses, MASTER)}
        self._goes = {name: strip.bus for name, strip in order if name != MASTER}  # fixed while it runs
        for name, bus in self._goes.items():
            if name in desk.strips or self._feeds[name]:
                self._feeds[bus][name] = SampleQueue((channels,))

    def push(self, stems: Samples, last: bool = False) -> dict[str, Samples]:
        """The next samples of every stem, (N, C, n), the ``last`` of which may be none; what comes out of every strip
        and bus, and as ``master`` the mix, (C, m) each with its own m."""
        out: dict[str, Samples] = {}
        for name, samples in zip(self.desk.strips, stems, strict=True):
            out[name] = self._line(name, samples, last)
        for name, feeds in self._feeds.items():
            if feeds:
                n = min(len(queue) for queue in feeds.values())
                samples = sum_exactly([queue.take(n) for queue in feeds.values()])
                out[name] = self._line(name, samples, last)
        return out

    def _line(self, name: str, samples: Samples, last: bool) -> Samples:
        line, audible = self._lines[name], self.desk.audible(name)
        out = line.push(samples, audible)
        if last:
            out = np.concatenate([out, line.finish(audible)], axis=-1)
        if name != MASTER:
            self._feeds[self._goes[name]][name].put(out)
        return out


def sum_exactly(parts: Sequence[Samples]) -> Samples:
    """The sum in float32 of (C, n) arrays, added up in double precision."""
    return np.asarray(np.sum(parts, axis=0, dtype=np.float64), np.float32)


class _Running:
    """process(reset=False): as many samples out as in, a constant delay later."""

    def __init__(self, rack: Rack, sample_rate: int, channels: int):
        self.sample_rate, self.channels = sample_rate, channels
        self.latency = rack.latency(sample_rate, channels)
        self._flow = _Flow(rack, sample_rate, channels)
        self._ready = SampleQueue((channels,))
        self._ready.put(np.zeros((channels, self.latency), np.float32))

    def process(self, samples: Samples, sample_rate: int) -> Samples:
        if (sample_rate, len(samples)) != (self.sample_rate, self.channels):
            raise UserError(
                f"a block of {len(samples)} channels at {sample_rate} Hz follows {self.channels} at "
                f"{self.sample_rate} Hz: call reset() before another recording"
            )
        self._ready.put(self._flow.push(samples)[MASTER])
        if len(self._ready) < samples.shape[-1]:
            raise RuntimeError("the rack is later than it said")
        return self._ready.take(samples.shape[-1])

    def flush(self) -> Samples:
        self._ready.put(self._flow.finish()[MASTER])
        return self._ready.take(len(self._ready))


def _latency(strip: Strip, sample_rate: int, channels: int) -> int:
    automated = any(curve.effect is not None for curve in strip.automation)
    return chain_latency(strip.chain, automated, sample_rate, channels)


def _load(model: str | Path | SeparationModel, device: str, live: bool) -> SeparationModel:
    if isinstance(model, (str, Path)):
        from sam_audio.api import Separator

        model = Separator(model, device).model
    return model.live() if live else model
