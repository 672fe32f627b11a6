"""The text encoder: a T5 that is loaded when a new text is seen, and a cache of texts on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from peav.hub import HubOptions
from sam_audio.errors import MissingExtraError, ModelError, PromptError
from sam_audio.separator.official.config import TextConfig

Encoded = tuple[Tensor, Tensor]  # features (B, L, dim) float32, and which tokens count (B, L) bool


class TextEncoder:
    """Encodes prompts as they are, without changing their case. Thread-safe.

    Args:
        config: says which T5.
        source: its folder or hub name.
        cache: folder for the features of single texts, or None to keep none. Features from there are zero where
            other texts are longer; attention does not look there.
        keep: hold the T5 in memory after its first use. Else it is let go: new texts are rare, and while the flow
            runs, 0.4 GB are better used otherwise.
        hub: how the hub is asked for it.
    """

    def __init__(
        self,
        config: TextConfig,
        source: str | Path,
        cache: Path | None = None,
        keep: bool = True,
        hub: HubOptions | None = None,
    ):
        self.config = config
        self.source = source
        self.keep = keep
        self.hub = hub or HubOptions()
        self.cache = None if cache is None else cache / "text" / _fingerprint(config, source)
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None  # tokenizer and model

    @property
    def loaded(self) -> bool:
        """Whether the T5 is in memory."""
        return self._loaded is not None

    def __call__(self, texts: list[str]) -> Encoded:
        """Features of texts, from the cache where they are in it.

        Raises:
            ModelError: the T5 cannot be found or loaded.
            PromptError: a prompt is not a text.
        """
        for text in texts:
            if not isinstance(text, str):
                raise PromptError(f"a description is a text, not {text!r}")
        if self.cache is None:
            return self.encode(texts)
        known = {text: features for text in set(texts) if (features := self._recall(text)) is not None}
        if new := sorted(set(texts) - set(known)):
            encoded, valid = self.encode(new)
            for text, features, tokens in zip(new, encoded, valid, strict=True):
                known[text] = features[tokens]
                self._remember(text, known[text])
        chosen = [known[text] for text in texts]
        valid = pad_sequence(
            [torch.ones(len(features), dtype=torch.bool) for features in chosen], batch_first=True
        )
        return pad_sequence(chosen, batch_first=True), valid

    @torch.inference_mode()
    def encode(self, texts: list[str]) -> Encoded:
        """Features of texts, computed: the last hidden state, padding included."""
        with self._lock:
            tokenizer, model = self._loaded or _load_t5(self.config, self.source, self.hub)
            if self.keep:
                self._loaded = tokenizer, model
        tokens = tokenizer(
            texts,
            truncation=True,
            max_length=self.config.max_length,
            padding=self.config.pad_mode,
            return_tensors="pt",
        )
        valid = tokens["attention_mask"].bool()
        features = model(input_ids=tokens["input_ids"], attention_mask=valid).last_hidden_state
        return features.float(), valid

    def _path(self, text: str) -> Path:
        assert self.cache is not None
        return self.cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"

    def _recall(self, text: str) -> Tensor | None:
        try:
            features = np.load(self._path(text), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != self.config.dim:
            return None
        return torch.from_numpy(features)

    def _remember(self, text: str, features: Tensor) -> None:
        path = self._path(text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                np.save(file, features.numpy())
            Path(partial).replace(path)
        except OSError:
            pass  # a cache that cannot be written is no cache


def _fingerprint(config: TextConfig, source: str | Path) -> str:
    """Tells text encoders apart: by name, or for a folder by its path and the state of its files."""
    parts = [str(source), str(config.max_length), str(config.dim)]
    if isinstance(source, Path):
        for path in sorted(source.iterdir()):
            if path.is_file():
                parts.append(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """In here transformers shows none while it loads a model."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _load_t5(config: TextConfig, source: str | Path, hub: HubOptions) -> tuple[Any, Any]:
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError:
        raise MissingExtraError(
            "the text encoder needs transformers, which is not installed", "official"
        ) from None
    try:
        with no_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(str(source), **hub)
            model = T5EncoderModel.from_pretrained(str(source), dtype=torch.float32, **hub)
    except Exception as error:  # anything from network to tokenizer libraries
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(f"the text encoder {source} cannot be loaded: {first}") from error
    if model.config.d_model != config.dim:
        raise ModelError(
            f"the text encoder {source} is {model.config.d_model} wide, but the model asks for {config.dim}"
        )
    return tokenizer, model.eval().requires_grad_(False)
