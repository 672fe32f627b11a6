"""Names of the tensors in a PE-AV or PE-A-Frame checkpoint: ours, perception_models', transformers'.

Our models are made of parts, so that each can be loaded alone; ``<part>.<name>`` is our name of a tensor. Inside the
parts the names are perception_models', except for the codec's, which are DACVAE's (see `peav.official.codec`).
The functions here take and give dicts of tensors, on the meta device too, and copy no data that they need not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

_AV = "audio_visual_model."
AV_PARTS = {  # part -> prefix in perception_models; where prefixes nest, the longer comes first
    "codec": f"{_AV}audio_model.dac_vae_encoder.",
    "audio": f"{_AV}audio_model.",
    "vision": f"{_AV}visual_model.pe_encoder.",
    "video": f"{_AV}visual_model.",
    "fusion": f"{_AV}audio_visual_transformer.",
    "text": "text_model.",
    "audio_head": "audio_head.",
    "visual_head": "visual_head.",
    "audio_visual_head": "audio_visual_head.",
    "audio_text_head": "audio_text_head.",
    "visual_text_head": "visual_text_head.",
    "audio_visual_text_head": "audio_visual_text_head.",
    "audio_plus_text_head": "audio_plus_text_head.",
    "visual_plus_text_head": "visual_plus_text_head.",
    "logits": "logits.",  # only transformers has these
}
FRAME_PARTS = {
    "codec": "audio_model.dac_vae_encoder.",
    "audio": "audio_model.",
    "text": "text_model.",
    "audio_head": "audio_head.",
    "text_head": "text_head.",
    "logit": "logit_",
}

Rules = tuple[tuple[str, str], ...]  # (perception_models, transformers) prefixes; the first that fits counts


def _tower_rules(before: str, after: str) -> Rules:
    return (
        (f"{before}embeddings.cls_token", f"{after}patch_embedder.class_embedding"),
        (f"{before}embeddings.", f"{after}patch_embedder."),
        (before, after),
    )


def _audio_rules(before: str, after: str) -> Rules:
    return (
        (f"{before}dac_vae_encoder.encoder.", f"{after}embedder.dac_encoder."),
        (f"{before}dac_vae_encoder.bottleneck.in_proj.", f"{after}embedder.bottleneck."),
        (f"{before}data_proj.", f"{after}embedder.data_proj."),
        *_tower_rules(f"{before}audio_transformer.", after),
    )


def _video_rules(before: str, after: str) -> Rules:
    return (
        (f"{before}pe_encoder.", f"{after}embedder.vision_model.timm_model."),
        (f"{before}proj.", f"{after}embedder.proj."),
        (f"{before}data_proj.", f"{after}embedder.data_proj."),
        *_tower_rules(f"{before}visual_transformer.", after),
    )


def _fusion_rules(before: str, after: str) -> Rules:
    return (
        (f"{before}modality_aligner.conv.", f"{after}embedder.video_proj."),
        (f"{before}modality_aligner.layer_norm.", f"{after}embedder.video_norm."),
        (f"{before}concat_modality_proj.", f"{after}embedder.concat_modality_proj."),
        (f"{before}data_proj.", f"{after}embedder.data_proj."),
        *_tower_rules(before, after),
    )


AV_RULES: Rules = (
    *_audio_rules(f"{_AV}audio_model.", "audio_model.audio_encoder."),
    *_video_rules(f"{_AV}visual_model.", "video_model.video_encoder."),
    *_fusion_rules(f"{_AV}audio_visual_transformer.", "audio_video_encoder."),
    ("audio_head.", "audio_model.audio_head."),
    ("audio_text_head.", "audio_model.text_audio_head."),
    ("visual_head.", "video_model.video_head."),
    ("visual_text_head.", "video_model.text_video_head."),
    ("audio_visual_head.", "audio_video_head."),
    ("audio_visual_text_head.", "text_audio_video_head."),
    ("visual_plus_text_head.", "video_plus_text_head."),
    ("logits.audio_text.", "audio_model.text_audio_logit_"),
    ("logits.video_text.", "video_model.text_video_logit_"),
    ("logits.audio_video.", "audio_video_logit_"),
    ("logits.audio_video_text.", "text_audio_video_logit_"),
    ("logits.audio_plus_text_video.", "audio_plus_text_logit_"),
    ("logits.video_plus_text_audio.", "video_plus_text_logit_"),
)
FRAME_RULES: Rules = (
    *_audio_rules("audio_model.", "audio_encoder."),
    ("text_head.", "text_audio_head."),
    ("logit_", "text_audio_logit_"),
)

_VISION_RULES: Rules = (  # (PE-Core, timm)
    ("conv1.", "patch_embed.proj."),
    ("class_embedding", "cls_token"),
    ("positional_embedding", "pos_embed"),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    ("attn_pool.probe", "attn_pool.latent"),
    ("attn_pool.attn.out_proj.", "attn_pool.proj."),
    ("attn_pool.layernorm.", "attn_pool.norm."),
    ("attn_pool.mlp.c_fc.", "attn_pool.mlp.fc1."),
    ("attn_pool.mlp.c_proj.", "attn_pool.mlp.fc2."),
)
_VISION_BLOCK_RULES: Rules = (
    ("ln_1.", "norm1."),
    ("ln_2.", "norm2."),
    ("attn.in_proj_", "attn.qkv."),
    ("attn.out_proj.", "attn.proj."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
)
_IN_PROJ, _QUERY, _KEY_VALUE = "attn_pool.attn.in_proj_", "attn_pool.q.", "attn_pool.kv."


def from_transformers(tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Gives the tensors of a transformers checkpoint, or some of them, their names in perception_models.

    What transformers left out stays out: dropped text layers, and half of the codec's bottleneck. The bias that it
    adds to the image tower is called ``proj_bias``. Names that fit no rule pass unchanged.
    """
    renamed = {_swap(name, rules, back=True): tensor for name, tensor in tensors.items()}
    return _inside(renamed, f"{_AV}visual_model.pe_encoder.", _from_timm)


