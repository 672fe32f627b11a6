"""PE-Core, the image tower of Perception Encoder (arXiv 2504.13181): a picture goes in, a vector comes out.

    pixels -> patches + positions -> transformer with 2-D rotary positions -> attention pooling -> vector

Written out rather than taken from timm, whose version of it is what the tests compare with: so the names of a
checkpoint can be checked without bringing in timm, and the modules carry the published names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peav.checkpoints import CheckpointError
from peav.official.linear import Linear, linear
from peav.official.transformer import Rotation, rotate

_EPS = 1e-5
_THETA = 10000.0
_POOL_MLP_RATIO = 4
FRAMES_AT_ONCE = 32  # of 336 x 336 pixels, under 1 GB in flight


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of an image tower.

    Args:
        grid_turned: patches on a side that the rotary positions were made for, where that is not the grid: they are
            stretched to it, as timm does. None leaves them as they are.
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp: int
    output: int
    class_token: bool = True
    pool_heads: int = 8
    grid_turned: float | None = None

    @property
    def grid(self) -> int:
        """Patches on a side."""
        return self.image_size // self.patch_size

    @classmethod
    def named(cls, name: str) -> VisionConfig:
        """By the name in a config.json: PE-Core's own, or timm's.

        Raises:
            CheckpointError: there is none of that name.
        """
        known = VISION_CONFIGS.get(_TIMM_NAMES.get(name.removesuffix(".fb"), name))
        if known is None:
            raise CheckpointError(
                f"There is no vision tower {name!r}: use one of {', '.join(VISION_CONFIGS)}."
            )
        return known

    @classmethod
    def of_timm(cls, values: Mapping[str, Any]) -> VisionConfig:
        """From the ``vision_config`` of a transformers config: one of timm's towers by name, and what is changed of it.

        Raises:
            CheckpointError: there is no such tower, or something is changed that has no place here.
        """
        known = cls.named(str(values.get("architecture", "PE-Core-L14-336")))
        changes = values.get("model_args") or {}
        for name, value in changes.items():
            if name not in _TIMM_ARGUMENTS or not _is_size(value):
                raise CheckpointError(
                    f"The config's vision tower has {name} = {value!r} in model_args, which is not known here: "
                    f"known are the numbers {', '.join(_TIMM_ARGUMENTS)}."
                )
        width = int(changes.get("embed_dim", known.width))
        labels = values.get("num_classes")
        sizes = cls(
            image_size=int(changes.get("img_size", known.image_size)),
            patch_size=int(changes.get("patch_size", known.patch_size)),
            width=width,
            layers=int(changes.get("depth", known.layers)),
            heads=int(changes.get("num_heads", known.heads)),
            mlp=int(width * changes.get("mlp_ratio", known.mlp / known.width)),
            output=labels if isinstance(labels, int) and labels > 0 else known.output,
            class_token=known.class_token,
            pool_heads=int(changes.get("attn_pool_num_heads", known.pool_heads)),
        )
        if sizes.grid < 1 or width % (4 * sizes.heads) or width % sizes.pool_heads:
            raise CheckpointError(
                f"The config's vision tower cannot be: {sizes.image_size} pixels in patches of {sizes.patch_size}, "
                f"and {width} channels for {sizes.heads} heads."
            )
        turned = float(changes.get("ref_feat_shape", known.grid))
        return sizes if turned == sizes.grid else replace(sizes, grid_turned=turned)


_TIMM_ARGUMENTS = (
    "depth",
    "embed_dim",
    "img_size",
    "patch_size",
    "num_heads",
    "mlp_ratio",
    "attn_pool_num_heads",
    "ref_feat_shape",
)


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


VISION_CONFIGS = {
    "PE-Core-L14-336": VisionConfig(336, 14, 1024, 24, 16, 4096, 1024),
    "PE-Core-B16-224": VisionConfig(224, 16, 768, 12, 12, 3072, 1024),
    "PE-Core-S16-384": VisionConfig(384, 16, 384, 12, 6, 1536, 512),
    "PE-Core-T16-384": VisionConfig(384, 16, 192, 12, 3, 768, 512),
    "PE-Core-G14-448": VisionConfig(448, 14, 1536, 50, 16, 8960, 1280, class_token=False),
    "PE-Core-Tiny-Test": VisionConfig(48, 16, 48, 2, 3, 192, 40),
}

_TIMM_NAMES = {
    "vit_pe_core_large_patch14_336": "PE-Core-L14-336",
    "vit_pe_core_base_patch16_224": "PE-Core-B16-224",
    "vit_pe_core_small_patch16_384": "PE-Core-S16-384",
    "vit_pe_core_tiny_patch16_384": "PE-Core-T16-384",
    "vit_pe_core_gigantic_patch14_448": "PE-Core-G14-448",
}


class VisionTower(nn.Module):
    """Pictures to vectors, not normalised.

    Args:
        config: sizes.
        proj_bias: the last projection has a bias, as in the transformers format of PE-AV.
    """

    def __init__(self, config: VisionConfig, proj_bias: bool = False) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = _random(width) if config.class_token else None
        positions = config.grid**2 + config.class_token
        self.positional_embedding = _random(positions, width)
        self.ln_pre = nn.LayerNorm(width, eps=_EPS)
        self.transformer = _Transformer(config)
        self.ln_post = nn.LayerNorm(width, eps=_EPS)
        self.attn_pool = _AttentionPool(width, config.pool_heads)
        self.proj = _random(width, config.output)
        self.proj_bias = nn.Parameter(torch.zeros(config.output)) if proj_bias else None

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape: (N, 3, S, S), normalised as by `to_pixels`, -> (N, output). Sides other than the tower's own
        image size work too, as long as they are whole patches; positions are interpolated then."""
        patches = self.conv1(pixels)
        rows, columns = patches.shape[-2:]
        x = patches.flatten(2).transpose(1, 2)
        if self.class_embedding is not None:
            x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        x = self.ln_pre(x + self._positions(rows, columns))
        head_dim = self.config.width // self.config.heads
        rotation = grid_angles(
            rows, columns, head_dim, self.config.class_token, x.device, self.config.grid_turned
        )
        x = self.attn_pool(self.ln_post(self.transformer(x, rotation))) @ self.proj
        return x if self.proj_bias is None else x + self.proj_bias

    def features(self, pixels: Tensor, at_once: int = FRAMES_AT_ONCE) -> Tensor:
        """Unit vectors of pictures, some of them at a time so that memory stays bounded.

        Args:
            pixels: (..., 3, S, S), normalised as by `to_pixels`.
            at_once: pictures in one pass; all if not positive. Changes no value.

        Returns:
            (..., output).

        Raises:
            ValueError: the pictures do not have the tower's size.
        """
        side = self.config.image_size
        if pixels.ndim < 4 or pixels.shape[-3:] != (3, side, side):
            raise ValueError(f"frames must have shape (..., 3, {side}, {side}), not {tuple(pixels.shape)}")
        chunks = chunked(pixels.flatten(0, -4), at_once)
        return torch.cat([self._unit(chunk) for chunk in chunks]).unflatten(0, pixels.shape[:-3])

    def frame_features(
        self, frames: Tensor, interpolation: str = "bilinear", at_once: int = FRAMES_AT_ONCE
    ) -> Tensor:
        """Unit vectors of frames of any size, which are resized a few at a time.

        Args:
            frames: (N, 3, H, W) uint8.
            interpolation: as for `to_pixels`.
            at_once: as for `features`.

        Returns:
            (N, output).

        Raises:
            ValueError: these are not such frames.
        """
        side = self.config.image_size
        chunks = chunked(frames, at_once)
        return torch.cat([self._unit(to_pixels(chunk, side, interpolation)) for chunk in chunks])

    def _unit(self, pixels: Tensor) -> Tensor:
        return F.normalize(self(pixels.to(self.proj.device, self.proj.dtype)), dim=-1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position vectors of a class token, if there is one, and of a grid, (1, tokens, width)."""
        table, side, start = self.positional_embedding, self.config.grid, int(self.config.class_token)
        if (rows, columns) == (side, side):
            return table[None]
        grid = table[start:].float().unflatten(0, (side, side)).permute(2, 0, 1)[None]
        grid = F.interpolate(grid, (rows, columns), mode="bilinear", align_corners=False)
        return torch.cat([table[None, :start], grid.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


class _Transformer(nn.Module):
    """Shape: (N, L, width) -> the same."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(config) for _ in range(config.layers))

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        for block in self.resblocks:
            x = block(x, rotation)
        return x


class _Block(nn.Module):
    """Shape: (N, L, width) -> the same."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.attn = _Attention(config.width, config.heads)
        self.ln_1 = nn.LayerNorm(config.width, eps=_EPS)
        self.ln_2 = nn.LayerNorm(config.width, eps=_EPS)
        self.mlp = _MLP(config.width, config.mlp)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        h = self.ln_1(x)
        x = x + self.attn(h, h, rotation)
        return x + self.mlp(self.ln_2(x))


class _Attention(nn.Module):
    """Attention with packed projections. Shapes: queries (N, Lq, D), context (N, Lk, D) -> (N, Lq, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = _random(3 * width, width)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, rotation: Rotation | None = None) -> Tensor:
        inputs = (queries, context, context)
        packed = zip(inputs, self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True)
        q, k, v = (linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x, w, b in packed)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    """Shape: (..., width) -> the same."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.c_fc = Linear(width, inner)
        self.c_proj = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class _AttentionPool(nn.Module):
    """One learnt query looks at all tokens. Shape: (N, L, width) -> (N, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.probe = _random(1, 1, width)
        self.attn = _Attention(width, heads)
        self.layernorm = nn.LayerNorm(width, eps=_EPS)
        self.mlp = _MLP(width, _POOL_MLP_RATIO * width)

    def forward(self, x: Tensor) -> Tensor:
        z = self.attn(self.probe.expand(len(x), -1, -1), x)[:, 0]
        return z + self.mlp(self.layernorm(z))


def _random(*shape: int) -> nn.Parameter:
    parameter = nn.Parameter(torch.empty(shape))
    nn.init.normal_(parameter, std=shape[-1] ** -0.5)
    return parameter


def grid_angles(
    rows: int,
    columns: int,
    head_dim: int,
    class_token: bool,
    device: torch.device,
    stretched_to: float | None = None,
) -> Rotation:
    """Rotations of the tokens of a grid, for `rotate`: half of the pairs turn with x, the other half with y.

    With a class token, which is not turned, positions in the grid count from 1, else from 0. They may be stretched to
    those of a grid of another size.
    """
    exponent = torch.arange(0, head_dim // 2, 2, dtype=torch.float32, device=device) / (head_dim // 2)
    frequency = _THETA**-exponent
    y, x = torch.meshgrid(
        *(
            (torch.arange(n, dtype=torch.float32, device=device) + class_token) * ((stretched_to or n) / n)
            for n in (rows, columns)
        ),
        indexing="ij",
    )
    angle = torch.cat([torch.outer(x.flatten(), frequency), torch.outer(y.flatten(), frequency)], dim=1)
    if class_token:
        angle = F.pad(angle, (0, 0, 1, 0))
    return angle.cos(), angle.sin()


def to_pixels(frames: Tensor, side: int, interpolation: str = "bilinear") -> Tensor:
    """Squashes frames to squares and brings their values to -1 to 1.

    Args:
        frames: (N, 3, H, W) uint8.
        side: pixels on a side of the square.
        interpolation: "bilinear" (PE-AV) or "bicubic" (SAM-Audio); upper case will do.

    Returns:
        (N, 3, side, side) float32. As published, resized values are rounded to whole numbers first.

    Raises:
        ValueError: these are not such frames.
    """
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or not len(frames):
        raise ValueError(
            f"frames must be uint8 of shape (N, 3, height, width), not {frames.dtype} of {tuple(frames.shape)}"
        )
    return torch.cat(
        [_resized(chunk, side, interpolation.lower()) for chunk in chunked(frames, FRAMES_AT_ONCE)]
    )


def _resized(frames: Tensor, side: int, interpolation: str) -> Tensor:
    pixels = frames.float()
    if pixels.shape[-2:] != (side, side):
        pixels = (
            F.interpolate(pixels, (side, side), mode=interpolation, antialias=True).clamp_(0, 255).round_()
        )
    return (pixels / 255 - 0.5) / 0.5


def chunked(items: Tensor, size: int) -> tuple[Tensor, ...]:
    """Rows of a tensor, ``size`` at a time; all at once if that is not positive."""
    return items.split(size) if size > 0 else (items,)
