"""PE-AV by its contrastive loss, at any size.

``model = "nano"`` learns small towers, and the fusion of both, over the features of the shipped nano towers, which stay
as they are: minutes on two cores. ``small``, ``base`` and ``large`` are the published sizes: a codec and an image tower
that do not learn, the other towers and the text tower that do.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav import hub
from peav.joint import JointConfig, JointEncoder, JointSizes, pair_vectors
from peav.losses import PairLoss, needed
from peav.official.config import CONFIGS, PEAudioVideoConfig
from peav.official.model import PEAudioVideo
from peav.official.transformer import Block
from sam_audio.documents import structured
from sam_audio.errors import UserError
from sam_audio.io.target import whole_file
from sam_audio.training import recipe, trainer
from sam_audio.training.data.samples import PART_OF, About, pictures_of, sound_of
from sam_audio.training.data.shards import ShardStream, batched, decoded, expand, read_shard
from sam_audio.training.tasks.stored import read_trained, write_trained
from sam_audio.training.trainer import Position, Share

SAMPLE_RATE, HOP = 48_000, 1920
POOL = 4  # frames of the nano tower, 40 ms each, that become one step
NOTHING = "nothing"  # read where there is no caption; no pair counts it
NAME = "joint"  # of the files that a recipe leaves
KINDS = tuple(PART_OF)
UNTAUGHT = ("codec", "vision")  # parts of a published model that never learn
NANO = {"audio_width": 384, "video_width": 1280, "text_width": 384}
MOST_REMEMBERED = 50_000  # clips whose features are kept in memory: 0.2 MB each


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "peav"``.

    Args:
        data, valid: shards, see `sam_audio.training.data.shards`.
        sizes: of a nano.
        pairs: weight of each, see `peav.losses`; 0 leaves one out.
        captions: "all" takes those of every kind, "label" the label in the place of each.
        seconds, frames: of a clip that are heard and seen, at most.
        start: of a published size, what it starts from: a model on the hub, or a folder. Without, all of it is random,
            the codec and the image tower too.
        learns: parts that learn.
        hide: how often a nano's features of a modality are replaced by nothing, in time (SpecAugment).
    """

    model: Literal["nano", "small", "base", "large"]
    sizes: JointSizes = JointSizes()
    data: str | list[str]
    valid: str | list[str] = []
    pairs: dict[str, float]
    captions: Literal["all", "label"] = "all"
    scale: float = 10.0
    bias: float = -10.0
    chunk: int = 1024
    seconds: float = 10.0
    frames: int = 16
    start: str = ""
    learns: list[str] = []
    hide: float = 0.15
    measured: int = 1000  # validation clips


