"""What a published checkpoint has to hold, and how it comes into a model.

Weights stay on disk, memory-mapped, until they are used. Those that are kept in another form than the stored one are
read through a mapping of their own, which is given back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from peav.hub import TensorFile
from peav.official.codec import fold_weight_norm, unfolded_shapes
from peav.official.parts import unset
from peav.official.vision import VisionConfig, VisionTower
from sam_audio.errors import ModelError, as_model_error
from sam_audio.separator.official.config import SAMAudioConfig
from sam_audio.separator.official.dit import ordinary_heads

CODEC = "audio_codec."
VISION = "vision_encoder.model.visual."
PICTURE_TEXT = "vision_encoder.model."  # the other half of PE-Core: stored, never used
# parts that have repositories of their own
ELSEWHERE = ("text_encoder.", "span_predictor.", "text_ranker.", "visual_ranker.")

_QUERIES_KEYS_VALUES = re.compile(r"attention\.w[qkv]\.")

Shapes = Mapping[str, tuple[int, ...]]


def check(file: TensorFile, expected: Shapes) -> None:
    """Compares names and shapes with those expected, without reading a weight.

    Raises:
        ModelError: they differ; the message names the first difference.
    """
    found = {name: shape for name, shape in file.shapes.items() if not name.startswith(ELSEWHERE)}
    missing = [name for name in expected if name not in found]
    wrong = [name for name in expected if found.get(name, expected[name]) != expected[name]]
    extra = [name for name in found if name not in expected]
    if missing:
        problem = f"{_some(missing)} missing"
    elif wrong:
        others = f", and {len(wrong) - 1} more do not fit" if len(wrong) > 1 else ""
        problem = f"{wrong[0]} has shape {found[wrong[0]]} instead of {expected[wrong[0]]}{others}"
    elif extra:
        problem = f"{_some(extra)} not part of such a model"
    else:
        return
    raise ModelError(f"{file.path} does not fit its config.json: {problem}")


def _some(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def expected_shapes(
    model: torch.nn.Module, codec: torch.nn.Module, config: SAMAudioConfig, stored: Shapes
) -> Shapes:
    """Names and shapes of a whole checkpoint.

    Args:
        model: everything but the vision tower, with ``codec`` in it as ``audio_codec``.
        stored: those of the file: they tell the form of the weight norm, and the sizes of parts that are never used.
    """
    own = {name: tuple(t.shape) for name, t in model.state_dict().items() if not name.startswith(CODEC)}
    names = {name.removeprefix(CODEC) for name in stored if name.startswith(CODEC)}
    for name, shape in unfolded_shapes(codec, names).items():
        own[CODEC + name] = shape
    for name, tensor in _vision_on_meta(config).state_dict().items():
        own[VISION + name] = tuple(tensor.shape)
    own |= _picture_text_shapes(stored, config.vision_encoder.dim)
    if config.transformer.in_channels is not None:  # such a model stores a projection that it never uses
        own |= {n: s for n, s in stored.items() if n.startswith("transformer.data_proj.")}
    return own


def vision_sizes(config: SAMAudioConfig) -> VisionConfig:
    """Sizes of the frame encoder, by its name.

    Raises:
        ModelError: nothing is called so.
    """
    with as_model_error():
        sizes = VisionConfig.named(config.vision_encoder.name)
    if sizes.output != config.vision_encoder.dim:
        raise ModelError(
            f"the config's vision_encoder.dim is {config.vision_encoder.dim}, "
            f"but {config.vision_encoder.name} gives {sizes.output}"
        )
    return sizes


def _picture_text_shapes(stored: Shapes, output: int) -> dict[str, tuple[int, ...]]:
    """What the text half of PE-Core has to look like, as wide and deep as the stored one."""
    own = {n.removeprefix(PICTURE_TEXT): s for n, s in stored.items() if n.startswith(PICTURE_TEXT)}
    width = (own.get("ln_final.weight") or own.get("ln_final.bias") or (0,))[0]
    blocks = {int(m[1]) for name in own if (m := re.match(r"transformer\.resblocks\.(\d+)\.", name))}
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": ((own.get("positional_embedding") or (0,))[0], width),
        "text_projection": (width, output),
        "logit_scale": (),
        "token_embedding.weight": ((own.get("token_embedding.weight") or (0,))[0], width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
    }
    for block in range(max(blocks, default=0) + 1):
        sizes: dict[str, tuple[int, ...]] = {
            "attn.in_proj_weight": (3 * width, width),
            "attn.in_proj_bias": (3 * width,),
            "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "ln_2.weight": (width,),
            "ln_2.bias": (width,),
            "mlp.c_fc.weight": (4 * width, width),
            "mlp.c_fc.bias": (4 * width,),
            "mlp.c_proj.weight": (width, 4 * width),
            "mlp.c_proj.bias": (width,),
        }
        shapes |= {f"transformer.resblocks.{block}.{name}": shape for name, shape in sizes.items()}
    return {PICTURE_TEXT + name: shape for name, shape in shapes.items()}


def fill(model: torch.nn.Module, file: TensorFile, n_heads: int) -> None:
    """Puts a checked checkpoint into a model on the meta device, whose dtypes say how to keep each tensor.

    Raises:
        CheckpointError: the file has changed meanwhile.
    """
    wanted = {name: tensor.dtype for name, tensor in model.state_dict().items()}

    def as_stored(name: str) -> bool:
        return wanted.get(name) == torch.float32 and not _QUERIES_KEYS_VALUES.search(name)

    own = [name for name in file.shapes if name in wanted or name.startswith(CODEC)]
    tensors = file.read(filter(as_stored, own))
    for names in _by_module(name for name in own if not as_stored(name)):
        # a mapping for each module, so that what has been converted does not stay in memory as it was
        for name, tensor in fold_weight_norm(file.read(names)).items():
            tensors[name] = ordinary_heads(name, tensor, n_heads).to(wanted[name])
    model.load_state_dict({name: tensor.to(wanted[name]) for name, tensor in tensors.items()}, assign=True)


def _by_module(names: Iterable[str]) -> list[list[str]]:
    """Names in groups: a layer of the transformer, one half of the codec, and so on."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(".".join(name.split(".")[:3]), []).append(name)
    return list(groups.values())


def read_vision(file: TensorFile, config: SAMAudioConfig, device: torch.device) -> VisionTower:
    """The frame encoder of a checked checkpoint."""
    tower = _vision_on_meta(config)
    stored = file.read(name for name in file.shapes if name.startswith(VISION))
    tower.load_state_dict({name.removeprefix(VISION): t.float() for name, t in stored.items()}, assign=True)
    return tower.eval().requires_grad_(False).to(device)


def _vision_on_meta(config: SAMAudioConfig) -> VisionTower:
    with unset():
        return VisionTower(vision_sizes(config))
