"""Trains the nano separator: ``sam-audio train separator --recipe nano``.

One sitting runs for a given number of hours, resuming from the state in the cache folder: the learning rate
warms up, stays, and falls over most of the sitting, so that every sitting ends on usable weights.
"""

from __future__ import annotations

import csv
import logging
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from peav import checkpoints
from peav.nano.audio import SCALES, AudioTower
from peav.nano.precision import autocast
from peav.nano.sound import FRAME
from sam_audio.io.target import whole_file
from sam_audio.separator.nano.bands import HOP, N_BANDS
from sam_audio.separator.nano.engine import WEIGHTS
from sam_audio.separator.nano.listening import Asked, conditions_of, frame_logits, hear
from sam_audio.separator.nano.network import Conditions, MaskNetwork, NetworkConfig, channels_last
from sam_audio.separator.nano.options import NanoOptions
from sam_audio.separator.nano.rivals import Candidates
from sam_audio.separator.nano.spectra import features, stft, to_bands
from sam_audio.separator.nano.torch_engine import load_tower, network_of
from sam_audio.training.data import labels as label_table
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.examples import Examples, load_examples
from sam_audio.training.data.mixing import Mixer, Mixture, Query
from sam_audio.training.data.songs import song_phrases
from sam_audio.training.log import append_row, short
from sam_audio.training.losses import (
    BandStatistics,
    Energies,
    separation_loss,
    sounding_frames,
    sounding_loss,
)
from sam_audio.training.optimizer import MuonAdamW
from sam_audio.training.parallel import Team, team_of
from sam_audio.training.stopping import STOP_SIGNALS, stop_signals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Everything that a sitting depends on besides the data and the state it resumes from."""

    seconds: float = (
        3.84  # 192 frames: a multiple of the trunk's time stride and of the audio tower's windows
    )
    batch: int = 8  # many small steps learn faster than few large ones at this scale
    max_prompts: int = 6
    max_sources: int = 5
    learning_rate: float = 5e-4  # 1.2e-3 was right for the first 50,000 mixtures, 6e-4 for the next 250,000
    weight_decay: float = 0.01
    warmup_steps: int = 60
    cooldown: float = 0.8  # last share of the sitting, learning rate falling linearly to 3 %
    ema: float = 0.997  # 0.999 hardly moves in sittings of fewer than 2,000 steps
    clip_norm: float = 1.0
    waveform_weight: float = (
        0.15  # of a dB, beside the cross-entropy of masks; three times as much as up to 338,000
    )
    mask_weight: float = 1.0
    when_weight: float = 0.2  # of the cross-entropy of when prompts sound
    vector_noise: float = 0.02  # per dimension; neighbours of a phrase mean the same
    tracks_share: float = 0.5  # of mixtures where activity or spans may be known
    no_vector_share: float = 0.3  # of prompts with spans that have no text
    example_share: float = 0.25  # of prompts that are a sound or a picture in place of words
    activity_share: float = 0.5  # of mixtures where the audio tower says when each prompt sounds
    validate_minutes: float = 10.0
    save_minutes: float = 4.0
    together_share: float = 0.4  # of mixtures whose prompts are asked together and compete with each other
    network: NetworkConfig = field(
        default_factory=lambda: NetworkConfig(
            # deeper since 355,712 mixtures: by then it was no better on recordings that it had learned from than on
            # held-out ones
            blocks=(2, 2, 3, 5),
            attention_layers=4,
            hears=True,
            n_labels=len(label_table.load_labels()),
            n_hypernyms=len(label_table.hypernyms()),
            tells_when=True,
        )
    )


RECIPES = {"nano": Recipe()}
LARGE = 4096  # weights that are worth storing in int8
SEEDS_APART = 10_000_019  # of two processes: neither gets to where another began


# ---- batches -------------------------------------------------------------------------------------------


def phrase_list() -> list[str]:
    """Every phrase a training prompt may use, in a fixed order."""
    table = label_table.load_labels()
    phrases = {p for name in table for p in label_table.natural_phrases(name)}
    phrases |= {p for label in table.values() for p in label.phrases}
    phrases |= {parent for label in table.values() for parent in label.parents} | set(table)
    return sorted(phrases.union(song_phrases()))


class MixtureStream(IterableDataset):
    """Endless batches, measured and heard (see :func:`collate` and :func:`heard`): the worker's core does it all."""

    def __init__(self, bank_dir: Path, split: str, recipe: Recipe, seed: int):
        self.bank_dir, self.split, self.recipe, self.seed = bank_dir, split, recipe, seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        tower = load_tower()
        mixer = Mixer(Bank(self.bank_dir), self.split, self.recipe.seconds, self.seed)
        rows = PromptRows(load_examples(self.bank_dir))
        while True:
            mixtures = [mixer.mixture() for _ in range(self.recipe.batch)]
            yield heard(collate(mixtures, rows, self.recipe, mixer.rng), tower)