def to_transformers(
    tensors: Mapping[str, Tensor], rules: Rules, nth_text_layer: int | None = None
) -> dict[str, Tensor]:
    """Gives the tensors of a perception_models checkpoint their names and forms in transformers.

    Drops what transformers does not store: text layers from ``nth_text_layer`` on, the second half of the codec's
    bottleneck, and its output projection.
    """
    kept: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer = re.match(r"text_model\.layers\.(\d+)\.", name)
        if layer and nth_text_layer is not None and int(layer[1]) >= nth_text_layer:
            continue
        if ".bottleneck.out_proj." in name:
            continue
        kept[name] = tensor[: len(tensor) // 2] if ".bottleneck.in_proj." in name else tensor
    kept = _inside(kept, f"{_AV}visual_model.pe_encoder.", _to_timm)
    return {_swap(name, rules): tensor for name, tensor in kept.items()}


def to_pe_codec(name: str, stages: int) -> str:
    """The name in a PE checkpoint of a tensor of `CodecEncoder`; ``stages`` is the number of its rates.

    >>> to_pe_codec("encoder.block.1.block.0.block.3.weight", 4)
    'encoder.block.0.res_unit1.conv2.weight'
    """
    places = {f"{stages + 1}": "snake1", f"{stages + 2}": "conv2"}
    units = "snake1", "conv1", "snake2", "conv2"
    if name.startswith("quantizer."):
        return "bottleneck." + name.removeprefix("quantizer.")
    if unit := re.match(r"encoder\.block\.(\d+)\.block\.(\d+)\.block\.(\d+)\.", name):
        stage, i, layer = map(int, unit.groups())
        return f"encoder.block.{stage - 1}.res_unit{i + 1}.{units[layer]}.{name[unit.end() :]}"
    if end := re.match(r"encoder\.block\.(\d+)\.block\.(\d+)\.", name):
        return f"encoder.block.{int(end[1]) - 1}.{'snake1' if end[2] == '3' else 'conv1'}.{name[end.end() :]}"
    return re.sub(r"encoder\.block\.(\d+)\.", lambda m: f"encoder.{places.get(m[1], 'conv1')}.", name)


def part_of(name: str, prefixes: Mapping[str, str], rules: Rules) -> str | None:
    """The part that a tensor of a file belongs to, whichever layout the file has."""
    name = _swap(name, rules, back=True)
    return next((part for part, prefix in prefixes.items() if name.startswith(prefix)), None)


def _swap(name: str, rules: Rules, back: bool = False) -> str:
    for before, after in rules:
        if back:
            before, after = after, before
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def _inside(tensors: dict[str, Tensor], prefix: str, change: Change) -> dict[str, Tensor]:
    """Applies a change to the tensors under a prefix, as if it were not there."""
    inner = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    outer = {n: t for n, t in tensors.items() if not n.startswith(prefix)}
    return outer | {prefix + n: t for n, t in change(inner).items()} if inner else outer


def _to_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "proj":
            renamed["head.weight"] = tensor.T
            renamed["head.bias"] = tensors.get("proj_bias", tensor.new_zeros(tensor.shape[1]))
        elif name == "proj_bias":
            continue
        elif name.startswith(_IN_PROJ):
            kind, third = name.removeprefix(_IN_PROJ), len(tensor) // 3
            renamed[_QUERY + kind], renamed[_KEY_VALUE + kind] = tensor[:third], tensor[third:]
        elif name in ("class_embedding", "positional_embedding"):
            renamed[_swap(name, _VISION_RULES)] = tensor.view(1, -1, tensor.shape[-1])
        elif block := re.match(r"transformer\.resblocks\.(\d+)\.", name):
            renamed[f"blocks.{block[1]}." + _swap(name[block.end() :], _VISION_BLOCK_RULES)] = tensor
        else:
            renamed[_swap(name, _VISION_RULES)] = tensor
    return renamed


def _from_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "head.weight":
            renamed["proj"] = tensor.T
        elif name == "head.bias":
            renamed["proj_bias"] = tensor
        elif name.startswith(_QUERY):
            kind = name.removeprefix(_QUERY)
            renamed[_IN_PROJ + kind] = torch.cat([tensor, tensors[_KEY_VALUE + kind]])
        elif name.startswith(_KEY_VALUE):
            continue
        elif name in ("cls_token", "pos_embed"):
            flat = tensor.view(-1, tensor.shape[-1])
            renamed[_swap(name, _VISION_RULES, back=True)] = flat[0] if name == "cls_token" else flat
        elif block := re.match(r"blocks\.(\d+)\.", name):
            inner = _swap(name[block.end() :], _VISION_BLOCK_RULES, back=True)
            renamed[f"transformer.resblocks.{block[1]}.{inner}"] = tensor
        else:
            renamed[_swap(name, _VISION_RULES, back=True)] = tensor
    return renamed
