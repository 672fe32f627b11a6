"""The embedded separator: a conditioned mask network over a streaming spectrogram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peav import checkpoints
from peav.checkpoints import Checkpoint, CheckpointError
from peav.nano.audio import FRAME, FRAME_LEVEL, WINDOW, AudioFeatures, AudioTower, level_gain
from peav.nano.precision import autocast, cast_once
from peav.nano.text import TextTower
from sam_audio.errors import ModelError
from sam_audio.separator.bands import (
    HOP,
    N_BINS,
    N_FFT,
    SAMPLE_RATE,
    features,
    power,
    to_bands,
    to_bins,
    window,
)
from sam_audio.separator.network import (
    Conditions,
    MaskNetwork,
    NetworkConfig,
    channels_last,
    padded_frames,
)
from sam_audio.types import Condition, Grid, Samples
from sam_audio.vocabulary import meant

WEIGHTS = Path(__file__).parent / "weights" / "nano-separator.safetensors"

# The network sees windows of 15.4 s that overlap by 2.6 s. The grid is fixed to the recording's start, masks of
# neighbouring windows are cross-faded, and synthesis is one overlap-add over the whole recording: no seams.
WINDOW_FRAMES = 768
OVERLAP_FRAMES = 128
PREDICT_SPANS = True
SYNTHESIS_FRAMES = 64  # frames turned into sound at once; bounds memory with many stems and channels


def load_network(weights: Path, device: torch.device | str = "cpu") -> MaskNetwork:
    """The network of a checkpoint, ready for inference under :func:`autocast`.

    Raises:
        ModelError: the file or its config is missing, damaged, or of another kind.
    """
    try:
        return cast_once(network_of(checkpoints.load(weights, "separator")).to(device))
    except CheckpointError as error:
        raise ModelError(str(error).rstrip(".")) from None


def load_tower(device: torch.device | str = "cpu") -> AudioTower:
    """The shipped audio tower, ready for inference under :func:`autocast`; raises CheckpointError."""
    return cast_once(AudioTower.from_pretrained("nano").to(device))


def network_of(checkpoint: Checkpoint) -> MaskNetwork:
    """The same of a checkpoint that was read; raises CheckpointError."""
    network = checkpoints.build(checkpoint, lambda **sizes: MaskNetwork(NetworkConfig.of(sizes)))
    return channels_last(network.eval().requires_grad_(False))


class NanoSeparator:
    """Loads the embedded weights once; serves any number of recordings and threads.

    Args:
        weights: a checkpoint.
        device: where to compute.
        predict_spans: whether PE-A-Frame nano first listens for when each prompt sounds.
    """

    sample_rate = SAMPLE_RATE
    takes = frozenset({"vector", "anchors", "masks", "against"})

    def __init__(self, weights: Path = WEIGHTS, device: str = "cpu", predict_spans: bool = PREDICT_SPANS):
        self.name = "nano" if weights == WEIGHTS else str(weights)
        self.device = torch.device(device)
        self.predict_spans = predict_spans
        self.network = load_network(weights, self.device)
        try:
            self.text_tower = TextTower.from_pretrained("nano")
            listens = predict_spans or self.network.config.hears
            self.audio_tower = load_tower(self.device) if listens else None
        except CheckpointError as error:
            raise ModelError(str(error).rstrip(".")) from None

    def encode(self, prompts: list[str]) -> list[Condition]:
        """Text prompts as vectors of the joint space."""
        vectors = self.text_tower.embed(prompts).numpy()
        return [Condition(text, vector, text=text) for text, vector in zip(prompts, vectors, strict=True)]

    def reads(self, prompt: str) -> bool:
        """Whether it knows any word of a prompt."""
        return self.text_tower.reads(prompt)

    def meant(self, prompt: str) -> str | None:
        """What somebody may have meant who wrote words that it does not know."""
        return meant(prompt, self.text_tower.knows)

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> NanoStream:
        """Starts on a new recording."""
        return NanoStream(self, conditions, channels, strength)


class NanoStream:
    """Separates one recording (see :class:`sam_audio.types.SeparationStream`)."""

    def __init__(self, model: NanoSeparator, conditions: list[Condition], channels: int, strength: float):
        self.model = model
        self.conditions = conditions
        self.strength = strength
        self.channels = channels
        device = model.device
        # what is not wanted is asked for too, after the N prompts, and taken out of their masks
        unwanted = [Condition(c.name, vector) for c in conditions for vector in c.against]
        self._asked = [*conditions, *unwanted]
        self._has_priors = any(condition.masks for condition in conditions)
        self._unknown = [  # the network can know nothing of them
            n
            for n, c in enumerate(conditions)
            if c.vector is None and not c.anchors and (c.masks or c.against)
        ]
        vectors, valid = _stack_vectors(self._asked, model.network.config)
        self._vectors = vectors.to(device), valid.to(device)
        self._window = window().to(device)
        # frame t is centred on sample t * HOP, so the first one starts half a window before the recording
        self._samples = torch.zeros(channels, N_FFT // 2, device=device)
        self._spectrum = torch.zeros(channels, N_BINS, 0, dtype=torch.complex64, device=device)
        self._first_frame = 0  # of self._spectrum, counted from the recording's start
        self._fading: Tensor | None = None  # masks of the window before, where it overlaps with the next
        self._overlap_add = torch.zeros(len(conditions), channels, N_FFT - HOP, device=device)
        self._weight = torch.zeros(N_FFT - HOP, device=device)
        self._heard = torch.zeros(
            channels, 0, device=device
        )  # the sound of self._spectrum, for the audio tower
        self._skip = N_FFT // 2  # synthesised samples that lie before the recording
        self._pushed = 0
        self._emitted = 0

    @torch.inference_mode()
    def push(self, samples: Samples) -> Samples:
        self._pushed += samples.shape[-1]
        out = []
        step = WINDOW_FRAMES * HOP  # however much is pushed at once, the spectrogram of one window is held
        for start in range(0, samples.shape[-1], step):
            block = np.ascontiguousarray(samples[:, start : start + step], np.float32)
            self._analyse(torch.from_numpy(block).to(self.model.device))
            while self._spectrum.shape[-1] >= WINDOW_FRAMES:
                out.append(self._separate_window(WINDOW_FRAMES, last=False))
        return self._numpy(out)

    @torch.inference_mode()
    def finish(self) -> Samples:
        if self._pushed == 0:
            return self._numpy([])
        # zeros after the end, until every sample has all the frames that touch it
        self._analyse(torch.zeros(self.channels, N_FFT + HOP, device=self.model.device))
        out = []
        while self._spectrum.shape[-1] > WINDOW_FRAMES:
            out.append(self._separate_window(WINDOW_FRAMES, last=False))
        out.append(self._separate_window(self._spectrum.shape[-1], last=True))
        owed = self._pushed - self._emitted
        rest = torch.cat(out, dim=-1)[..., :owed]
        return rest.cpu().numpy()

    def _numpy(self, blocks: list[Tensor]) -> Samples:
        if not blocks:
            return np.zeros((len(self.conditions), self.channels, 0), np.float32)
        joined = torch.cat(blocks, dim=-1)
        self._emitted += joined.shape[-1]
        return joined.cpu().numpy()

    def _analyse(self, samples: Tensor) -> None:
        """Appends all frames that the new samples complete."""
        if self.model.audio_tower is not None:
            self._heard = torch.cat([self._heard, samples], dim=-1)
        self._samples = torch.cat([self._samples, samples], dim=-1)
        if self._samples.shape[-1] < N_FFT:
            return
        frames = self._samples.unfold(-1, N_FFT, HOP)
        spectrum = torch.fft.rfft(frames * self._window).transpose(1, 2)
        self._spectrum = torch.cat([self._spectrum, spectrum], dim=-1)
        self._samples = self._samples[:, frames.shape[1] * HOP :].clone()

    def _separate_window(self, n_frames: int, last: bool) -> Tensor:
        """Runs the network on the next window; returns the sound of the frames that are now settled."""
        spectrum = self._spectrum[..., :n_frames]
        masks = self._masks(spectrum)
        if self._fading is not None:
            n_fade = min(self._fading.shape[-1], n_frames)
            ramp = (torch.arange(n_fade, device=masks.device) + 1) / (n_fade + 1)
            masks[..., :n_fade] = torch.lerp(self._fading[..., :n_fade], masks[..., :n_fade], ramp)
        settled = n_frames if last else n_frames - OVERLAP_FRAMES
        self._fading = None if last else masks[..., settled:].clone()
        blocks = []
        for start in range(0, settled, SYNTHESIS_FRAMES):
            frames = slice(start, min(start + SYNTHESIS_FRAMES, settled))
            gains = self._gains(masks[..., frames], spectrum[..., frames], self._first_frame + start)
            blocks.append(self._synthesise(gains, spectrum[..., frames]))
        self._spectrum = self._spectrum[..., settled:].clone()
        self._heard = self._heard[:, settled * HOP :].clone()
        self._first_frame += settled
        return torch.cat(blocks, dim=-1)

    def _masks(self, spectrum: Tensor) -> Tensor:
        """Mask of every prompt in this window, (N, N_BANDS, T)."""
        # energies averaged over channels: a sound that cancels in mono is still seen
        energies = to_bands(power(spectrum)).mean(dim=0, keepdim=True)
        with autocast(self.model.device.type):
            answer = ask(
                self.model.network,
                self.model.audio_tower,
                self._heard[None],
                energies,
                *self._vectors,
                self._spans(spectrum.shape[-1]),
                listen=self.model.predict_spans,
            )
        return self._wanted(answer.masks[0], energies[0])

    def _wanted(self, masks: Tensor, energies: Tensor) -> Tensor:
        """Masks of all that the network was asked -> those of the N prompts, (N, N_BANDS, T), hedged and without what
        is not wanted."""
        masks[self._unknown] = 0
        parts = masks.split([len(self.conditions), len(masks) - len(self.conditions)])
        wanted, unwanted = (hedged(part, energies) for part in parts)
        wanted[self._unknown] = 1  # the priors decide
        row = 0
        for mask, condition in zip(wanted, self.conditions, strict=True):
            for _ in condition.against:
                mask.mul_(1 - unwanted[row])
                row += 1
        return wanted

    def _gains(self, masks: Tensor, spectrum: Tensor, first_frame: int) -> Tensor:
        """Shapes: masks (N, N_BANDS, t), spectrum (C, N_BINS, t) -> (N, C or 1, N_BINS, t)."""
        if not self._has_priors:
            return to_bins(share_out(masks, self.strength))[:, None]
        grid = Grid(SAMPLE_RATE, HOP, N_BINS, first_frame, masks.shape[-1])
        heard = spectrum.cpu().numpy()
        gains = to_bins(masks)[:, None].repeat(1, self.channels, 1, 1)
        for gain, condition in zip(gains, self.conditions, strict=True):
            for prior in condition.masks:
                gain.mul_(torch.from_numpy(prior.gains(heard, grid)).to(gain).clamp(0, 1))
        return share_out(gains, self.strength)

    def _spans(self, n_frames: int) -> Tensor | None:
        """Where the prompts are marked to sound and not to sound in this window, (1, N, 2, T)."""
        if not any(condition.anchors for condition in self.conditions):
            return None
        spans = torch.zeros(1, len(self._asked), 2, n_frames)
        for n, condition in enumerate(self._asked):
            for anchor in condition.anchors:
                start = round(anchor.span.start_s * SAMPLE_RATE / HOP) - self._first_frame
                stop = round(anchor.span.end_s * SAMPLE_RATE / HOP) - self._first_frame
                spans[0, n, 0 if anchor.present else 1, max(start, 0) : max(stop, 0)] = 1
        return spans.to(self.model.device)

    def _synthesise(self, gains: Tensor, spectrum: Tensor) -> Tensor:
        """Masked frames to sound by weighted overlap-add.

        Shape: gains (N, C or 1, N_BINS, t), spectrum (C, N_BINS, t) -> (N, C, t * HOP).
        """
        masked = gains * spectrum
        frames = torch.fft.irfft(masked.transpose(-1, -2), N_FFT) * self._window
        n_frames = frames.shape[-2]
        length = (n_frames - 1) * HOP + N_FFT
        flat = frames.flatten(0, 1).transpose(1, 2)
        summed = F.fold(flat, (1, length), (1, N_FFT), stride=(1, HOP))[:, 0, 0].unflatten(
            0, frames.shape[:2]
        )
        squares = self._window.square()[:, None].expand(-1, n_frames)[None]
        weight = F.fold(squares, (1, length), (1, N_FFT), stride=(1, HOP))[0, 0, 0]
        summed[..., : N_FFT - HOP] += self._overlap_add
        weight[: N_FFT - HOP] += self._weight
        ready = n_frames * HOP
        self._overlap_add, self._weight = summed[..., ready:].clone(), weight[ready:].clone()
        out = summed[..., :ready] / weight[:ready].clamp_min(1e-8)
        skipped = min(self._skip, ready)
        self._skip -= skipped
        return out[..., skipped:]


@dataclass
class Answer:
    """Masks (B, N, N_BANDS, T) of N prompts; the audio tower's vectors of the sound, if there is a tower; and logits of
    each prompt's sounding in each 40 ms frame, (B, N, T/2), if it was asked and tells."""

    masks: Tensor
    heard: AudioFeatures | None
    sounding: Tensor | None


