"""Trains the audio tower of PE-AV nano: ``sam-audio train audio``.

Three losses on scenes we made ourselves: a sigmoid contrastive loss between clip vectors and the text vectors
of every term (Zhai et al. 2023), the same between frame vectors and text (PE-A-Frame), and agreement with
YAMNet on the names of its 521 classes, which keeps the tower able in words that our labels lack.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from peav import checkpoints
from peav.nano.audio import AudioConfig, AudioTower, levelled
from peav.nano.precision import autocast
from peav.nano.sound import CLIP, FRAME_LEVEL, TEACHER
from peav.nano.text import TextTower
from sam_audio.io.target import whole_file
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.mixing import Mixer
from sam_audio.training.data.tower_batches import SceneStream, Terms, build_terms, collate, scene
from sam_audio.training.log import append_row, short
from sam_audio.training.stopping import stop_signals
from sam_audio.training.yamnet import Yamnet, load_yamnet

log = logging.getLogger(__name__)

WEIGHTS = Path(checkpoints.__file__).with_name("weights") / "nano-audio.safetensors"


@dataclass(frozen=True)
class AudioRecipe:
    """Everything that a sitting depends on besides the data and the state it resumes from."""

    seconds: float = 4.8  # five windows of the trunk
    batch: int = 16
    learning_rate: float = 1e-3
    trunk_learning_rate: float = 0.0  # the separator has learned from the maps of the trunk as it is
    frozen_steps: int = 300  # a trunk that learns waits until what stands on it gives sensible gradients
    frozen_layers: int = 4  # what the first layers hear is general, and they take most of the time
    weight_decay: float = 0.02
    warmup_steps: int = 200
    cooldown: float = 0.4
    ema: float = 0.999
    text_noise: float = 0.02
    teacher_weight: float = 0.5
    frame_weight: float = 1.0
    softmax_weight: float = 4.0  # it tells labels apart; the sums over terms above are larger
    validate_minutes: float = 5.0
    save_minutes: float = 4.0


@dataclass
class AudioState:
    tower: AudioTower
    ema: AudioTower
    optimizer: torch.optim.Optimizer
    step: int = 0
    hours: float = 0.0

    def save(self, path: Path) -> None:
        modules = {name: getattr(self, name).state_dict() for name in _MODULES}
        with whole_file(path) as file:
            torch.save({**modules, "step": self.step, "hours": self.hours}, file)


_MODULES = ("tower", "ema", "optimizer")


def load_state(path: Path, recipe: AudioRecipe, yamnet: Yamnet) -> AudioState:
    """The state to go on from; else the shipped weights; else YAMNet's trunk and random heads."""
    torch.manual_seed(0)
    tower, ema = AudioTower(AudioConfig()), AudioTower(AudioConfig())
    tower.trunk.load_state_dict(yamnet.trunk.state_dict())
    if not path.exists() and WEIGHTS.exists():
        tower.load_state_dict(checkpoints.load(WEIGHTS, "audio").tensors)
        log.info("starting from the shipped weights, with a fresh optimizer")
    ema.load_state_dict(tower.state_dict())
    trunk = list(tower.trunk.parameters())
    scales = [tower.logit_scale, tower.logit_bias]
    heads = [p for n, p in tower.named_parameters() if not n.startswith(("trunk.", "logit_"))]
    groups = [
        {"params": trunk, "weight_decay": recipe.weight_decay, "share": recipe.trunk_learning_rate},
        {"params": heads, "weight_decay": recipe.weight_decay, "share": recipe.learning_rate},
        {"params": scales, "weight_decay": 0.0, "share": 20 * recipe.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    state = AudioState(tower, ema.eval(), optimizer)
    if path.exists():
        saved = torch.load(path, weights_only=True)
        for name in _MODULES:
            getattr(state, name).load_state_dict(saved[name])
        for group, now in zip(optimizer.param_groups, groups, strict=True):
            group["share"] = now["share"]  # the recipe's, whatever it was when the state was saved
        state.step, state.hours = saved["step"], saved["hours"]
        log.info("resuming after step %d, %.2f hours", state.step, state.hours)
    return state


class TermVectors:
    """Text vectors of every phrasing of every term; one phrasing is drawn each time."""

    def __init__(self, terms: Terms, text: TextTower):
        flat = [phrase for phrases in terms.phrases for phrase in phrases]
        self.vectors = text.embed(flat)
        counts = np.array([len(phrases) for phrases in terms.phrases])
        # hypernyms hold so often that they would drown the labels
        self.weights = torch.where(torch.arange(len(counts)) < len(terms.label_index), 1.0, 0.2)
        # somebody who asks for a sound has reason to: what is asked for is likelier than one label of hundreds
        self.positive_weights = torch.where(torch.arange(len(counts)) < len(terms.label_index), 10.0, 2.0)
        self.start, self.counts = np.concatenate([[0], np.cumsum(counts)[:-1]]), counts

    def draw(self, rng: np.random.Generator, noise: float) -> Tensor:
        vectors = self.vectors[torch.from_numpy(self.start + rng.integers(self.counts))]
        return F.normalize(vectors + noise * torch.randn_like(vectors), dim=-1)

    def names(self) -> Tensor:
        return self.vectors[torch.from_numpy(self.start)]


def sigmoid_loss(logits: Tensor, truth: Tensor, positive_weight: float | Tensor = 1.0) -> Tensor:
    """Sigmoid contrastive loss; truth 1, 0 or -1 (left out), summed over terms, mean over the rest.

    ``positive_weight`` is how much more a term that holds counts; one for all or one each, (N,) or (N, 1).

    Shapes: logits and truth (B, N) or (B, N, T).
    """
    known = (truth >= 0).float() * torch.where(truth > 0, positive_weight, 1.0)
    per_cell = F.binary_cross_entropy_with_logits(logits, (truth > 0).float(), reduction="none") * known
    return per_cell.sum(1).mean()


def softmax_loss(logits: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of each term that holds against those that do not; (B, N) both, weights (N,)."""
    negatives = logits.masked_fill(truth != 0, -torch.inf).logsumexp(1, keepdim=True)
    per_term = F.softplus(negatives - logits)  # -log(e^l / (e^l + sum of negatives))
    holds = (truth > 0).float() * (1 if weights is None else weights)
    return ((per_term * holds).sum(1) / holds.sum(1).clamp(min=1e-3))[(truth > 0).any(1)].mean()


def training_step(
    state: AudioState,
    batch: dict[str, Tensor],
    vectors: TermVectors,
    yamnet: Yamnet,
    class_vectors: Tensor,
    recipe: AudioRecipe,
    rng: np.random.Generator,
    rate: float,
) -> dict[str, float]:
    """One optimizer step; returns the parts of the loss."""
    for group in state.optimizer.param_groups:
        group["lr"] = group["share"] * rate
    state.tower.trunk.requires_grad_(recipe.trunk_learning_rate > 0 and state.step >= recipe.frozen_steps)
    for early in (state.tower.trunk.stem, *state.tower.trunk.layers[: recipe.frozen_layers]):
        early.requires_grad_(False)
    n_frames = batch["frames"].shape[-1]
    text = vectors.draw(rng, recipe.text_noise)
    with torch.no_grad():
        mel = state.tower.mel(levelled(batch["waveform"]))
        mel = _coloured(mel, rng)
        with autocast():
            taught = yamnet.window_probabilities(mel).float().amax(1)  # (B, 521): the surest window counts
    with autocast():
        frames, clip = state.tower.from_mel(mel, n_frames)
        frame_dots = frames @ text.T  # (B, T, N)
    heard = (batch["frames"] > 0).any(1)
    clip_logits = state.tower.logits(clip @ text.T, CLIP)
    frame_logits = state.tower.logits(frame_dots.float().transpose(1, 2), FRAME_LEVEL)
    class_logits = state.tower.logits(clip @ class_vectors.T, TEACHER)
    parts = {
        "clip": sigmoid_loss(clip_logits, batch["clip"], vectors.positive_weights),
        "softmax": softmax_loss(clip_logits, batch["clip"], vectors.weights),
        "frame_softmax": softmax_loss(
            frame_logits.transpose(1, 2)[heard], batch["frames"].transpose(1, 2)[heard], vectors.weights
        ),
        "frames": sigmoid_loss(frame_logits, batch["frames"], vectors.positive_weights[:, None]),
        "teacher": F.binary_cross_entropy_with_logits(class_logits, taught, reduction="none").sum(1).mean(),
    }
    loss = (
        parts["clip"]
        + recipe.softmax_weight * (parts["softmax"] + parts["frame_softmax"])
        + recipe.frame_weight * parts["frames"]
        + recipe.teacher_weight * parts["teacher"]
    )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = list(state.tower.parameters())
    norm = torch.nn.utils.clip_grad_norm_([p for p in parameters if p.grad is not None], 5.0)
    if torch.isfinite(norm):
        state.optimizer.step()
    state.step += 1
    with torch.no_grad():
        decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
        averaged: list[Tensor] = list(state.ema.parameters())
        torch._foreach_lerp_(averaged, list(parameters), 1 - decay)
    return {name: float(value.detach()) for name, value in parts.items()} | {"gradient": float(norm)}


def _coloured(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Another microphone: a smooth colour over the bands, now and then a low-pass, and steady noise."""
    b, _, n_mels = mel.shape
    knots = torch.from_numpy(rng.normal(0, 0.5, (b, 1, 6))).float()
    colour = F.interpolate(knots, n_mels, mode="linear", align_corners=True)
    edge = torch.from_numpy(np.where(rng.random(b) < 0.2, rng.uniform(30, 60, b), 100.0)).float()
    colour = colour - 0.5 * (torch.arange(n_mels) - edge[:, None]).clamp(min=0)[:, None]
    amplitude = (mel.exp() - 1e-3).clamp(min=0) * colour.exp()
    floor = torch.from_numpy(10 ** rng.uniform(-5, -1.5, (b, 1, 1))).float()
    noise = floor * torch.rand_like(mel) * torch.linspace(0.5, 1.5, n_mels)
    return torch.log(amplitude + noise + 1e-3)


# ---- the sitting ---------------------------------------------------------------------------------------


def train(
    bank_dir: Path, run_dir: Path, minutes: float, recipe: AudioRecipe | None = None, threads: int = 2
) -> AudioState:
    """One sitting; saves to ``run_dir`` as it goes, and when stopped by SIGTERM or Ctrl-C."""
    recipe = recipe or AudioRecipe()
    torch.set_num_threads(threads)
    run_dir.mkdir(parents=True, exist_ok=True)
    yamnet = load_yamnet()
    state = load_state(run_dir / "state.pt", recipe, yamnet)
    text = TextTower.from_pretrained("nano")
    vectors, class_vectors = TermVectors(build_terms(), text), text.embed(yamnet.classes)
    stream = SceneStream(bank_dir, "train", recipe.seconds, recipe.batch, seed=state.step + 1)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4))
    validation = validation_set(bank_dir, recipe)
    rng = np.random.default_rng(state.step + 2)
    begun = last_save = last_validation = time.monotonic()
    hours_before, first_step = state.hours, state.step
    running: dict[str, float] = {}
    with stop_signals() as stopping:
        while not stopping:
            now = time.monotonic()
            progress = (now - begun) / (minutes * 60) if minutes else 1.0
            if progress >= 1:
                break
            rate = min(1.0, (state.step - first_step + 1) / recipe.warmup_steps)
            rate *= min(1.0, max((1 - progress) / recipe.cooldown, 0.02))
            parts = training_step(state, next(batches), vectors, yamnet, class_vectors, recipe, rng, rate)
            for name, value in parts.items():
                running[name] = 0.98 * running.get(name, value) + 0.02 * value
            state.hours = hours_before + (time.monotonic() - begun) / 3600
            if now - last_save > recipe.save_minutes * 60:
                state.save(run_dir / "state.pt")
                last_save = now
            if now - last_validation > recipe.validate_minutes * 60:
                _report(run_dir, state, running, validate(state, validation, vectors.names()))
                last_validation = time.monotonic()
            if state.step % 100 == 0:
                speed = (state.step - first_step) * recipe.batch / (time.monotonic() - begun)
                log.info("step %d, %.1f scenes/s: %s", state.step, speed, short(running))
    state.save(run_dir / "state.pt")
    _report(run_dir, state, running, validate(state, validation, vectors.names()))
    return state


def validation_set(bank_dir: Path, recipe: AudioRecipe, n_batches: int = 24) -> list[dict[str, Tensor]]:
    """The same held-out scenes every time."""
    mixer = Mixer(Bank(bank_dir), "valid", recipe.seconds, seed=0)
    terms = build_terms()
    batches = []
    for _ in range(n_batches):
        arrays = collate([scene(mixer) for _ in range(recipe.batch)], terms, mixer.rng)
        batches.append({name: torch.from_numpy(array) for name, array in arrays.items()})
    return batches


@torch.inference_mode()
def validate(state: AudioState, batches: list[dict[str, Tensor]], text: Tensor) -> dict[str, float]:
    """Share of clips whose best term holds, and F1 of frames at probability one half."""
    right, hits, claimed, there = [], 0.0, 0.0, 0.0
    for batch in batches:
        frames, clip = state.ema(batch["waveform"])
        dots = (clip @ text.T).masked_fill(batch["clip"] < 0, -2)
        right.append(batch["clip"].gather(1, dots.argmax(1, keepdim=True))[:, 0] > 0)
        active = state.ema.logits((frames @ text.T).transpose(1, 2), FRAME_LEVEL) > 0
        known, truth = batch["frames"] >= 0, batch["frames"] > 0
        hits += float((active & truth & known).sum())
        claimed += float((active & known).sum())
        there += float((truth & known).sum())
    return {"top_1": torch.cat(right).float().mean().item(), "frame_f1": 2 * hits / (claimed + there)}


def export_weights(state: AudioState, path: Path) -> None:
    """Writes what is shipped: int8 weights with a scale a row, the rest float16, the config beside it."""
    tensors = state.ema.state_dict()
    int8 = {name for name, tensor in tensors.items() if tensor.ndim > 1 and tensor[0].numel() >= 32}
    checkpoints.save(path, "audio", {"model": state.ema.config.to_dict()}, tensors, int8=int8)
    log.info("exported %s", path)


def _report(run_dir: Path, state: AudioState, running: dict[str, float], scores: dict[str, float]) -> None:
    row = {"hours": round(state.hours, 3), "step": state.step}
    row |= {name: round(value, 4) for name, value in (running | scores).items()}
    append_row(run_dir / "log.csv", row)
    log.info("validation after %.2f h: %s", state.hours, short(scores))
