"""Finds the files of published models, in a folder or on the Hugging Face hub, and reads tensors from them.

Nothing here runs code from a file. Files that are in the hub's cache (HF_HOME) are used as they are; the network is
asked for the others only, and not at all with HF_HUB_OFFLINE.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from peav.checkpoints import CheckpointError, read_json

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

PE_REVISION = "perception_models"
_OWNER = "facebook"
_INDEX = ".safetensors.index.json"
WEIGHTS = ("model.safetensors", f"model{_INDEX}", "checkpoint.pt")
_SHARD = re.compile(r"[A-Za-z0-9][\w.-]{0,200}\.safetensors")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class HubOptions(TypedDict, total=False):
    """How the hub is asked, by its client's own words."""

    token: str | bool | None  # for gated models; by default the one of `hf auth login`
    cache_dir: str | os.PathLike[str] | None  # in place of HF_HOME's
    local_files_only: bool  # never ask the network


def find(
    name: str | os.PathLike[str],
    files: str | Iterable[str],
    revision: str | None = None,
    **options: Unpack[HubOptions],
) -> Path:
    """The path of a model's file, fetched if need be.

    Args:
        name: a folder, or a model on the hub, e.g. "facebook/pe-av-small" or just "pe-av-small".
        files: name of the file; of several, the first that the model has.
        revision: branch, tag or commit on the hub; None is its default one. A folder has none.
        options: see `HubOptions`.

    Raises:
        CheckpointError: there is no such file, or it cannot be fetched.
        TypeError: there is no such option.
    """
    check_options(options)
    choices = [files] if isinstance(files, str) else list(files)
    folder = Path(name).expanduser()
    if folder.is_dir():
        for file in choices:
            if (folder / file).is_file():
                return folder / file
        raise CheckpointError(f"{folder} has no {' or '.join(choices)}: it is not a whole model.")
    repository = os.fspath(name)
    if folder.exists() or not _REPOSITORY.fullmatch(repository):
        raise CheckpointError(
            f"{repository} is not a folder: name a model's folder, or a model on the hub like {_OWNER}/pe-av-small."
        )
    repository = whole_name(repository)
    at_hand = (_cached(repository, file, revision, options.get("cache_dir")) for file in choices)
    found = next(filter(None, at_hand), None) or _fetch(repository, choices, revision, **options)
    if found.name.endswith(_INDEX):
        for shard in _shards(found):
            find(repository, shard.name, revision, **options)
    return found


def check_options(options: Mapping[str, Any]) -> None:
    """Raises TypeError where there is an option that the hub does not have."""
    if unknown := options.keys() - HubOptions.__annotations__.keys():
        raise TypeError(f"from_pretrained() got an unexpected keyword argument {min(unknown)!r}")


def whole_name(name: str) -> str:
    """A model's name on the hub with its owner.

    >>> whole_name("pe-av-small")
    'facebook/pe-av-small'
    """
    return name if "/" in name else f"{_OWNER}/{name}"


def published_revision(name: str | os.PathLike[str], revision: str | None, published: str) -> str | None:
    """The revision that is meant where none is named: of the published models the one in the form that is read here,
    of all others the default one.

    >>> published_revision("pe-av-small", None, PE_REVISION)
    'perception_models'
    >>> published_revision("someone/pe-av-tuned", None, PE_REVISION)
    """
    if revision is None and whole_name(os.fspath(name)).startswith(f"{_OWNER}/"):
        return published
    return revision


def _cached(
    repository: str, file: str, revision: str | None, cache_dir: str | os.PathLike[str] | None = None
) -> Path | None:
    try:
        found = client().try_to_load_from_cache(repository, file, cache_dir=cache_dir, revision=revision)
    except ValueError:  # not a possible name on the hub
        return None
    return Path(found) if isinstance(found, str) else None


