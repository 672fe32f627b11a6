"""What the towers of nano share: how they are loaded, in which numbers they compute, and how they are saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, Unpack

import torch
from torch import nn

from peav import checkpoints
from peav.checkpoints import NANO, Checkpoint, CheckpointError
from peav.devices import Device, DeviceMap, choose_device, choose_dtype
from peav.hub import HubOptions
from peav.nano.sharing import NanoShared, copied, fetched


class _Sizes(Protocol):
    def to_dict(self) -> dict[str, int]: ...


class Tower(NanoShared, nn.Module):
    """Base of the towers; built directly, their weights are random or unset: use `from_pretrained`."""

    tower: ClassVar[str]  # what its checkpoints are called
    config: _Sizes
    source: Path | None = None  # the checkpoint that it was loaded from
    numbers = torch.float32  # that it computes in when it is called

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """The tower of a checkpoint; raises CheckpointError."""
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | os.PathLike[str] = NANO,
        *,
        revision: str | None = None,
        device: Device | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: DeviceMap = None,
        **options: Unpack[HubOptions],
    ) -> Self:
        """Loads a tower, ready to embed.

        Args:
            name_or_folder: "nano", which comes with the package; a .safetensors file; a folder with one
                ``NAME-TOWER.safetensors``; or a model on the Hugging Face hub, with its owner.
            revision: branch, tag or commit on the hub.
            device, device_map: where to compute, see `peav.devices.choose_device`; by default on the CPU.
            dtype: what matrices are multiplied in, float32 by default; "auto" is what the device is fast in. Weights
                and results stay float32.
            options: of the hub's client: ``token``, ``cache_dir``, ``local_files_only``.

        Raises:
            CheckpointError: there is none, it cannot be fetched, or it is damaged.
            ValueError: no model can be on such a device, or compute in such numbers.
        """
        place = choose_device(device, device_map)
        numbers = choose_dtype(dtype, place)
        found = fetched(name_or_folder, [cls.tower], revision, **options)
        checkpoint = checkpoints.load(found, cls.tower)
        tower = cls.of(checkpoint)
        tower.source, tower.numbers = checkpoint.path, numbers
        return tower.eval().requires_grad_(False).to(place)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # in float32 an autocast that is around it, as in training, stays in force
        place = next(self.parameters()).device.type
        casts = nullcontext() if self.numbers == torch.float32 else torch.autocast(place, self.numbers)
        with casts:
            return super().__call__(*args, **kwargs)

    def sources(self) -> Mapping[str, Path]:
        return {} if self.source is None else {self.tower: self.source}

    @property
    def as_it_came(self) -> bool:
        if self.source is None:
            return False
        try:
            stored = checkpoints.load(self.source, self.tower).tensors
        except CheckpointError:  # it is gone
            return False
        now = self.state_dict()
        return all(
            now[name].dtype == tensor.dtype and torch.equal(now[name].cpu(), tensor)
            for name, tensor in stored.items()
        )

    def write_towers(self, folder: Path) -> list[Path]:
        """Its file as it is, or, where weights have changed, those that it has now, as float32."""
        if self.source is not None and self.as_it_came:
            return copied(self.source, self.tower, folder)
        path = folder / f"{NANO}-{self.tower}.safetensors"
        checkpoints.save(path, self.tower, {"model": self.config.to_dict()}, self.state_dict(), exact=True)
        return [path, path.with_suffix(".json")]
