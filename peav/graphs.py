"""Networks as ONNX graphs, run by ONNX Runtime on the CPU: no torch is imported.

A graph is a small file without weights. They come out of the safetensors when it is loaded, under the names that they
have there; so any checkpoint of the same sizes runs by it, and what is trained stays one file. Graphs are written by
``sam-audio export onnx`` (`sam_audio.training.graphs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from peav import threads
from peav.checkpoints import CheckpointError

Weights = TypeVar("Weights")  # arrays, or where they lie


class Graph:
    """A network that is ready to run; serves any number of threads.

    Args:
        path: of the graph.
        arrays: its weights by name, all of them and no others.

    Raises:
        CheckpointError: the graph is missing or damaged, or the weights are not its own.
    """

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads.number()
        # threads that wait for work by spinning take the time of others
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
        try:
            options.add_external_initializers(list(arrays), values)
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001  its exceptions have no common base but this
            raise CheckpointError(
                f"{path} and its weights do not fit each other: fetch the weights, "
                "or install separate-by-prompt, again."
            ) from None
        self._only_what_is_asked = ort.RunOptions()
        self._only_what_is_asked.only_execute_path_to_fetches = True

    def __call__(self, *outputs: str, **inputs: np.ndarray) -> list[Any]:
        """The outputs of these names, as arrays."""
        return self._session.run(outputs, inputs, self._only_what_is_asked)


def named(prefix: str, weights: Mapping[str, Weights]) -> dict[str, Weights]:
    """Weights under the names that they have in a larger network."""
    return {f"{prefix}.{name}": one for name, one in weights.items()}
