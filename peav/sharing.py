"""Models and processors as folders that can be loaded again, here and on the Hugging Face hub."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from peav.checkpoints import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
OTHER_WEIGHTS = ("checkpoint.pt", "model.safetensors.index.json")
CARD = "README.md"


class Shared:
    """What can be saved to a folder, and pushed to the hub."""

    problem: ClassVar[type[Exception]] = CheckpointError  # raised where it cannot be

    def write(self, folder: Path) -> list[Path]:
        """Writes its files into an existing folder."""
        raise NotImplementedError

    def save_pretrained(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes what ``from_pretrained`` reads. Files of the same names are replaced, each at once; a card stays.

        Args:
            folder: made if need be.

        Returns:
            The files.

        Raises:
            CheckpointError, ModelError: the folder cannot be written.
        """
        target = Path(folder).expanduser()
        try:
            target.mkdir(parents=True, exist_ok=True)
            # beside the files, so that each takes its name at once
            with tempfile.TemporaryDirectory(prefix=".saving-", dir=target) as partial:
                written = self.write(Path(partial))
                kept = CARD if (target / CARD).exists() else None
                return [path.replace(target / path.name) for path in written if path.name != kept]
        except OSError as error:
            raise self.problem(
                f"{target} cannot be written: {error.strerror or error}: name another folder."
            ) from None

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Uploads what `save_pretrained` writes as one commit; the repository is made if need be.

        A model card that is there already stays.

        Args:
            repo_id: "owner/name".
            token: by default that of `hf auth login`.
            private: whether a new repository is.
            revision: branch, made if need be; by default the main one.
            create_pr: open a pull request with it.

        Returns:
            The address of the commit.

        Raises:
            CheckpointError, ModelError: the hub refuses it, or cannot be reached.
        """
        from peav.hub import client

        hub = client()
        api = hub.HfApi(token=token)
        with tempfile.TemporaryDirectory(prefix="push-") as folder:
            self.save_pretrained(folder)
            try:
                repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                if revision is not None and not create_pr:
                    api.create_branch(repository, branch=revision, exist_ok=True)
                kept = [CARD] if api.file_exists(repository, CARD, revision=revision) else []
                commit = api.upload_folder(
                    repo_id=repository,
                    folder_path=folder,
                    revision=revision,
                    ignore_patterns=kept,
                    commit_message=commit_message or f"Upload {type(self).__name__}",
                    create_pr=create_pr,
                )
            except Exception as error:  # noqa: BLE001  the network library's, the hub's
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
                raise self.problem(f"{repo_id} could not be pushed: {reason}.") from None
        return str(commit.commit_url)


class SharedWithCard(Shared):
    """What has a card, with metadata that the hub reads."""

    card: ClassVar[Mapping[str, Any]]  # metadata
    purpose: ClassVar[str]  # of the model, one sentence for the card

    def model_card(self) -> str:
        """A card to go on from."""
        lines = [f"{name}: {json.dumps(value)}" for name, value in self.card.items()]
        call = f"{type(self).__name__}.from_pretrained(NAME)"
        return "\n".join(
            ["---", *lines, "---", "", f"# {type(self).__name__}", "", self.purpose, "", "```python"]
            + [f"from {type(self).__module__} import {type(self).__name__}", "", f"model = {call}", "```", ""]
        )

    def write_card(self, folder: Path) -> Path:
        """Writes the card as what the hub shows of a repository."""
        (folder / CARD).write_text(self.model_card(), encoding="utf-8")
        return folder / CARD


class SharedModel(SharedWithCard):
    """A model with a config.json, weights and a card."""

    values: Mapping[str, Any] | None = None  # the config.json that it came with

    def save_pretrained(self, folder: str | os.PathLike[str]) -> list[Path]:
        """See `Shared.save_pretrained`; a folder with weights that would be read in their place is refused."""
        for name in OTHER_WEIGHTS:
            if (other := Path(folder).expanduser() / name).exists():
                raise self.problem(f"{other} would be read in place of what is saved: name another folder.")
        return super().save_pretrained(folder)

    def config_values(self) -> Mapping[str, Any]:
        """The content of its config.json."""
        raise NotImplementedError

    def published_tensors(self) -> dict[str, Tensor]:
        """Its weights by their published names, those that are stored but never used included."""
        raise NotImplementedError

    def write(self, folder: Path) -> list[Path]:
        from safetensors.torch import save_file

        # whole tensors of their own: parts of others cannot be stored
        tensors = {
            name: t.detach().cpu().contiguous().clone() for name, t in self.published_tensors().items()
        }
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        write_json(folder / "config.json", self.values or self.config_values())
        return [folder / WEIGHTS, self.write_card(folder), folder / "config.json"]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
