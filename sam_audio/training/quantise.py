"""The separator's trunk in int8: ``sam-audio export int8``.

Static quantisation of its convolutions, weights per channel (Krishnamoorthi 2018, "Quantizing deep convolutional
networks for efficient inference"): the ranges of what goes through are calibrated on training mixtures, and the
outermost convolutions stay in float32. The graph holds ranges and biases and no weights; it fits those that it was
calibrated with.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from peav import checkpoints
from peav.nano.graphs import AudioGraph
from sam_audio.io.target import whole_file
from sam_audio.separator.nano.engine import WEIGHTS
from sam_audio.separator.nano.onnx_engine import INT8_TRUNK, QUANTISED, SCALE, TRUNK, OnnxEngine
from sam_audio.separator.nano.synthesis import band_energies, centred_spectra
from sam_audio.training.data.bank import Bank
from sam_audio.training.data.mixing import Mixer

log = logging.getLogger(__name__)

N_MIXTURES, SECONDS = 32, 15.36
OUTERMOST = 4  # convolutions at each end that stay in float32: of their mistakes the masks suffer most


def calibration(bank_dir: Path, n: int = N_MIXTURES, seed: int = 0) -> Iterator[dict[str, np.ndarray]]:
    """What the trunk is given for mixtures of training recordings."""
    engine = OnnxEngine(checkpoints.load(WEIGHTS, "separator"), AudioGraph.shipped())
    mixer = Mixer(Bank(bank_dir), "train", SECONDS, seed=seed)
    for _ in range(n):
        samples = np.stack([source.samples for source in mixer.mixture().sources])
        sound = samples.sum(axis=0, keepdims=True, dtype=np.float32)
        yield engine.seen(sound, band_energies(centred_spectra(sound)))


def quantise(inputs: Iterator[dict[str, np.ndarray]], path: Path = INT8_TRUNK) -> Path:
    """Writes the graph; it appears whole or not at all.

    Args:
        inputs: to calibrate with.
    """
    import onnx
    from onnx import numpy_helper
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    arrays = {
        f"network.{name}": array for name, array in checkpoints.load(WEIGHTS, "separator").arrays.items()
    }
    model = onnx.load(TRUNK, load_external_data=False)
    for one in model.graph.initializer:
        if one.name in arrays:
            one.CopyFrom(numpy_helper.from_array(arrays[one.name], one.name))
    with tempfile.TemporaryDirectory() as folder:
        whole, ready, small = (Path(folder) / f"{name}.onnx" for name in ("whole", "ready", "small"))
        onnx.save(model, whole)
        quant_pre_process(whole, ready, skip_optimization=True, skip_symbolic_shape=True)
        convolutions = [node.name for node in onnx.load(ready).graph.node if node.op_type == "Conv"]
        quantize_static(
            ready,
            small,
            _Reader(inputs),
            QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=convolutions[:OUTERMOST] + convolutions[-OUTERMOST:],
        )
        model = onnx.load(small)
    layers = []
    for one in model.graph.initializer:
        layer, _, kind = one.name.rpartition(".")
        if kind == f"weight{QUANTISED}":
            layers.append(layer)
        if one.name in arrays or kind in (f"weight{QUANTISED}", f"weight{SCALE}"):
            one.ClearField("raw_data")
            one.data_location = onnx.TensorProto.EXTERNAL
            one.external_data.add(key="location", value="weights")
    del model.graph.value_info[:]
    with whole_file(path) as file, whole_file(path.with_suffix(".json")) as listed:
        file.write(model.SerializeToString(deterministic=True))
        listed.write(json.dumps({"layers": sorted(layers)}, indent=1).encode() + b"\n")
    log.info("wrote %s", path)
    return path


class _Reader:
    """Inputs as ONNX Runtime's calibration takes them."""

    def __init__(self, inputs: Iterator[dict[str, np.ndarray]]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, Any] | None:
        return next(self._inputs, None)