class PromptRows:
    """Where in the table of vectors (:class:`PromptVectors`) phrases are, and the examples of labels."""

    def __init__(self, examples: Examples) -> None:
        phrases = phrase_list()
        self.of_phrase = {phrase: row for row, phrase in enumerate(phrases)}
        self.of_label = {label: len(phrases) + rows for label, rows in examples.rows.items()}

    def draw(self, prompt: Query, example_share: float, rng: np.random.Generator) -> int:
        """The row of one way to ask."""
        examples = self.of_label.get(prompt.label)
        if examples is not None and rng.random() < example_share:
            return int(examples[rng.integers(len(examples))])
        return self.of_phrase[prompt.phrases[rng.integers(len(prompt.phrases))]]


def collate(
    mixtures: list[Mixture], rows: PromptRows, recipe: Recipe, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Packs B mixtures into arrays.

    Returns:
        ``sources`` (B, S, samples) float32, ``members`` (B, N, S) float32, ``asked`` (B, N) int64,
        ``vector_valid``, ``present``, ``absent`` (B, N) bool, ``tracks`` (B, N, 4, frames) float32, ``together``
        (B,) bool; N is the greatest number of prompts of these mixtures.
    """
    n_samples = len(mixtures[0].sources[0].samples)
    shape = len(mixtures), min(recipe.max_prompts, max(len(mixture.prompts) for mixture in mixtures))
    n_frames = n_samples // HOP
    batch: dict[str, np.ndarray] = {
        "sources": np.zeros((shape[0], recipe.max_sources, n_samples), np.float32),
        "members": np.zeros((*shape, recipe.max_sources), np.float32),
        "asked": np.zeros(shape, np.int64),
        "vector_valid": np.ones(shape, bool),
        "present": np.zeros(shape, bool),
        "absent": np.zeros(shape, bool),
        "tracks": np.zeros((*shape, 4, n_frames), np.float32),
        "together": rng.random(shape[0]) < recipe.together_share,
    }
    for b, mixture in enumerate(mixtures):
        for s, source in enumerate(mixture.sources[: recipe.max_sources]):
            batch["sources"][b, s] = source.samples
        batch["tracks"][b, :, 1] = rng.random() < recipe.activity_share
        with_tracks = rng.random() < recipe.tracks_share
        for n, prompt in enumerate(mixture.prompts[: recipe.max_prompts]):
            batch["asked"][b, n] = rows.draw(prompt, recipe.example_share, rng)
            members = [i for i in prompt.members if i < recipe.max_sources]
            batch["members"][b, n, members] = 1
            target = batch["sources"][b, members].sum(axis=0)
            level = np.square(target.reshape(n_frames, HOP)).mean(axis=1)
            # a prompt whose sound happens not to fall into the excerpt is an absent one
            batch["present"][b, n] = level.max() > 1e-8
            batch["absent"][b, n] = not batch["present"][b, n]
            if with_tracks:
                active = level > max(level.max() * 10**-3.5, 1e-7)
                batch["tracks"][b, n, 2:] = _spans(active, rng)
                spans_known = batch["tracks"][b, n, 2].any() and batch["present"][b, n]
                batch["vector_valid"][b, n] = not (spans_known and rng.random() < recipe.no_vector_share)
    return batch


def _spans(active: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What somebody could have marked: where the target sounds, and where it does not.

    Shape: active (T,) bool -> (2, T).
    """
    n_frames = len(active)
    present, absent = spans = np.zeros((2, n_frames), np.float32)
    if rng.random() < 0.4:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], active.view(np.int8), [0]])))
        for start, stop in edges.reshape(-1, 2):
            if rng.random() < 0.8:
                slack = rng.integers(-4, 10, size=2)  # people mark a little wide
                present[max(0, start - slack[0]) : stop + slack[1]] = 1
        if rng.random() < 0.5:
            quiet = np.convolve(active.astype(np.float32), np.ones(15), "same") == 0
            start, length = rng.integers(n_frames), rng.integers(10, n_frames)
            absent[start : start + length] = quiet[start : start + length]
        present *= 1 - absent
    return spans