def ask(
    network: MaskNetwork,
    tower: AudioTower | None,
    sound: Tensor,
    energies: Tensor,
    vectors: Tensor,
    vector_valid: Tensor,
    spans: Tensor | None = None,
    listen: bool = True,
    together: bool = True,
    tell_when: bool = False,
) -> Answer:
    """One excerpt through tower and network.

    Args:
        network: the separator's.
        tower: the audio tower, where the network hears or its opinion is asked.
        sound: (B, C, samples), at least T * HOP of them.
        energies: of its bands, (B, N_BANDS, T).
        vectors: of the prompts, (B, N, 384); with ``vector_valid`` (B, N).
        spans: where prompts are marked to sound and not to sound, (B, N, 2, T).
        listen: whether the tower says when prompts sound.
        together: whether the prompts compete with each other too.
        tell_when: whether the network is to say when they sound.
    """
    n_frames, rivalry = energies.shape[-1], network.rivalry
    maps = heard = own = candidates = None
    if tower is not None:
        maps = hear(tower, sound, n_frames)
        n_heard = maps[0].shape[2]
        features_ = tower.from_maps(maps, n_heard)
        first = n_heard - padded_frames(n_frames) * HOP // FRAME  # silence was put before the sound
        heard = AudioFeatures(features_.frames[:, first:], features_.clip)
        frames = heard.frames.float()

        def logits_of(words: Tensor) -> Tensor:
            return frame_logits(tower, frames, words)[..., :n_frames]

        if rivalry is None:
            own = logits_of(vectors)
        else:
            labels = logits_of(rivalry.labels)
            if spans is not None:
                vectors, vector_valid = rivalry.guess(vectors, vector_valid, labels, spans)
            own = logits_of(vectors)
            candidates = rivalry.candidates(
                vectors, vector_valid, own, labels, torch.full_like(vector_valid, together)
            )
    analysis = network.analyse(features(energies), maps)
    conditions = Conditions(
        vectors, vector_valid, _tracks(own if listen else None, vector_valid, spans, n_frames)
    )
    masks, sounding = network.respond(analysis, conditions, energies, candidates, tell_when)
    return Answer(masks.sigmoid(), heard, sounding)


