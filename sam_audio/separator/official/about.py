"""What is known of a published model without reading its weights: sizes, memory needed, files, licence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peav import hub
from peav.checkpoints import CheckpointError
from peav.official.codec import CodecEncoder
from peav.official.config import CONFIGS
from peav.official.parts import unset
from sam_audio import models as catalogue
from sam_audio.errors import ModelError, as_model_error
from sam_audio.separator.official.config import SAMAudioConfig
from sam_audio.separator.official.memory import RUNTIME_BYTES, needed, weight_bytes
from sam_audio.separator.official.model import SAMAudio
from sam_audio.separator.official.options import OfficialOptions
from sam_audio.separator.official.weights import vision_sizes

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TERMS = "accept its terms at https://huggingface.co/{} and log in with `hf auth login`"


def about(name: str) -> list[dict[str, Any]]:
    """Entries like those of `catalogue.models`, with ``memory`` in bytes by dtype, ``with`` (other models that it can
    use), ``gate`` and ``revision``.

    Args:
        name: ``nano``, which is several models, a published model's name, or a folder.

    Raises:
        ModelError: nothing is called so, or the folder holds no such model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return [_of_folder(folder)]
    if name == "nano":
        return [_of_nano(entry) for entry in catalogue.shipped()]
    if (model := catalogue.find(name)) is None:
        raise ModelError(
            f"there is neither a folder nor a known model called {name}: see sam-audio models list"
        )
    (entry,) = (e for e in catalogue.models() if e["name"] == model.name)
    return [
        entry
        | _requirements(model.kind, _known_config(model))
        | {
            "gate": _TERMS.format(model.name) if model.gated else None,
            "revision": model.revision or "main",
        }
    ]


def _of_nano(entry: dict[str, Any]) -> dict[str, Any]:
    memory = RUNTIME_BYTES + 4 * entry["parameters"]
    return entry | {"memory": {"float32": memory}, "with": {}, "gate": None, "revision": None}


def _of_folder(folder: Path) -> dict[str, Any]:
    with as_model_error():
        values = hub.read_json(hub.find(folder, "config.json"))
        kind = kind_of(values)
        config = read_config(kind, values)
        weights = hub.find(folder, catalogue.FILES[kind][1])
        file = hub.TensorFile.open(weights)
    paths = [folder / "config.json", *sorted({weights, *file.shards.values()})]
    return {
        "name": str(folder),
        "kind": kind,
        "parameters": sum(map(math.prod, file.shapes.values())),
        "bytes": sum(path.stat().st_size for path in set(file.shards.values())),
        "licence": None,
        "gated": False,
        "where": str(folder),
        "files": [path.name for path in paths],
        **_requirements(kind, config),
        "gate": None,
        "revision": None,
    }


def kind_of(values: Mapping[str, Any]) -> str:
    """Which kind of published model a config.json describes, as in `catalogue.Published.kind`.

    Raises:
        CheckpointError: none.
    """
    for kind, names in (
        ("judge", ("finetune_transformer",)),
        ("encoders", ("audio_visual_model", "audio_video_config")),
        ("frame encoder", ("audio_model", "audio_config")),
        ("separator", ("transformer", "audio_codec")),
    ):
        if any(name in values for name in names):
            return kind
    raise CheckpointError(
        "This config.json describes no SAM-Audio, Judge, PE-AV or PE-A-Frame: name the folder of one."
    )


def read_config(kind: str, values: Mapping[str, Any]) -> Any:
    """The sizes of a model of that kind from a config.json."""
    from judge.official import JudgeConfig
    from peav.official.config import PEAudioFrameConfig, PEAudioVideoConfig

    readers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "separator": SAMAudioConfig.of,
        "judge": JudgeConfig.of,
        "encoders": PEAudioVideoConfig.of,
        "frame encoder": PEAudioFrameConfig.of,
    }
    return readers[kind](values)


def _known_config(model: catalogue.Published) -> Any:
    from judge.official import JudgeConfig

    short = model.name.partition("/")[2]
    if short in CONFIGS:
        return CONFIGS[short]
    return JudgeConfig() if model.kind == "judge" else read_config(model.kind, model.config)


def _requirements(kind: str, config: Any) -> dict[str, Any]:
    if kind != "separator":
        return {
            "memory": {name: _encoder_bytes(kind, config, dtype) for name, dtype in DTYPES.items()},
            "with": {},
        }
    codec = config.audio_codec
    n_frames = round(OfficialOptions.window_s * codec.sample_rate / codec.hop)
    memory = {}
    for name, dtype in DTYPES.items():
        with unset():
            model = SAMAudio(config)
        model.transformer.cast_body(dtype)
        memory[name] = needed(model, n_frames)
    vision = vision_sizes(config)
    others = {"texts": config.text_encoder.name, "predicted spans": config.span_predictor}
    return {
        "memory": memory,
        "with": {use: other for use, other in others.items() if other},
        "video_bytes": _on_meta(lambda: _vision(vision)),
    }


def _vision(config: Any) -> nn.Module:
    from peav.official.vision import VisionTower

    return VisionTower(config)


def _on_meta(build: Callable[[], nn.Module]) -> int:
    with unset():
        return weight_bytes(build())


def _encoder_bytes(kind: str, config: Any, dtype: torch.dtype) -> int:
    """What a Judge or an encoder takes with all of its parts; the codec stays in float32."""
    from judge.official import SAMAudioJudgeModel
    from peav.official.frame import PEAudioFrame
    from peav.official.model import PEAudioVideo

    def build() -> nn.Module:
        if kind == "judge":
            return SAMAudioJudgeModel(config)
        return PEAudioVideo(config) if kind == "encoders" else PEAudioFrame(config)

    with unset():
        whole, codec = build(), CodecEncoder(config.codec)
    fixed = weight_bytes(codec)
    return RUNTIME_BYTES + fixed + (weight_bytes(whole) - fixed) * dtype.itemsize // 4


def download(name: str, revision: str | None = None) -> Path:
    """Fetches all files of a published model, and the text encoder that a separator needs, into the hub's cache.

    Args:
        name: of a model on the hub, a published one or another in the same form.
        revision: branch, tag or commit; by default the one that holds the files in the form that is read here.

    Returns:
        The folder in the cache.

    Raises:
        ModelError: there is nothing to fetch, or it cannot be had; the message says what to do.
    """
    if name == "nano":
        raise ModelError("nano is shipped with the package: there is nothing to download")
    if Path(name).expanduser().exists():
        raise ModelError(f"{name} is here already: use it with --model {name}")
    model = catalogue.find(name)
    repository = hub.whole_name(name)
    with as_model_error():
        if model is not None:
            kind, revision = model.kind, revision or model.revision
        else:
            kind = kind_of(hub.read_json(hub.download(repository, "config.json", revision)))
        paths = [hub.download(repository, choices, revision) for choices in catalogue.FILES[kind]]
        if kind == "separator":
            text = SAMAudioConfig.of(hub.read_json(paths[0])).text_encoder.name
            for file in ("config.json", "model.safetensors", "tokenizer.json"):
                hub.download(text, file)
            for file in ("tokenizer_config.json", "special_tokens_map.json", "spiece.model"):
                hub.download_if_there(text, file)
    return paths[0].parent