# ---- one step ------------------------------------------------------------------------------------------


def spectral_statistics(sources: Tensor, members: Tensor) -> BandStatistics:
    """Band energies of mixtures and targets.

    Shapes: sources (B, S, samples), members (B, N, S); statistics (B, N or 1, N_BANDS, samples // HOP), laid out frame
    by frame as masks are, and scaled so that a mixture's mean cell energy is 1.
    """
    n_frames, n_prompts = sources.shape[-1] // HOP, members.shape[1]
    energies = sources.new_zeros(len(sources), 1 + 2 * n_prompts, n_frames, N_BANDS)
    # one mixture at a time, silent padding left out: it then stays in the processor's cache
    for b in range(len(sources)):
        used = sources[b].any(dim=-1)
        if used.any():
            pairs, first, second = _pair_energies(sources[b][used], n_frames)
            m = members[b][:, used]
            weights = torch.cat(
                [torch.ones(1, len(first)), m[:, first] * m[:, second], (m[:, first] + m[:, second]) / 2]
            ) * torch.where(first == second, 1.0, 2.0)
            energies[b] = (weights @ pairs.flatten(1)).unflatten(1, pairs.shape[1:]).mT
    mixture, target, cross = energies.mT.split([1, n_prompts, n_prompts], dim=1)
    scale = 1 / (mixture.mean(dim=(-2, -1), keepdim=True) + 1e-10)
    return BandStatistics(mixture.clamp_min(0) * scale, target.clamp_min(0) * scale, cross * scale)