class Learner(nn.Module):
    """Vectors of a batch, and the loss of its pairs."""

    entries = ("vectors",)

    def __init__(self, encoder: nn.Module, loss: PairLoss) -> None:
        super().__init__()
        self.encoder, self.loss = encoder, loss
        self.wanted = needed(loss.weights)

    def vectors(self, batch: dict[str, Any], wanted: Sequence[str]) -> dict[str, Tensor]:
        return vectors_of(self.encoder, batch, wanted)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Args: batch, from `Task.collate`."""
        return self.loss(self.vectors(batch, self.wanted), batch.get("present"), batch.get("ids"))


def vectors_of(encoder: nn.Module, batch: dict[str, Any], wanted: Sequence[str]) -> dict[str, Tensor]:
    """Those vectors of a batch that are wanted, by their names in `peav.losses`."""
    given = (batch[name] for name in ("audio", "audio_valid", "video", "video_valid", "texts"))
    return encoder(wanted, *given)


class Published(nn.Module):
    """`PEAudioVideo` behind the interface of `peav.joint.JointEncoder`: waveforms, frames and token ids come in."""

    def __init__(self, model: PEAudioVideo, unit: bool = True) -> None:
        super().__init__()
        self.model, self.unit = model, unit

    def forward(
        self,
        wanted: Sequence[str],
        audio: Tensor,
        audio_valid: Tensor | None,
        video: Tensor,
        video_valid: Tensor | None,
        texts: dict[str, tuple[Tensor, Tensor | None]],
    ) -> dict[str, Tensor]:
        model = self.model
        with torch.no_grad():
            latents = model.part("codec")(audio).transpose(1, 2)
            features = model.part("vision").features(video)
        heard = model.part("audio")(latents, audio_valid)
        seen = model.part("video")(features, video_valid)
        read = {kind: model.part("text")(*tokens)[:, 0] for kind, tokens in texts.items()}
        pooled = {"A": heard.pooler, "V": seen.pooler}
        if "AV" in wanted:
            both = model.part("fusion").fuse(
                heard.last_hidden_state, seen.last_hidden_state, audio_valid, video_valid
            )
            pooled["AV"] = both.pooler
        return pair_vectors(wanted, pooled, read, model.part, self.unit)


class Task(trainer.Task):
    blocks = (Block,)
    divided = (Block,)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        pairs = {pair: weight for pair, weight in settings.pairs.items() if weight}
        try:
            loss = PairLoss(pairs, settings.scale, settings.bias, settings.chunk)
        except ValueError as error:
            raise UserError(f"the recipe's pairs cannot be learned: {error}") from None
        self.inputs: NanoInputs | PublishedInputs
        if settings.model == "nano":
            config = JointConfig(**NANO, sizes=settings.sizes)
            encoder: nn.Module = JointEncoder(config)
            self.inputs = NanoInputs(settings)
        else:
            model = _published(settings)
            encoder, self.inputs = Published(model), PublishedInputs(settings, model.config)
        self.network = Learner(encoder, loss)

    def batches(self, share: Share, n: int, position: Position) -> Iterator[tuple[dict[str, Any], Position]]:
        settings = self.settings
        stream = ShardStream(expand(settings.data), settings.seed, share.rank, share.size)
        items = decoded(stream.samples(position), self.inputs.item, settings.workers)
        for members, after in batched(items, n):
            yield self.collate(members), after

    def example(self, n: int) -> dict[str, Any]:
        return self.inputs.example(n)

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Items: "audio" (T, ...), "video" (N, ...) or None, "said" caption or None by kind."""
        batch = self.inputs.batch(items)
        kinds = {kind: [item["said"][kind] for item in items] for kind in KINDS}
        batch["present"] = {
            "V": torch.tensor([item["video"] is not None for item in items]),
            **{PART_OF[kind]: torch.tensor([text is not None for text in kinds[kind]]) for kind in KINDS},
        }
        # by content, so that captions of other processes have the same numbers
        batch["ids"] = {
            PART_OF[kind]: torch.tensor([_number(text or "") for text in kinds[kind]]) for kind in KINDS
        }
        return batch

    @torch.no_grad()
    def validate(self, network: Learner) -> dict[str, float]:
        """R@1 among the validation clips of text to sound, to video, and to both, and of sound to video.

        Clips that have all of it are counted; a clip with the same caption is right too.
        """
        if not self.settings.valid:
            return {}
        device = next(network.parameters()).device
        items = self._held_out()
        if not items:
            return {"clips": 0.0}
        network.eval()
        found: dict[str, list[Tensor]] = {}
        for start in range(0, len(items), 64):
            batch = _moved(self.collate(items[start : start + 64]), device)
            for name, vectors in network.vectors(batch, _MEASURED).items():
                found.setdefault(name, []).append(vectors.float().cpu())
        network.train()
        whole = {name: torch.cat(vectors) for name, vectors in found.items()}
        texts = [item["said"]["audio"] for item in items]
        figures = {"clips": float(len(items))}
        for name, (query, candidate, same) in _DIRECTIONS.items():
            right = texts if same else None
            figures[name] = _recall(whole[query], whole[candidate], right)
        return figures

    def export(self, network: Learner, folder: Path) -> list[Path]:
        """A nano as `load_joint` reads it; a published size as `PEAudioVideo.from_pretrained` does."""
        if isinstance(network.encoder, Published):
            return _export_published(network.encoder.model, self.settings.start, folder)
        return write_trained(folder, NAME, network.encoder.state_dict(), self.settings)

    def _held_out(self) -> list[dict[str, Any]]:
        items = []
        for shard in expand(self.settings.valid):
            for sample in read_shard(shard):
                item = self.inputs.item(sample, None)
                if item is not None and item["video"] is not None and all(item["said"].values()):
                    items.append(item)
                if len(items) == self.settings.measured:
                    return items
        return items


_DIRECTIONS = {  # query, candidates, whether clips with the same caption are right too
    "text_to_audio": ("Ta@A", "A", True),
    "text_to_video": ("Ta@V", "V", True),
    "text_to_both": ("Ta@AV", "AV", True),
    "audio_to_video": ("A", "V", True),
}
_MEASURED = tuple(
    dict.fromkeys(name for query, candidate, _ in _DIRECTIONS.values() for name in (query, candidate))
)


def _recall(queries: Tensor, candidates: Tensor, texts: list[str] | None) -> float:
    best = (queries @ candidates.T).argmax(1).tolist()
    if texts is None:
        return float(np.mean([b == i for i, b in enumerate(best)]))
    return float(np.mean([texts[b] == texts[i] for i, b in enumerate(best)]))


def load_joint(folder: Path) -> tuple[JointEncoder, Task]:
    """A nano as the recipe has left it.

    Raises:
        UserError: the folder does not hold one.
    """
    values, tensors = read_trained(folder, NAME, "PE-AV")
    settings = structured(values, Settings, f"{NAME}.json")
    if settings.model != "nano":
        raise UserError(f"{folder} is no nano: open it with PEAudioVideo.from_pretrained")
    task = Task(settings)
    encoder = task.network.encoder
    encoder.load_state_dict(tensors)
    assert isinstance(encoder, JointEncoder)
    return encoder.eval(), task


