"""The embedded separator: a conditioned mask network over a streaming spectrogram."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from peav import checkpoints
from peav.checkpoints import NANO
from peav.devices import Device, DeviceMap
from peav.hub import HubOptions
from peav.nano.graphs import TextGraph
from peav.nano.sharing import NanoShared, fetched, metadata
from peav.nano.sound import FRAME
from sam_audio.devices import one_device
from sam_audio.errors import ModelError, as_model_error
from sam_audio.separator.base import SeparationModel, Sounding
from sam_audio.separator.nano.bands import SAMPLE_RATE
from sam_audio.separator.nano.engine import WEIGHTS, Engine
from sam_audio.separator.nano.live import LiveModel
from sam_audio.separator.nano.loading import check_dtype, load_engine
from sam_audio.separator.nano.masker import Listening, Replayed, Window, Written, evidence_of
from sam_audio.separator.nano.options import NanoOptions
from sam_audio.separator.nano.stream import NanoStream, emitted
from sam_audio.separator.nano.timekeeping import Calibration, Evidence
from sam_audio.types import Condition
from sam_audio.vocabulary import meant

if TYPE_CHECKING:
    import torch


class NanoSeparator(NanoShared, SeparationModel):
    """The embedded networks; serves any number of recordings and threads.

    Args:
        weights: a checkpoint.
        device: where to compute.
        options: how to separate.
    """

    problem = ModelError
    told_in = "nano-separator.md"
    card = metadata("audio-to-audio", "source-separation", "text")
    purpose = "Nano of SAM-Audio: pulls any sound out of a recording by a text, an example or marks in time, on a CPU."

    sample_rate = SAMPLE_RATE
    takes = frozenset({"vector", "anchors", "masks", "against"})

    def __init__(
        self, weights: Path = WEIGHTS, device: str = "cpu", options: NanoOptions | None = None
    ) -> None:
        self.name = "nano" if weights == WEIGHTS else str(weights)
        self.options = options or NanoOptions()
        self._memory: Path | None = None  # of masks
        self.engine: Engine = load_engine(weights, device, self.options.precision)
        with as_model_error():
            self.text_tower = TextGraph()

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NANO,
        *,
        revision: str | None = None,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: DeviceMap = None,
        options: NanoOptions | None = None,
        **hub: Unpack[HubOptions],
    ) -> NanoSeparator:
        """Loads a separator, which listens and reads with the towers that come with the package.

        Args:
            name_or_folder: "nano", which comes with the package; a .safetensors file; a folder with one
                ``NAME-separator.safetensors``; or a model on the Hugging Face hub, with its owner.
            revision: branch, tag or commit on the hub.
            device, device_map: where to compute, see `peav.devices.one_device`; by default on the CPU.
            dtype: has to be "auto", or what its engines compute in anyway: float32 on the CPU, bfloat16 elsewhere.
            options: how to separate.
            hub: of the hub's client: ``token``, ``cache_dir``, ``local_files_only``.

        Raises:
            ModelError: there is none, it cannot be fetched, or it is damaged.
            UserError: it cannot be on such a device, or compute in such numbers.
        """
        place = one_device(device, device_map)
        check_dtype(dtype, place)
        with as_model_error():
            found = fetched(name_or_folder, ["separator"], revision, **hub)
            weights = checkpoints.resolve(found, "separator", WEIGHTS.parent)
        return cls(weights, place, options)

    def sources(self) -> Mapping[str, Path]:
        return {} if self.engine.weights is None else {"separator": self.engine.weights}

    def encode(self, texts: list[str]) -> list[Condition]:
        """Texts as vectors of the joint space."""
        vectors = self.text_tower.embed(texts)
        return [Condition(text, vector, text=text) for text, vector in zip(texts, vectors, strict=True)]

    def reads(self, text: str) -> bool:
        return self.text_tower.words.reads(text)

    def meant(self, text: str) -> str | None:
        return meant(text, self.text_tower.words.knows)

    def open(self, conditions: list[Condition], channels: int, strength: float = 1.0) -> NanoStream:
        return NanoStream(self.window(conditions), conditions, channels, strength)

    def window(self, conditions: list[Condition]) -> Window:
        """What makes the masks of one recording."""
        predict_spans = self.options.predict_spans
        if self._memory is None:
            return Listening(self.engine, conditions, predict_spans)
        if self._memory.is_file():
            return Replayed(self._memory, len(conditions))
        return Written(Listening(self.engine, conditions, predict_spans, tells_when=True), self._memory)

    def emitted(self, pushed: int) -> int:
        return emitted(pushed)

    def with_options(self, options: NanoOptions) -> NanoSeparator:
        return self._twin(options=options)

    def live(self) -> LiveModel:
        return LiveModel(self, self.window)

    def remembering(self, file: Path) -> NanoSeparator:
        """Masks are written to the file, or, when it is complete, taken from there."""
        return self._twin(_memory=file)

    def sounding(self, file: Path, n_prompts: int) -> Sounding | None:
        kept = evidence_of(file)
        evidence = np.fromfile(kept, np.float32) if kept.is_file() else np.zeros(0, np.float32)
        if not evidence.size:
            return None
        rows = np.moveaxis(evidence.reshape(-1, 2, n_prompts), 0, -1)  # (2, N, T)
        weigh = Calibration.load().probability
        # one by one: the facts of hours are large
        activity = [weigh(Evidence(*rows[:, n : n + 1])) for n in range(n_prompts)]
        return Sounding(np.concatenate(activity), SAMPLE_RATE / FRAME)

    def _twin(self, **changes: Any) -> NanoSeparator:
        """The same networks with other attributes."""
        twin = copy.copy(self)
        vars(twin).update(changes)
        return twin