def _pair_energies(sources: Tensor, n_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Re(X_i X_j*) of all pairs of sources i <= j, summed in bands, and their i and j. Energies of sums of sources are
    sums of these.

    Shape: (S, samples) -> (P, N_BANDS, T), (P,), (P,).
    """
    spec = stft(sources)[..., :n_frames]
    real, imag = spec.real.contiguous(), spec.imag.contiguous()
    first, second = torch.triu_indices(len(spec), len(spec))
    pairs = torch.empty(len(first), *real.shape[1:])
    for product, i, j in zip(pairs, first.tolist(), second.tolist(), strict=True):
        torch.mul(real[i], real[j], out=product).addcmul_(imag[i], imag[j])
    return to_bands(pairs), first, second


@torch.no_grad()
def heard(arrays: dict[str, np.ndarray], tower: AudioTower) -> dict[str, Tensor]:
    """A collated batch in which band statistics and what the audio tower hears stand for the sources.

    Returns:
        All of ``arrays`` but ``sources``; ``mixture``, ``target``, ``cross`` of :class:`BandStatistics`; the maps of
        the tower's trunk, ``map0`` to ``map3``; and its ``frames`` (B, T / 2, 384).
    """
    batch = {name: torch.from_numpy(array) for name, array in arrays.items()}
    sources = batch.pop("sources")
    batch |= vars(spectral_statistics(sources, batch["members"]))
    mixture = sources.sum(dim=1, keepdim=True)
    with autocast():
        maps = hear(tower, mixture, mixture.shape[-1] // HOP)
        frames = tower.from_maps(maps, mixture.shape[-1] // FRAME).frames
    return batch | {f"map{level}": x for level, x in enumerate(maps)} | {"frames": frames.float()}


class PromptVectors:
    """Joint-space vectors of all training phrases, from the shipped text tower, and of examples."""

    def __init__(self, examples: Examples) -> None:
        from peav.nano.text import TextTower

        words = TextTower.from_pretrained("nano").embed(phrase_list())
        self.table = torch.cat([words, torch.from_numpy(examples.vectors)])

    def __call__(self, indices: Tensor, noise: float = 0.0) -> Tensor:
        vectors = self.table[indices]
        if noise:
            vectors = F.normalize(vectors + noise * torch.randn_like(vectors), dim=-1)
        return vectors


class NetworkInputs(NamedTuple):
    """All that the network is given of a batch, in the order in which it takes them."""

    features: Tensor
    conditions: Conditions
    maps: list[Tensor]
    energies: Tensor
    candidates: Candidates | None


def question(
    network: MaskNetwork,
    batch: dict[str, Tensor],
    vectors: Tensor,
    tower: AudioTower,
    noise: np.random.Generator | None = None,
) -> NetworkInputs:
    """What the audio tower hears joins the batch's prompts.

    Args:
        network: with the vocabulary of rivals.
        batch: see :func:`heard`.
        vectors: of the prompts, (B, N, 384).
        tower: only turns similarities into logits.
        noise: the tower has heard the training recordings before; this makes its opinion of when less sure.
    """

    def resembles(words: Tensor) -> Tensor:
        logits = frame_logits(tower, batch["frames"], words)
        if noise is not None:
            shape = *logits.shape[:2], 1
            sharpness = torch.from_numpy(noise.uniform(0.5, 1.1, shape)).float()
            logits = logits * sharpness + torch.from_numpy(noise.normal(0, 1, shape)).float()
        return logits

    asked = Asked(
        vectors,
        batch["vector_valid"],
        (batch["present"] | batch["absent"]) & batch["together"][:, None],
        spans=batch["tracks"][:, :, 2:],
        listen=batch["tracks"][:, :, 1],
    )
    conditions, candidates = conditions_of(asked, resembles, network.rivalry)
    energies = batch["mixture"][:, 0]
    maps = [batch[f"map{level}"] for level in range(len(SCALES))]
    return NetworkInputs(features(energies), conditions, maps, energies, candidates)


def statistics(batch: dict[str, Tensor]) -> BandStatistics:
    """Of a batch that is :func:`heard`."""
    return BandStatistics(batch["mixture"], batch["target"], batch["cross"])


# ---- the sitting ---------------------------------------------------------------------------------------


@dataclass
class State:
    network: MaskNetwork
    ema: MaskNetwork
    optimizer: MuonAdamW
    step: int = 0
    mixtures: int = 0
    hours: float = 0.0

    def save(self, path: Path) -> None:
        content = {
            "config": asdict(self.network.config),
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "mixtures": self.mixtures,
            "hours": self.hours,
        }
        with whole_file(path) as file:
            torch.save(content, file)


def fill_vocabulary(*networks: MaskNetwork) -> None:
    """Gives networks the labels, what they are kinds of, and the shipped text tower's vectors of both."""
    from peav.nano.text import TextTower

    rivalries = [network.rivalry for network in networks if network.rivalry is not None]
    if not rivalries:
        return
    table = label_table.load_labels()
    labels = sorted(table)
    words = [*labels, *label_table.hypernyms()]
    vectors = TextTower.from_pretrained("nano").embed(words)
    for rivalry in rivalries:
        rivalry.vectors.copy_(vectors)
        for row, label in enumerate(labels):
            for parent in table[label].parents:
                rivalry.kinds[row, words.index(parent)] = 1


def load_state(path: Path, recipe: Recipe, seed: int = 0, team: Team | None = None) -> State:
    """The state to go on from, or a fresh one with weights drawn by ``seed``; it steps with the ``team``."""
    torch.manual_seed(seed)
    network, ema = (channels_last(MaskNetwork(recipe.network)) for _ in range(2))
    ema.load_state_dict(network.state_dict())
    optimizer = MuonAdamW(network, recipe.learning_rate, recipe.weight_decay, team)
    state = State(network, ema.eval(), optimizer)
    if path.exists():
        saved = torch.load(path, weights_only=True)
        before = NetworkConfig.of(saved["config"])
        same = before == recipe.network
        for module, name in ((network, "network"), (ema, "ema")):
            module.load_state_dict(saved[name], strict=not recipe.network.grows_from(before))
        if same and optimizer.made(saved["optimizer"]):
            optimizer.load_state_dict(saved["optimizer"])
        else:
            log.info("a fresh optimizer: the saved one is of another kind or of another network")
        state.step, state.mixtures, state.hours = saved["step"], saved["mixtures"], saved["hours"]
        log.info("resuming after %d mixtures, %.2f hours", state.mixtures, state.hours)
    elif WEIGHTS.exists():
        checkpoint = checkpoints.load(WEIGHTS, "separator")
        shipped = network_of(checkpoint)
        # a machine without the state starts from what is shipped
        if recipe.network.grows_from(shipped.config):
            for module in (network, ema):
                module.load_state_dict(shipped.state_dict(), strict=False)
            state = replace(state, **checkpoint.config.get("trained", {}))
            log.info("starting from the shipped weights, with a fresh optimizer")
    fill_vocabulary(network, ema)
    return state


def train(
    bank_dir: Path, run_dir: Path, hours: float, recipe: Recipe, threads: int = 1, processes: int = 1
) -> State:
    """One sitting of training; saves to ``run_dir`` as it goes, and when stopped by SIGTERM or Ctrl-C.

    Args:
        threads: of each process, beside one that makes its mixtures.
        processes: how many learn from ``recipe.batch`` mixtures each and step together.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    sitting = bank_dir, run_dir, hours, recipe, threads
    with team_of(processes, _learn, *sitting) as team:
        return _learn(team, *sitting)


def _learn(team: Team, bank_dir: Path, run_dir: Path, hours: float, recipe: Recipe, threads: int) -> State:
    """A sitting of one process of the team; the leader keeps the time, the state and the log."""
    torch.set_num_threads(threads)
    # momenta of what gets no gradient for long become numbers that processors are a hundred times slower with
    torch.set_flush_denormal(True)
    state_path = run_dir / "state.pt"
    state = load_state(state_path, recipe, team=team)
    seed = state.mixtures + team.rank * SEEDS_APART
    torch.manual_seed(seed)
    vectors = PromptVectors(load_examples(bank_dir))
    stream = MixtureStream(bank_dir, "train", recipe, seed=seed + 1)
    batches = iter(
        DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=4, worker_init_fn=_outlive_signals)
    )
    validation = validation_set(bank_dir, recipe) if team.leads else []
    tower = AudioTower.from_pretrained("nano")
    rng = np.random.default_rng(seed + 2)

    begun = last_save = last_validation = time.monotonic()
    hours_before, first_step = state.hours, state.step
    running: dict[str, float] = {}
    with stop_signals() as stopping:
        while True:
            now = time.monotonic()
            progress = (now - begun) / (hours * 3600) if hours else 1.0
            progress = float(team.follow(torch.tensor(1.0 if stopping else progress, dtype=torch.float64)))
            if progress >= 1:
                break
            rate = rate_at(progress, state.step - first_step, recipe)
            parts = training_step(state, next(batches), vectors, tower, recipe, rng, rate, team)
            if not team.leads:
                continue
            for name, value in parts.items():
                running[name] = 0.99 * running.get(name, value) + 0.01 * value
            state.hours = hours_before + (time.monotonic() - begun) / 3600
            if now - last_save > recipe.save_minutes * 60:
                state.save(state_path)
                last_save = now
            if now - last_validation > recipe.validate_minutes * 60:
                _report(run_dir, state, running, validate(state.ema, validation, vectors, tower))
                last_validation = time.monotonic()
            if state.step % 100 == 0:
                n_mixtures = (state.step - first_step) * recipe.batch * team.size
                rate = n_mixtures / (time.monotonic() - begun)
                log.info("step %d, %d mixtures, %.1f/s: %s", state.step, state.mixtures, rate, short(running))
    if team.leads:
        state.save(state_path)
        _report(run_dir, state, running, validate(state.ema, validation, vectors, tower))
    return state


def _outlive_signals(_worker: int) -> None:
    """Ctrl-C reaches the whole process group: a loader must go on until its learner has stopped."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def rate_at(progress: float, steps: int, recipe: Recipe) -> float:
    """Learning rate of a sitting of which ``progress`` (0..1) is over, after so many steps of it."""
    warmup = min(1.0, (steps + 1) / recipe.warmup_steps)
    cooldown = min(1.0, max((1 - progress) / recipe.cooldown, 0.03))
    return recipe.learning_rate * warmup * cooldown


def training_step(
    state: State,
    batch: dict[str, Tensor],
    vectors: PromptVectors,
    tower: AudioTower,
    recipe: Recipe,
    rng: np.random.Generator,
    learning_rate: float,
    team: Team | None = None,
) -> dict[str, float]:
    """One optimizer step, together with the rest of the team; returns the parts of this process' loss."""
    team = team or Team()
    with torch.no_grad():
        prompts = vectors(batch["asked"], recipe.vector_noise)
        given = question(state.network, batch, prompts, tower, rng)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    network, stats = state.network, statistics(batch)
    with autocast():
        response = network.respond(
            network.analyse(given.features, given.maps), given.conditions, given.energies, given.candidates
        )
    present, absent = batch["present"], batch["absent"]
    loss, parts = separation_loss(
        response.masks, stats, present, absent, recipe.waveform_weight, recipe.mask_weight
    )
    if response.sounding is not None:
        when = sounding_loss(response.sounding, stats, present | absent)
        loss, parts["when"] = loss + recipe.when_weight * when, when.item()
    state.optimizer.zero_grad()
    loss.backward()
    team.average_gradients(state.network.parameters())
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip_norm)
    if torch.isfinite(norm):
        state.optimizer.step()
    state.step += 1
    state.mixtures += len(batch["asked"]) * team.size
    with torch.no_grad():
        decay = min(recipe.ema, (1 + state.step) / (10 + state.step))
        torch._foreach_lerp_(list(state.ema.parameters()), list(state.network.parameters()), 1 - decay)
    return {**parts, "gradient": float(norm)}