def _fetch(repository: str, files: list[str], revision: str | None, **options: Unpack[HubOptions]) -> Path:
    for file in files:
        if (path := _fetch_one(repository, file, revision, **options)) is not None:
            return path
    raise CheckpointError(
        f"{_at(repository, revision)} has no {' or '.join(files)}: it is not a model of this kind."
    )


def _at(repository: str, revision: str | None) -> str:
    return f"{repository} (revision {revision})" if revision else repository


def _fetch_one(
    repository: str, file: str, revision: str | None, **options: Unpack[HubOptions]
) -> Path | None:
    """A file of a repository, from the cache if that is up to date; None where the repository has none like it."""
    where = _at(repository, revision)
    hub = client()
    from huggingface_hub import constants, errors

    given = {name: value for name, value in options.items() if value is not None}
    try:
        log.info("asks the hub for %s of %s", file, repository)
        return Path(hub.hf_hub_download(repository, file, revision=revision, **given))
    except errors.GatedRepoError:
        message = (
            f"{repository} is gated: accept its terms at https://huggingface.co/{repository} "
            "and log in with `hf auth login`."
        )
    except errors.RevisionNotFoundError:
        message = f"{repository} has no revision {revision!r}: name another."
    except errors.RepositoryNotFoundError:
        message = f"There is neither a folder nor a model on the Hugging Face hub called {repository}."
    except errors.LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE or options.get("local_files_only"):
            lock = "HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "local_files_only"
            message = (
                f"{where} has not been downloaded yet, and {lock} is set: unset it, "
                "or name a folder with the model's files."
            )
        else:
            message = (
                f"{where} could not be reached: connect to the internet, or name a folder with its files."
            )
    except errors.EntryNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001  the network library's, the disk's
        reason = str(error).strip().splitlines() or [type(error).__name__]
        message = f"{where} could not be fetched: {reason[0].rstrip('.')}."
    raise CheckpointError(message)


def download(repository: str, files: str | Iterable[str], revision: str | None = None) -> Path:
    """Fetches a file from the hub, or the first of several that the repository has, and checks what has come.

    What was there before is used if it is what the hub has now; a download that was cut off goes on where it ended.

    Args:
        repository: with its owner, where it has one.
        files, revision: as for `find`.

    Raises:
        CheckpointError: it cannot be fetched, or arrived damaged.
    """
    path = _fetch(repository, [files] if isinstance(files, str) else list(files), revision)
    check_sum(path)
    if path.name.endswith(_INDEX):
        for shard in _shards(path):
            download(repository, shard.name, revision)
    return path


def download_if_there(repository: str, file: str, revision: str | None = None) -> Path | None:
    """The same for a file that the repository need not have."""
    return _fetch_one(repository, file, revision)


def check_sum(path: Path) -> None:
    """Compares a file in the hub's cache with the SHA-256 that it is stored under; small files have none.

    Raises:
        CheckpointError: it is damaged; it is removed, so that it can be fetched again.
    """
    blob = path.resolve()
    if not re.fullmatch("[0-9a-f]{64}", blob.name):
        return
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        blob.unlink()
        raise CheckpointError(f"{path} arrived damaged and was removed: download it again.")


def cached(repository: str, files: Iterable[str], revision: str | None = None) -> Path | None:
    """The first of some files that is in the hub's cache; None for none, or without the hub's client."""
    try:
        return next(filter(None, (_cached(repository, file, revision) for file in files)), None)
    except CheckpointError:
        return None


