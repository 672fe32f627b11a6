"""Checkpoints of nano as folders, and on the Hugging Face hub.

A folder has a file NAME-TOWER.safetensors for each network, with its settings beside it, and of a text tower the
tokenizer. On the hub, where names have to be known, NAME is nano; so it is in what is saved. Nothing here needs torch.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Unpack

from peav import checkpoints, hub
from peav.checkpoints import NANO, CheckpointError
from peav.sharing import SharedWithCard

_PREFIX = f"{NANO}:"
_LINK = re.compile(r"!?\[([^]]*)]\((?!https?:)[^)]*\)")  # to another file of the repository


def metadata(task: str, *tags: str) -> dict[str, str | list[str]]:
    """Of the card of a nano model.

    Args:
        task: the hub's name for what it does.
        tags: what it is about.
    """
    about = {"license": "apache-2.0", "library_name": "separate-by-prompt", "pipeline_tag": task}
    return {**about, "tags": ["audio", *tags]}


def embedded(name: str | os.PathLike[str], tower: str) -> str | None:
    """The checkpoint of nano that a name means where it may be a published model too; None if it is one.

    Args:
        name: "nano"; "nano:" and whatever ``from_pretrained`` of nano takes, a model on the hub too; a .safetensors
            file; a folder that has one of the tower.

    >>> embedded("nano:me/tuned", "separator")
    'me/tuned'
    """
    text, path = os.fspath(name), Path(name).expanduser()
    if text.startswith(_PREFIX):
        return text.removeprefix(_PREFIX)
    if text == NANO or path.suffix == ".safetensors" or path.is_file() or checkpoints.of_tower(path, tower):
        return text
    return None


def fetched(
    name: str | os.PathLike[str],
    towers: Sequence[str],
    revision: str | None = None,
    *,
    weights: bool = True,
    **options: Unpack[hub.HubOptions],
) -> str | os.PathLike[str]:
    """What `peav.checkpoints.resolve` finds the towers by: the folder of a model on the hub, fetched if need be; any
    other name as it is.

    Args:
        name: of a packaged checkpoint, a path, or a model on the hub with its owner ("me/tuned").
        weights: whether tensors are wanted, and not only settings.
        revision, options: see `peav.hub.find`.

    Raises:
        CheckpointError: it is not there, or cannot be fetched.
    """
    hub.check_options(options)
    repository = os.fspath(name)
    if "/" not in repository or repository.endswith(".safetensors") or Path(name).expanduser().exists():
        return name
    folder = Path(name)
    for file in (file for tower in towers for file in files(tower, weights)):
        found = hub.find(repository, file, revision, **options)
        folder, revision = found.parent, found.parent.name  # what follows is of the same commit
    return folder


def files(tower: str, weights: bool = True) -> list[str]:
    """The files of a tower, as they are called on the hub.

    >>> files("text", weights=False)
    ['nano-text.json', 'nano-text-tokenizer.json']
    """
    first = f"{NANO}-{tower}"
    more = [f"{first}-tokenizer.json"] if tower == "text" else []
    return [*([f"{first}.safetensors"] if weights else []), f"{first}.json", *more]


def copied(checkpoint: Path, tower: str, folder: Path) -> list[Path]:
    """Copies a checkpoint into a folder, under the names that it has on the hub.

    Raises:
        CheckpointError: it is gone.
    """
    written = []
    for file in files(tower):
        source = checkpoint.with_name(checkpoint.stem + file.removeprefix(f"{NANO}-{tower}"))
        if not source.is_file():
            raise CheckpointError(f"{source} is missing: fetch the model again.")
        written.append(Path(shutil.copyfile(source, folder / file)))
    return written


class NanoShared(SharedWithCard):
    """A nano model, which is saved as the checkpoints that it came from, and a card."""

    told_in: ClassVar[str]  # file beside the shipped weights that tells of them

    def sources(self) -> Mapping[str, Path]:
        """The tower of each checkpoint -> its file."""
        raise NotImplementedError

    def write_towers(self, folder: Path) -> list[Path]:
        """Writes its networks into a folder."""
        return [file for tower, path in self.sources().items() for file in copied(path, tower, folder)]

    def write(self, folder: Path) -> list[Path]:
        return [*self.write_towers(folder), self.write_card(folder)]

    def model_card(self) -> str:
        """What its weights' own card tells goes with it as long as they are those that came with the package."""
        told = [path.with_name(self.told_in) for path in self.sources().values()]
        # a link in somebody's folder may lead anywhere, and a card is made public
        if not self.as_it_came or not all(path.is_file() and not path.is_symlink() for path in told):
            return super().model_card()
        _, _, text = told[0].read_text(encoding="utf-8").partition("\n")  # its title
        return super().model_card() + _LINK.sub(r"\1", text)

    @property
    def as_it_came(self) -> bool:
        """Whether its weights are as they came."""
        return True