# ---- what goes in --------------------------------------------------------------------------------------


def _said(known: About, how: str) -> dict[str, str | None]:
    if how == "label":
        return dict.fromkeys(KINDS, known.label or None)
    return {kind: known.text(kind) for kind in KINDS}


def _pictures(sample: dict[str, Any], most: int) -> list[np.ndarray]:
    from PIL import Image

    pictures = []
    for encoded in pictures_of(sample)[:most]:
        with Image.open(io.BytesIO(encoded)) as opened:
            pictures.append(np.asarray(opened.convert("RGB")).transpose(2, 0, 1).copy())
    return pictures


def _number(text: str) -> int:
    import hashlib

    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:7], "big")


def _padded(rows: Sequence[Tensor], length: int) -> tuple[Tensor, Tensor]:
    """Rows (n_b, ...) as (B, length, ...), and which steps are there."""
    out = torch.zeros(len(rows), length, *rows[0].shape[1:], dtype=rows[0].dtype)
    valid = torch.zeros(len(rows), length, dtype=torch.bool)
    for b, row in enumerate(rows):
        out[b, : len(row)] = row
        valid[b, : len(row)] = True
    return out, valid


def _moved(values: Any, device: torch.device) -> Any:
    if isinstance(values, dict):
        return {name: _moved(value, device) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_moved(value, device) for value in values)
    return values.to(device) if isinstance(values, Tensor) else values