def validation_set(bank_dir: Path, recipe: Recipe, n_batches: int = 24) -> list[dict[str, Tensor]]:
    """The same held-out mixtures every time: pairs and triples at -5..5 dB, each with an absent prompt."""
    mixer = Mixer(Bank(bank_dir), "valid", recipe.seconds, seed=0)
    rows, recipe = PromptRows(Examples.none()), replace(recipe, example_share=0.0)
    tower = load_tower()
    kinds = [
        ("event", "event"),
        ("speech", "event"),
        ("instrument", "instrument"),
        ("event", "ambience", "speech"),
    ]
    batches = []
    for i in range(n_batches):
        mixtures = []
        for b in range(recipe.batch):
            kind = kinds[(i * recipe.batch + b) % len(kinds)]
            mixture = mixer.pair(kind, list(mixer.rng.uniform(-5, 5, len(kind))))
            mixture.prompts = mixer.prompts(mixture.sources)
            mixtures.append(mixture)
        arrays = collate(mixtures, rows, recipe, mixer.rng)
        arrays["tracks"][:] = 0
        arrays["tracks"][:, :, 1] = NanoOptions.predict_spans
        arrays["vector_valid"][:] = True
        arrays["together"][:] = False
        batches.append(heard(arrays, tower))
    return batches


