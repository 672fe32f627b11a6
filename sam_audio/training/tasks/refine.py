"""Stage 2 of the data engine: a trained PE-AV joined to a language model's decoder writes captions again.

    sound, pictures -> PE-AV -> vectors -> projector -> words that the decoder is given -+-> decoder -> caption
    kind of caption, what weak captioners noted ---------------------------------------+

The projector learns from captions of stage 1, best those of clips that agree with their sound; with
``learns = "all"`` the decoder does too. Afterwards several captions are written for a clip, and PE-AV keeps the one
that fits it best, which may be that of stage 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from peav.joint import JointEncoder
from sam_audio.documents import structured
from sam_audio.errors import MissingExtraError, UserError
from sam_audio.training import recipe, trainer
from sam_audio.training.captions.writers import alike
from sam_audio.training.data.samples import KINDS, PART_OF, About, Said, about
from sam_audio.training.data.shards import ShardStream, batched, decoded, expand
from sam_audio.training.tasks import peav
from sam_audio.training.tasks.stored import read_trained, write_trained
from sam_audio.training.trainer import Position, Share

NAME, DECODER = "refiner", "decoder"  # of what a recipe leaves, beside the PE-AV
ROWS = {"audio": "A", "visual": "V", "audio_visual": "AV"}  # what a caption of a kind is compared with
WORDS = {"audio": "heard", "visual": "seen", "audio_visual": "heard and seen"}
NOT_LEARNED = -100  # as transformers marks tokens that are no part of the loss
TOP_P = 0.9
MOST_WRITTEN = 40  # tokens of a caption


class Settings(recipe.Settings, frozen=True, kw_only=True):
    """Keys of a recipe with ``task = "refine"``.

    Args:
        data: shards of the data engine.
        encoder: folder that the recipe peav/nano has left.
        decoder: any causal language model of transformers: a folder, or its name on the hub.
        learns: "projector", or "all", the decoder too.
        prefix: words that the decoder is given of the clip.
        notes: how often it is told what the weak captioners said.
        most_tokens: of a prompt with its caption.
    """

    data: str | list[str]
    encoder: str
    decoder: str
    learns: Literal["projector", "all"] = "projector"
    prefix: int = 4
    notes: float = 0.5
    most_tokens: int = 96


class Refiner(nn.Module):
    """A decoder that is given what PE-AV makes of a clip."""

    def __init__(self, encoder: JointEncoder, decoder: Any, prefix: int, learns: str) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prefix = encoder.requires_grad_(False), decoder, prefix
        self.decoder.requires_grad_(learns == "all")
        width = decoder.get_input_embeddings().embedding_dim
        given = len(ROWS) * encoder.config.sizes.output
        self.projector = nn.Sequential(nn.Linear(given, width), nn.GELU(), nn.Linear(width, prefix * width))

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Args: batch, from `Task.collate`: a clip, and ids, ids_valid, labels (B, L)."""
        told = self.told(batch)
        words = torch.cat([told, self.decoder.get_input_embeddings()(batch["ids"])], 1)
        valid = torch.cat(
            [torch.ones_like(batch["ids"][:, :1]).expand(-1, self.prefix), batch["ids_valid"]], 1
        )
        labels = torch.cat([torch.full_like(valid[:, : self.prefix], NOT_LEARNED), batch["labels"]], 1)
        return {"loss": self.decoder(inputs_embeds=words, attention_mask=valid, labels=labels).loss}

    def told(self, batch: dict[str, Any]) -> Tensor:
        """What the decoder is given of clips: (B, prefix, width)."""
        vectors = self.vectors(batch, tuple(ROWS.values()))
        seen = batch["seen"][:, None]
        heard = torch.cat([vectors["A"], *(vectors[name] * seen for name in ("V", "AV"))], -1)
        return self.projector(heard).unflatten(-1, (self.prefix, -1))

    @torch.no_grad()
    def vectors(self, batch: dict[str, Any], wanted: Sequence[str]) -> dict[str, Tensor]:
        self.encoder.eval()
        return peav.vectors_of(self.encoder, batch, wanted)