def frame_logits(tower: AudioTower, frames: Tensor, words: Tensor) -> Tensor:
    """How much each 20 ms frame sounds like words: frames (B, T / 2, 384) of the tower, words (B, N, 384) or (N, 384)
    -> (B, N, T)."""
    return tower.logits(frames @ words.mT, FRAME_LEVEL).mT.repeat_interleave(FRAME // HOP, dim=-1)


def _tracks(activity: Tensor | None, valid: Tensor, spans: Tensor | None, n_frames: int) -> Tensor | None:
    """What is known of when the prompts sound (see :class:`Conditions`); ``activity`` are logits."""
    if activity is None and spans is None:
        return None
    tracks = torch.zeros(*valid.shape, 4, n_frames, device=valid.device)
    if activity is not None:
        known = valid[..., None].float()
        tracks[:, :, 0], tracks[:, :, 1] = activity.sigmoid() * known, known
    if spans is not None:
        tracks[:, :, 2:] = spans
    return tracks


def hear(tower: AudioTower, sound: Tensor, n_frames: int) -> list[Tensor]:
    """Maps of the audio tower's trunk for the first frames of a sound; see :class:`network.Hearing`.

    Channels meet as energies: a sound that cancels in mono is heard too.

    Args:
        sound: (B, C, samples) at any level.
        n_frames: of the network's 20 ms; the maps end with the last of them, padded to TIME_MULTIPLE.
    """
    length = padded_frames(n_frames) * HOP
    sound = sound[..., : n_frames * HOP]
    # silence goes before the sound: the newest is then heard with all that led to it
    sound = F.pad(sound, (-length % WINDOW, length - sound.shape[-1]))
    level = level_gain(
        sound.square().mean(dim=1), at_most=1e6
    )  # stems do not depend on the recording's level
    mel = tower.mel((sound * level[..., None]).flatten(0, 1)).unflatten(0, sound.shape[:2])
    return tower.trunk((torch.logsumexp(2 * mel, dim=1) - math.log(sound.shape[1])) / 2)


def _stack_vectors(conditions: list[Condition], config: NetworkConfig) -> tuple[Tensor, Tensor]:
    """Vectors (1, N, D) of the prompts, and which of them have one, (1, N) bool."""
    vectors = torch.zeros(1, len(conditions), config.prompt_dim)
    for n, condition in enumerate(conditions):
        if condition.vector is not None:
            vectors[0, n] = torch.from_numpy(condition.vector)
    return vectors, torch.tensor([[condition.vector is not None for condition in conditions]])


def hedged(masks: Tensor, energies: Tensor) -> Tensor:
    """Softens masks of which most is in doubt, and lets them keep their energy.

    Of sounds that it has never heard the network is surer than it should be, and a wrong guess in a soft mask costs
    less than one in a bold mask. The doubt is the share of what a mask takes that it does not take wholly. Which
    exponent suits which doubt was seen on the validation split (docs/quality.md); masks that are sure stay as they
    are, and since the energy stays, what is not there stays as quiet.

    Shapes: masks (N, N_BANDS, T) in 0..1, energies of the mixture (N_BANDS, T) -> (N, N_BANDS, T) in 0..1.
    """

    shares = energies / (energies.sum() + 1e-20)

    def total(x: Tensor) -> Tensor:
        return (x * shares).sum((-2, -1), keepdim=True)

    doubt = total(masks * (1 - masks)) / total(masks).clamp_min(1e-30)
    left = (1 - masks.sum(dim=0)).clamp_min(0)  # what the others are sure of is not in doubt
    soft = torch.minimum(masks ** (2.5 - 3 * doubt).clamp(0.4, 1), masks + left)
    return soft * (total(masks.square()) / total(soft.square()).clamp_min(1e-30)).sqrt()


def share_out(masks: Tensor, strength: float) -> Tensor:
    """Makes the masks of several prompts consistent: together they never take more than there is.

    ``strength`` bends each mask: below 1 it keeps more of what is doubtful, above 1 it cuts more boldly, and at 0
    nothing is cut at all.

    Shape: (N, ...) in 0..1 -> the same, summing over N to at most 1.
    """
    bent = masks if strength == 1 else masks.clamp_min(1e-6) ** strength
    return bent / bent.sum(dim=0, keepdim=True).clamp_min(1)
