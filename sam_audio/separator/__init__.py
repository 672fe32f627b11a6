"""Separators. :func:`load` gives a :class:`sam_audio.types.SeparationModel` by name, hub id or path."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from sam_audio.errors import ModelError, UserError
from sam_audio.types import SeparationModel


@dataclass(frozen=True)
class ModelOptions:
    """How a model works; None is its own default.

    Args:
        predict_spans: nano: listen with PE-A-Frame for when each prompt sounds, and tell the separator.
        revision: official: branch, tag or commit on the hub.
        dtype: official: float32, bfloat16 or float16 for the large matrices.
        steps, method, seed: official: of the flow's solver (midpoint, euler, rk4) and its noise.
        raw: official: the model's own mono estimates in place of stems that sum to the mixture.
        watermark: official: False leaves the published decoder's mark out.
        memory_bytes: official: what the process may use; decides how much is computed together.
    """

    predict_spans: bool | None = None
    revision: str | None = None
    dtype: str | None = None
    steps: int | None = None
    method: str | None = None
    seed: int | None = None
    raw: bool | None = None
    watermark: bool | None = None
    memory_bytes: int | None = None

    def given(self) -> dict[str, object]:
        """Those that are not None."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


def load(name: str, device: str = "cpu", options: ModelOptions | None = None) -> SeparationModel:
    """Loads a separation model.

    Args:
        name: ``nano``, the path of a safetensors file with weights of the nano network, an official model: its hub id
            (``facebook/sam-audio-small``) or folder, or what a plugin calls its model.
        device: ``cpu``, ``cuda``, ``mps``.
        options: see :class:`ModelOptions`.

    Raises:
        ModelError: there is no such model, or its file is damaged or of another kind.
        UserError: an option that the model does not have.
    """
    given = (options or ModelOptions()).given()
    path = Path(name)
    if name == "nano" or path.suffix == ".safetensors" or path.is_file():
        return _load_nano(name, device, given)
    if path.is_dir() or "/" in name or name.startswith("sam-audio-"):
        return _load_official(name, device, given)
    from sam_audio.extending.registry import registry

    brought = {kind.name: kind for kind in registry().all("separators")}
    if name not in brought:
        known = ", ".join(["nano", *brought])
        raise ModelError(
            f"there is no model called {name}: use {known}, a .safetensors file, or one like facebook/sam-audio-small"
        )
    if given:
        raise UserError(f"the model {name} has no {_option(given)}: leave it out, or name an official model")
    model: SeparationModel = brought[name].load(device)
    return model


def _load_nano(name: str, device: str, given: dict[str, object]) -> SeparationModel:
    from sam_audio.separator.nano.engine import WEIGHTS
    from sam_audio.separator.nano.model import PREDICT_SPANS, NanoSeparator

    predict_spans = bool(given.pop("predict_spans", PREDICT_SPANS))
    if given:
        raise UserError(f"the nano model has no {_option(given)}: leave it out, or name an official model")
    path = WEIGHTS if name == "nano" else Path(name)
    if not path.is_file():
        raise ModelError(f"{name} is not a model file: give the path of a .safetensors file, or nano")
    return NanoSeparator(path, device, predict_spans)


def _load_official(name: str, device: str, given: dict[str, object]) -> SeparationModel:
    from sam_audio.separator.official.separator import OfficialOptions, OfficialSeparator

    if given.pop("predict_spans", None):
        raise UserError(
            "spans are predicted for the nano model only from the command line: leave out --predict-spans"
        )
    load_time = {key: str(given.pop(key)) for key in ("revision", "dtype") if key in given}
    return OfficialSeparator.load(name, device, options=OfficialOptions(**given), **load_time)  # type: ignore[arg-type]


def _option(given: dict[str, object]) -> str:
    return "--" + next(iter(given)).removesuffix("_bytes").replace("_", "-")