@torch.inference_mode()
def validate(
    network: MaskNetwork, batches: list[dict[str, Tensor]], vectors: PromptVectors, tower: AudioTower
) -> dict[str, float]:
    """SI-SDR improvement over the mixture in dB (from band energies), and the level of absent prompts."""
    gains, absent, frames = [], [], []
    for batch in batches:
        stats = statistics(batch)
        given = question(network, batch, vectors(batch["asked"]), tower)
        with autocast():
            analysis = network.analyse(given.features, given.maps)
            logits, sounding = network.respond(analysis, given.conditions, given.energies, given.candidates)
        masks = logits.sigmoid()
        if sounding is not None:
            asked = batch["present"] | batch["absent"]
            truth, claimed = sounding_frames(stats)[asked], sounding[asked] > 0
            frames.append([(claimed & (truth > 0)).sum(), (claimed & (truth >= 0)).sum(), (truth > 0).sum()])
        energies = Energies.of(masks, stats)
        untouched = Energies.of(torch.ones_like(masks), stats)
        gains.append((energies.si_sdr(60) - untouched.si_sdr(60))[batch["present"]])
        absent.append(10 * torch.log10(energies.estimate / energies.mixture + 1e-9)[batch["absent"]])
    gain, level = torch.cat(gains), torch.cat(absent)
    hits, claims, there = np.sum(frames, axis=0) if frames else (0, 0, 1)
    return {
        "median_si_sdri": gain.median().item(),
        "mean_si_sdri": gain.mean().item(),
        "improved": (gain > 0).float().mean().item(),
        "absent_median_db": level.median().item(),
        "frame_f1": float(2 * hits / (claims + there)),
    }


