"""Long recordings: windows whose velocities are blended at every evaluation of the flow.

MultiDiffusion (Bar-Tal et al. 2023) in time. Every window is a recording of its own to the network; where windows
overlap, the state follows the weighted mean of their velocities, so that one flow runs through all of them and nothing
has to be cross-faded afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sam_audio.separator.official.conditioning import Conditioning
from sam_audio.separator.official.flow import FlowNetwork


@dataclass(frozen=True)
class Windows:
    """How a recording is cut.

    Args:
        length: frames of a window.
        overlap: frames that neighbours share; more where the last window meets the end.
    """

    length: int
    overlap: int

    def cut(self, n_frames: int) -> list[tuple[int, int]]:
        """First and last frame + 1 of every window; one window when it suffices."""
        if n_frames <= self.length:
            return [(0, n_frames)]
        step = self.length - self.overlap
        starts = [*range(0, n_frames - self.length, step), n_frames - self.length]
        return [(start, start + self.length) for start in starts]


def blend_weights(windows: list[tuple[int, int]]) -> list[Tensor]:
    """How much each window counts at its frames; at every frame the weights of all windows sum to one.

    Ramps where a window shares frames with a neighbour, so that its velocity fades in and out.
    """
    weights = []
    for n, (start, stop) in enumerate(windows):
        frames = torch.arange(start, stop, dtype=torch.float32) + 0.5
        weight = torch.ones(stop - start)
        if n > 0 and (shared := windows[n - 1][1] - start) > 0:
            weight = torch.minimum(weight, (frames - start) / shared)
        if n + 1 < len(windows) and (shared := stop - windows[n + 1][0]) > 0:
            weight = torch.minimum(weight, (stop - frames) / shared)
        weights.append(weight)
    total = torch.zeros(windows[-1][1])
    for (start, stop), weight in zip(windows, weights, strict=True):
        total[start:stop] += weight
    return [weight / total[start:stop] for (start, stop), weight in zip(windows, weights, strict=True)]


class BlendedVelocity:
    """The velocity of a whole recording, window by window.

    Args:
        network: of the model.
        conditioning: of B rows over T frames.
        windows: that cover the T frames; see `Windows.cut`.
        rows_at_once: rows that are evaluated together; bounds the memory and changes no value.
    """

    def __init__(
        self,
        network: FlowNetwork,
        conditioning: Conditioning,
        windows: list[tuple[int, int]],
        rows_at_once: int | None = None,
    ):
        self.network = network
        self.conditioning = conditioning
        self.windows = windows
        self.rows_at_once = rows_at_once or len(conditioning.base)
        self.weights = blend_weights(windows) if len(windows) > 1 else [None]

    def __call__(self, t: float, state: Tensor) -> Tensor:
        """Shape: (B, T, 256) -> the same."""
        c, network = self.conditioning, self.network
        instant = network.transformer.at(torch.tensor([t], device=state.device), c.memory, c.memory_valid)
        velocity = torch.zeros_like(state)
        for (start, stop), weight in zip(self.windows, self.weights, strict=True):
            frames = slice(start, stop)
            for rows in self._rows(frames).split(self.rows_at_once):
                h = network.project_state(state[rows, frames]) + c.base[rows, frames]
                valid = None if c.valid is None else c.valid[rows, frames]
                v = network.transformer(h, instant.of(c.texts[rows]), valid)
                velocity[rows, frames] += v if weight is None else v * weight.to(v)[:, None]
        return velocity

    def _rows(self, frames: slice) -> Tensor:
        """Rows that have sound in these frames; attention to nothing but padding would give no number."""
        c = self.conditioning
        if c.valid is None:
            return torch.arange(len(c.base), device=c.base.device)
        return c.valid[:, frames].any(dim=1).nonzero()[:, 0]


class Continuation:
    """Joins the flow of one section of a recording to that of the next, when they are solved one after the other.

    The velocities of a section's last frames are kept for every evaluation. The next section, which begins with the
    same frames and the same noise, blends them with its own as if the earlier section were one more window. Needs a
    solver that evaluates both at the same times, that is one with a fixed step.

    Args:
        velocity: of the section.
        shared: frames at its start that the section before also had, 0 for the first section.
        earlier: what that section kept.
        keep: frames at its end that the next one will share.
    """

    def __init__(
        self, velocity: Callable[[float, Tensor], Tensor], shared: int, earlier: list[Tensor], keep: int
    ):
        self.velocity = velocity
        self.shared = shared
        self.earlier = iter(earlier)
        self.keep = keep
        self.kept: list[Tensor] = []

    def __call__(self, t: float, state: Tensor) -> Tensor:
        """Shape: (B, T, 256) -> the same."""
        velocity = self.velocity(t, state)
        if self.shared:
            ramp = (torch.arange(self.shared, device=state.device) + 0.5) / self.shared
            blended = torch.lerp(next(self.earlier), velocity[:, : self.shared], ramp[:, None])
            velocity = torch.cat([blended, velocity[:, self.shared :]], dim=1)
        if self.keep:
            self.kept.append(velocity[:, -self.keep :].clone())
        return velocity