class Task(trainer.Task):
    """``folder``: what the recipe has left, which then brings encoder and decoder."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        self.settings = settings
        encoder, self.joint = peav.load_joint(folder or Path(settings.encoder))
        decoder, self.tokenizer = _decoder(str(folder / DECODER) if folder else settings.decoder)
        assert isinstance(self.joint.inputs, peav.NanoInputs)
        self.inputs = self.joint.inputs
        self.network = Refiner(encoder, decoder, settings.prefix, settings.learns)

    def batches(self, share: Share, n: int, position: Position) -> Iterator[tuple[dict[str, Any], Position]]:
        stream = ShardStream(expand(self.settings.data), self.settings.seed, share.rank, share.size)

        def decode(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
            known = about(sample)
            kinds = [kind for kind in KINDS if kind in known.captions]
            if not kinds:
                return None
            kind = kinds[rng.integers(len(kinds))]
            prompt = prompt_of(kind, known if rng.random() < self.settings.notes else About())
            return {
                **self.inputs.item(sample, rng),
                "prompt": prompt,
                "caption": known.captions[kind].text,
            }

        items = decoded(stream.samples(position), decode, self.settings.workers)
        for members, after in batched(items, n):
            yield self.collate(members), after

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Items: of a clip, with a prompt and the caption that follows it."""
        rows = []
        for item in items:
            prompt = self.tokenizer(item["prompt"]).input_ids
            caption = self.tokenizer(f" {item['caption']}", add_special_tokens=False).input_ids
            ids = [*prompt, *caption, self.tokenizer.eos_token_id][: self.settings.most_tokens]
            rows.append((ids, [NOT_LEARNED] * len(prompt) + ids[len(prompt) :]))
        longest = max(len(ids) for ids, _ in rows)
        batch = self.clips(items)
        batch["ids"] = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
        batch["ids_valid"] = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
        batch["labels"] = torch.tensor([x + [NOT_LEARNED] * (longest - len(x)) for _, x in rows])
        return batch

    def clips(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        seen = torch.tensor([item["video"] is not None for item in items])
        return {**self.inputs.batch(items), "seen": seen}

    def example(self, n: int) -> dict[str, Any]:
        ids = torch.ones(n, self.settings.most_tokens, dtype=torch.int64)
        seen = torch.ones(n, dtype=torch.bool)
        return {**self.inputs.example(n), "seen": seen, "ids": ids, "ids_valid": ids, "labels": ids}

    def export(self, network: Refiner, folder: Path) -> list[Path]:
        """`load_refiner` reads this; the folder needs no other."""
        network.decoder.save_pretrained(folder / DECODER)
        self.tokenizer.save_pretrained(folder / DECODER)
        return [
            *write_trained(folder, peav.NAME, network.encoder.state_dict(), self.joint.settings),
            *write_trained(folder, NAME, network.projector.state_dict(), self.settings),
        ]


def prompt_of(kind: str, known: About) -> str:
    """What a caption follows: its kind, and what weak captioners said.

    >>> prompt_of("audio", About(weak={"audio": [Said("rain", "tagger")]}))
    'notes: rain. heard:'
    """
    notes = ", ".join(one.text for name in ("audio", "visual") for one in known.weak.get(name, ()))
    return f"notes: {notes}. {WORDS[kind]}:" if notes else f"{WORDS[kind]}:"


class TrainedRefiner:
    """Writes captions of clips again.

    Args:
        folder: what the recipe has left.
        drafts: captions of a kind that are drawn, beside the likeliest with and without notes.

    Raises:
        UserError: the folder does not hold one.
    """

    def __init__(self, folder: Path, drafts: int = 4) -> None:
        values, tensors = read_trained(folder, NAME, "refiner")
        self.task = Task(structured(values, Settings, f"{NAME}.json"), folder)
        self.network = self.task.network.eval()
        self.network.projector.load_state_dict(tensors)
        self.drafts, self.name = drafts, f"refiner:{folder.name}"

    @torch.no_grad()
    def captions(self, sample: dict[str, Any]) -> dict[str, Said]:
        """The captions of a sample, each its own or one that fits it better; what it has none of stays without.

        Captions of the sound have a word in common with the label, if the sample has one.
        """
        known = about(sample)
        clip = self.task.clips([self.task.inputs.item(sample, None)])
        told = self.network.told(clip)
        torch.manual_seed(sample.get("__seed__", 0))
        captions = {}
        for kind, said in known.captions.items():
            texts = list(dict.fromkeys([said.text, *self._written(told, kind, known)]))
            fits = self._fits(clip, kind, texts)
            best = int(fits.argmax())
            # what the clip was filed as is true: who misses it is not believed
            believed = best and (kind == "visual" or not known.label or alike(texts[best], known.label))
            captions[kind] = Said(texts[best], self.name, round(float(fits[best]), 4)) if believed else said
        return captions

    def _written(self, told: Tensor, kind: str, known: About) -> Iterator[str]:
        for prompt in dict.fromkeys((prompt_of(kind, known), prompt_of(kind, About()))):
            ids = torch.tensor([self.task.tokenizer(prompt).input_ids])
            words = torch.cat([told, self.network.decoder.get_input_embeddings()(ids)], 1)
            for drawn in {False, self.drafts > 0}:
                settings: dict[str, Any] = {
                    "do_sample": drawn,
                    "max_new_tokens": self.task.settings.most_tokens,
                }
                if drawn:
                    settings |= {"top_p": TOP_P, "num_return_sequences": self.drafts}
                written = self.network.decoder.generate(
                    inputs_embeds=words,
                    attention_mask=torch.ones(words.shape[:2], dtype=torch.int64),
                    eos_token_id=self.task.tokenizer.eos_token_id,
                    pad_token_id=self.task.tokenizer.eos_token_id,
                    **settings,
                )
                for row in written:
                    text = " ".join(self.task.tokenizer.decode(row, skip_special_tokens=True).split())
                    if text:
                        yield text

    def _fits(self, clip: dict[str, Any], kind: str, texts: list[str]) -> Tensor:
        """Cosine of each text and the clip, by PE-AV: (len(texts),)."""
        row = ROWS[kind]
        column = f"{PART_OF[kind]}@{row}"
        read = {PART_OF[kind]: self.task.inputs.read(texts)}
        return (
            self.network.vectors({**clip, "texts": read}, (column,))[column]
            @ self.network.vectors(clip, (row,))[row][0]
        )


def _decoder(name: str) -> tuple[Any, Any]:
    """A causal language model and its tokenizer; no code of theirs is run."""
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingExtraError("a decoder needs transformers, which is not installed", "official") from None
    try:
        decoder = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # of all kinds
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{name} is no causal language model of transformers ({first}): name another"
        ) from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {name} has no end of a text: name another decoder")
    return decoder, tokenizer