def export_weights(state: State, path: Path) -> None:
    """Writes what is shipped: safetensors of the averaged weights, matrices in int8 and the rest in float16; beside it
    the config, and how long it has learned, so that training can go on from there.

    On held-out mixtures int8 costs 0.005 dB (8.200 to 8.195), and half the size pays for twice the network.
    """
    trained = {"step": state.step, "mixtures": state.mixtures, "hours": round(state.hours, 3)}
    config = {"model": asdict(state.ema.config), "trained": trained}
    weights = state.ema.state_dict()
    matrices = {name for name, x in weights.items() if x.ndim > 1 and x.numel() > LARGE}
    checkpoints.save(path, "separator", config, weights, int8=matrices)
    log.info("exported %s", path)


def plot_log(run_dir: Path) -> None:
    """Draws the validation curve of all sittings into ``curve.png``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with (run_dir / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    mixtures = [int(row["mixtures"]) / 1000 for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, label in (("median_si_sdri", "median"), ("mean_si_sdri", "mean")):
        left.plot(mixtures, [float(row[name]) for row in rows], marker=".", label=label)
    left.set(xlabel="thousand mixtures", ylabel="SI-SDR improvement (dB)", title="held-out mixtures")
    left.legend()
    right.plot(mixtures, [float(row["absent_median_db"]) for row in rows], marker=".")
    right.set(xlabel="thousand mixtures", ylabel="dB against the mixture", title="output for absent prompts")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(run_dir / "curve.png", dpi=110)
    pyplot.close(figure)


def _report(run_dir: Path, state: State, running: dict[str, float], scores: dict[str, float]) -> None:
    row = {"hours": round(state.hours, 3), "step": state.step, "mixtures": state.mixtures}
    row |= {name: round(value, 4) for name, value in (running | scores).items()}
    append_row(run_dir / "log.csv", row)
    log.info("validation after %.2f h: %s", state.hours, short(scores))