class NanoInputs:
    """Features of the shipped towers, which are made once a clip and kept in memory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._clips: dict[str, tuple[Tensor, Tensor | None, About]] = {}
        self._texts: dict[str, Tensor] = {}
        self._towers: dict[str, Any] = {}
        self._lock = threading.Lock()

    def item(self, sample: dict[str, Any], rng: np.random.Generator | None) -> dict[str, Any]:
        key = sample["__key__"]
        if key not in self._clips:
            made = self._features(sample)
            if len(self._clips) < MOST_REMEMBERED:
                self._clips[key] = made
        else:
            made = self._clips[key]
        audio, video, known = made
        if rng is not None:
            audio = _thinned(audio, rng, self.settings.hide)
        return {"audio": audio, "video": video, "said": _said(known, self.settings.captions)}

    def batch(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        audio, audio_valid = _padded([i["audio"] for i in items], max(len(i["audio"]) for i in items))
        nothing = torch.zeros(0, NANO["video_width"])
        pictures = [nothing if i["video"] is None else i["video"] for i in items]
        video, video_valid = _padded(pictures, max(1, *map(len, pictures)))
        texts = {
            PART_OF[kind]: self.read([item["said"][kind] or NOTHING for item in items]) for kind in KINDS
        }
        return {
            "audio": audio,
            "audio_valid": audio_valid,
            "video": video,
            "video_valid": video_valid,
            "texts": texts,
        }

    def example(self, n: int) -> dict[str, Any]:
        steps = round(self.settings.seconds * SAMPLE_RATE / HOP / POOL)
        return {
            "audio": torch.zeros(n, steps, NANO["audio_width"]),
            "audio_valid": None,
            "video": torch.zeros(n, self.settings.frames, NANO["video_width"]),
            "video_valid": None,
            "texts": {PART_OF[kind]: torch.zeros(n, NANO["text_width"]) for kind in KINDS},
        }

    @torch.no_grad()
    def _features(self, sample: dict[str, Any]) -> tuple[Tensor, Tensor | None, About]:
        sound, known = sound_of(sample, SAMPLE_RATE, None, None)
        sound = sound[: round(self.settings.seconds * SAMPLE_RATE)]
        frames = self._tower("audio")(torch.from_numpy(sound)[None]).frames[0]
        missing = -len(frames) % POOL
        audio = F.pad(frames, (0, 0, 0, missing)).unflatten(0, (-1, POOL)).mean(1)
        pictures = _pictures(sample, self.settings.frames)
        if not pictures:
            return audio, None, known
        from peav.nano.video import prepare_frames

        frames = torch.cat([prepare_frames(torch.from_numpy(p)[None]) for p in pictures])
        return audio, self._tower("video").backbone(frames).features.clone(), known

    def read(self, texts: list[str]) -> Tensor:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            self._texts.update(zip(new, self._tower("text").embed(new), strict=True))
        return torch.stack([self._texts[text] for text in texts])

    def _tower(self, name: str) -> Any:
        import peav

        with self._lock:
            if name not in self._towers:
                kind: Any = getattr(peav, f"{name.capitalize()}Tower")
                self._towers[name] = kind.from_pretrained("nano")
            return self._towers[name]


def _thinned(frames: Tensor, rng: np.random.Generator, share: float) -> Tensor:
    """A stretch of frames becomes nothing."""
    if len(frames) < 4 or not share:
        return frames
    n = int(rng.integers(int(share * len(frames)) + 1))
    at = int(rng.integers(len(frames) - n + 1))
    return torch.cat([frames[:at], torch.zeros_like(frames[at : at + n]), frames[at + n :]])


class PublishedInputs:
    """Waveforms, frames and token ids, as the published models take them."""

    def __init__(self, settings: Settings, config: PEAudioVideoConfig) -> None:
        self.settings, self.config = settings, config
        self._processor: Callable[..., dict[str, Tensor]] | None = None

    def item(self, sample: dict[str, Any], rng: np.random.Generator | None) -> dict[str, Any]:
        from peav.official.vision import to_pixels

        n = round(self.settings.seconds * SAMPLE_RATE)
        sound, known = sound_of(sample, SAMPLE_RATE, None, None)
        if len(sound) > n:
            at = 0 if rng is None else int(rng.integers(len(sound) - n + 1))
            sound = sound[at : at + n]
        pictures = _pictures(sample, self.settings.frames)
        side = self.config.vision.image_size
        video = None
        if pictures:
            video = torch.cat([to_pixels(torch.from_numpy(p)[None], side) for p in pictures])
        return {
            "audio": torch.from_numpy(sound),
            "video": video,
            "said": _said(known, self.settings.captions),
        }

    def batch(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        hop, side = self.config.codec.hop, self.config.vision.image_size
        longest = max(len(item["audio"]) for item in items)
        audio, valid = _padded([item["audio"] for item in items], -(-longest // hop) * hop)
        pictures = [torch.zeros(0, 3, side, side) if i["video"] is None else i["video"] for i in items]
        video, video_valid = _padded(pictures, max(1, *map(len, pictures)))
        texts = {}
        for kind in KINDS:
            read = self._tokens([item["said"][kind] or NOTHING for item in items])
            texts[PART_OF[kind]] = read["input_ids"], read["attention_mask"]
        return {
            "audio": audio[:, None],
            "audio_valid": valid[:, ::hop],
            "video": video,
            "video_valid": video_valid,
            "texts": texts,
        }

    def example(self, n: int) -> dict[str, Any]:
        hop, side = self.config.codec.hop, self.config.vision.image_size
        steps = max(1, round(self.settings.seconds * self.config.codec.sample_rate / hop))
        return {
            "audio": torch.zeros(n, 1, steps * hop),
            "audio_valid": None,
            "video": torch.zeros(n, self.settings.frames, 3, side, side),
            "video_valid": None,
            "texts": {PART_OF[kind]: (torch.zeros(n, 24, dtype=torch.int64), None) for kind in KINDS},
        }

    def _tokens(self, texts: list[str]) -> dict[str, Tensor]:
        if self._processor is None:
            from peav.official.processing import PEAudioVideoProcessor

            self._processor = PEAudioVideoProcessor.from_pretrained(self.settings.start)
        return self._processor(text=texts)


def _published(settings: Settings) -> PEAudioVideo:
    if settings.start:
        from peav.checkpoints import CheckpointError

        try:
            model = PEAudioVideo.from_pretrained(settings.start).load()
        except CheckpointError as error:
            raise UserError(str(error).rstrip(".")) from None
        model.train()
    else:
        config = CONFIGS[f"pe-av-{settings.model}"]
        assert isinstance(config, PEAudioVideoConfig)
        model = PEAudioVideo(config)
    known = set(dict(model.named_children()))
    for name in settings.learns:
        if name not in known:
            raise UserError(f"learns names {name}, which is no part: use {', '.join(sorted(known))}")
    for name, part in model.named_children():
        part.requires_grad_(name in settings.learns if settings.learns else name not in UNTAUGHT)
    return model


def _export_published(model: PEAudioVideo, start: str, folder: Path) -> list[Path]:
    """A model as `PEAudioVideo.from_pretrained` opens it, if it began with one; else its tensors by our names."""
    from safetensors.torch import save

    files: dict[str, bytes]
    if start:
        tensors = {n: t.detach().float().cpu().contiguous() for n, t in model.published_tensors().items()}
        files = {hub.WEIGHTS[0]: save(tensors)}
        revision = hub.published_revision(start, None, hub.PE_REVISION)
        for name in ("config.json", "tokenizer.json"):
            files[name] = hub.find(start, name, revision).read_bytes()
    else:
        tensors = {n: t.detach().cpu().contiguous().clone() for n, t in model.state_dict().items()}
        files = {"pe-av.safetensors": save(tensors)}
    for name, content in files.items():
        with whole_file(folder / name) as file:
            file.write(content)
    return [folder / name for name in files]