def client() -> Any:
    """huggingface_hub.

    Raises:
        CheckpointError: it is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import logging

        logging.set_verbosity_error()  # what goes wrong is said once, by our own error
    except ImportError:
        raise CheckpointError(
            'Models from the hub need more packages: pip install "separate-by-prompt[official]".'
        ) from None
    return huggingface_hub


@dataclass(frozen=True)
class TensorFile:
    """Tensors on disk, which are mapped into memory when they are read.

    Opened anew for each read, so that it can be shared, copied and pickled.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    shards: dict[str, Path]  # name of a tensor -> file it is in

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """A .safetensors file, the index of several, or a flat dict of tensors written by torch.save.

        Raises:
            CheckpointError: it is damaged, or holds something else.
        """
        files = _shards(path) if path.name.endswith(_INDEX) else [path]
        shapes: dict[str, tuple[int, ...]] = {}
        shards: dict[str, Path] = {}
        for file in files:
            found = _shapes(file)
            shapes |= found
            shards |= dict.fromkeys(found, file)
        return cls(path, shapes, shards)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some of the tensors, as they are stored.

        Raises:
            CheckpointError: the file has gone or changed.
        """
        wanted: dict[Path, list[str]] = {}
        for name in names:
            wanted.setdefault(self.shards[name], []).append(name)
        return {n: t for file, inside in wanted.items() for n, t in _read(file, inside).items()}


def _shards(index: Path) -> list[Path]:
    """The files that an index lists, which are beside it."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"{index} lists no files: fetch the model again.")
    files = names.values()
    if not all(isinstance(file, str) and _SHARD.fullmatch(file) for file in files):
        raise CheckpointError(f"{index} lists files that are none of a model's: fetch the model again.")
    return [index.with_name(file) for file in sorted(set(files))]


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if _is_pickle(path):
        return {name: tuple(tensor.shape) for name, tensor in _unpickle(path).items()}
    with _damage_named(path), _safe_open(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _read(path: Path, names: list[str]) -> dict[str, Tensor]:
    with _damage_named(path):
        if _is_pickle(path):
            tensors = _unpickle(path)
            return {name: tensors[name] for name in names}
        with _safe_open(path) as file:
            return {name: file.get_tensor(name) for name in names}


def _safe_open(path: Path) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt")


def _is_pickle(path: Path) -> bool:
    return path.suffix in (".pt", ".pth", ".bin")


def _unpickle(path: Path) -> dict[str, Tensor]:
    import torch

    with _damage_named(path):
        _check_archive(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if isinstance(tensors, dict) and all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in tensors.items()
        ):
            return tensors
    raise CheckpointError(f"{path} does not hold tensors by name: it is not a model of this kind.")


def _check_archive(path: Path) -> None:
    """Sees to it that torch is not made to call or to allocate what the file does not hold.

    torch.save writes a zip of members as they are, one of which is the pickle that puts the tensors together.

    Raises:
        UnpicklingError, BadZipFile: the file is another, or its pickle calls for more than tensors.
    """
    import pickle
    import pickletools
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise zipfile.BadZipFile("torch.save compresses nothing")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise zipfile.BadZipFile("its members are larger than the file")
        (pickled,) = (m for m in members if m.filename.endswith("data.pkl"))
        for code, argument, _ in pickletools.genops(archive.read(pickled)):
            if code.name in ("GLOBAL", "INST") and not _TENSOR_PARTS.fullmatch(str(argument)):
                raise pickle.UnpicklingError(f"it calls {argument}")
            if code.name == "STACK_GLOBAL" or code.name.startswith("EXT"):  # torch.save writes protocol 2
                raise pickle.UnpicklingError("it calls what it has computed")


# all that a flat dict of tensors is put together from
_TENSOR_PARTS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch\.nn\.parameter Parameter"
    r"|torch (\w+Storage|Size|float\w+|bfloat16|u?int\d+|bool)|torch\.storage UntypedStorage"
)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns whatever the libraries raise about a bad file into one sentence."""
    import pickle

    try:
        yield
    except (CheckpointError, MemoryError):  # not enough memory says nothing about the file
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: fetch the model again.") from None
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} is damaged or holds more than tensors, which could run code: fetch the model again."
        ) from None
    except Exception:  # unpicklers raise of every kind about damaged files
        raise CheckpointError(f"{path} is damaged: fetch the model again.") from None
