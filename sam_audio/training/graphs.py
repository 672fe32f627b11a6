"""Writes the nano networks as ONNX graphs: ``sam-audio export onnx``.

A graph holds what is computed and no weights: their names stand for them, and are those of the checkpoint. It has to be
written again when a network or its sizes change, and not when it was trained further.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from judge.nano import GRAPH as JUDGE
from judge.network import JudgeNetwork, given, load_judge
from peav import checkpoints
from peav.nano.audio import AudioTower
from peav.nano.graphs import AUDIO, N_MAPS, TEXT, VIDEO
from peav.nano.pictures import IMAGE_SIZE
from peav.nano.sound import N_MELS, WINDOW_MELS
from peav.nano.text import TextTower
from peav.nano.video import VideoTower
from sam_audio.io.target import whole_file
from sam_audio.separator.nano.bands import N_BANDS
from sam_audio.separator.nano.engine import WEIGHTS
from sam_audio.separator.nano.listening import Asked, answer
from sam_audio.separator.nano.network import Analysis, MaskNetwork
from sam_audio.separator.nano.onnx_engine import ANSWER, TRUNK
from sam_audio.separator.nano.torch_engine import network_of

log = logging.getLogger(__name__)

OPSET = 18


class Input(NamedTuple):
    """One of a graph: an example, and which of its dimensions may be of any size."""

    name: str
    example: Tensor
    dims: dict[int, Any]


@dataclass
class Written:
    """A graph to be written: of a module with these inputs and outputs."""

    path: Path
    module: nn.Module
    inputs: list[Input]
    outputs: tuple[str, ...]


class Hearing(nn.Module):
    """Audio tower: log-mel to vectors of frames and steps, scores, and the maps of its trunk."""

    def __init__(self, tower: AudioTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        maps = self.tower.trunk(mel)
        return (*self.tower.sensed(maps, maps[0].shape[2]), *maps)


class Looking(nn.Module):
    """The separator's trunk, with what the audio tower heard."""

    def __init__(self, network: MaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, features: Tensor, map0: Tensor, map1: Tensor, map2: Tensor, map3: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        analysis = self.network.trunk(features, [map0, map1, map2, map3])
        return analysis.bases, analysis.tokens, analysis.frames


class Answering(nn.Module):
    """Prompts asked of what was heard: masks, and when each sounds."""

    def __init__(self, network: MaskNetwork, tower: AudioTower) -> None:
        super().__init__()
        self.network, self.tower = network, tower

    def forward(
        self,
        bases: Tensor,
        tokens: Tensor,
        columns: Tensor,
        energies: Tensor,
        frames: Tensor,
        vectors: Tensor,
        known: Tensor,
        together: Tensor,
        spans: Tensor,
        listen: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        analysis = Analysis(bases, tokens, columns, energies.shape[-1])
        asked = Asked(vectors, known, together, spans, listen)
        response = answer(self.network, self.tower, analysis, energies, frames, asked, tell_when=True)
        return response.masks.sigmoid(), response.sounding


class Reading(nn.Module):
    """Text tower: tokens to unit vectors."""

    def __init__(self, tower: TextTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tensor, valid_mask: Tensor) -> Tensor:
        return self.tower(tokens, valid_mask)


class Watching(nn.Module):
    """Video tower: fitted frames to their vectors and scores."""

    def __init__(self, tower: VideoTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return self.tower.joint.of_each(self.tower.backbone(frames))


class Judging(nn.Module):
    """Judge: what was measured of stems to scores, and the probability of being there."""

    def __init__(self, network: JudgeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        energies: Tensor,
        masks: Tensor,
        when: Tensor,
        clip: Tensor,
        frames: Tensor,
        weights: Tensor,
        loudness: Tensor,
    ) -> tuple[Tensor, Tensor]:
        scores, logits = self.network(*given(energies, masks, when, clip, frames, weights, loudness))
        return scores, logits.sigmoid()


def reading(tower: TextTower, path: Path = TEXT) -> Written:
    """Of the text tower."""
    texts, length = Dim("texts", min=2), Dim("length", min=2, max=tower.config.longest)
    sizes = {0: texts, 1: length}
    tokens = Input("tokens", torch.randint(2, tower.config.vocabulary, (3, 5)), sizes)
    valid = Input("valid_mask", torch.ones(3, 5, dtype=torch.bool), sizes)
    return Written(path, Reading(tower), [tokens, valid], ("vectors",))


def watching(tower: VideoTower, path: Path = VIDEO) -> Written:
    """Of the video tower."""
    frames = torch.zeros(3, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    return Written(
        path, Watching(tower), [Input("frames", frames, {0: Dim("n", min=2)})], ("vectors", "scores")
    )


def judging(network: JudgeNetwork, path: Path = JUDGE) -> Written:
    """Of the Judge."""
    stems, halves = Dim("stems", min=2), Dim("halves", min=2, max=100_000)
    n = 50
    measured = [
        Input("energies", torch.rand(3, 3, N_BANDS, 2 * n), {0: stems, 3: 2 * halves}),
        Input("masks", torch.rand(3, N_BANDS, 2 * n), {0: stems, 2: 2 * halves}),
        Input("when", torch.randn(3, n), {0: stems, 1: halves}),
        Input("clip", torch.randn(3), {0: stems}),
        Input("frames", torch.randn(3, n), {0: stems, 1: halves}),
        Input("weights", torch.rand(n), {0: halves}),
        Input("loudness", torch.rand(3, 2), {0: stems}),
    ]
    return Written(path, Judging(network), measured, ("scores", "present"))


def hearing(tower: AudioTower, path: Path = AUDIO) -> Written:
    """Of the audio tower."""
    windows = Dim("windows", min=2)
    mel = Input("mel", torch.randn(1, 4 * WINDOW_MELS, N_MELS), {1: WINDOW_MELS * windows})
    names = ("frames", "steps", "scores", *(f"map{level}" for level in range(N_MAPS)))
    return Written(path, Hearing(tower), [mel], names)


def separating(
    network: MaskNetwork, tower: AudioTower, trunk: Path = TRUNK, answer: Path = ANSWER
) -> Iterator[Written]:
    """Of the separator's network."""
    columns, prompts = Dim("columns", min=2), Dim("prompts", min=2)
    n = 12  # of the examples' columns, 16 frames each
    seen = Input("features", torch.randn(1, 2, N_BANDS, 16 * n), {3: 16 * columns})
    heard = tower.trunk(torch.randn(1, n * 32, N_MELS))
    maps = [Input(f"map{level}", x, {2: x.shape[2] // n * columns}) for level, x in enumerate(heard)]
    looking = Looking(network)
    yield Written(trunk, looking, [seen, *maps], ("bases", "tokens", "columns"))

    n_frames = 16 * n - 5
    frames, halves = Dim("frames", min=2), Dim("halves", min=2)
    bases, tokens, columns_ = looking(seen.example, *heard)
    asked = [
        Input("bases", bases, {1: 16 * columns}),
        Input("tokens", tokens, {1: tokens.shape[1] // n * columns}),
        Input("columns", columns_, {2: 4 * columns}),
        Input("energies", torch.rand(1, N_BANDS, n_frames), {2: frames}),
        Input("frames", torch.randn(1, -(-n_frames // 2), 384), {1: halves}),
        Input("vectors", nn.functional.normalize(torch.randn(1, 3, 384), dim=-1), {1: prompts}),
        Input("known", torch.ones(1, 3, dtype=torch.bool), {1: prompts}),
        Input("together", torch.ones(1, 3, dtype=torch.bool), {1: prompts}),
        Input("spans", torch.zeros(1, 3, 2, n_frames), {1: prompts, 3: frames}),
        Input("listen", torch.ones(1, 1, 1), {}),
    ]
    yield Written(answer, Answering(network, tower), asked, ("masks", "sounding"))


def shipped() -> Iterator[Written]:
    """All that come with the package."""
    tower = AudioTower.from_pretrained("nano")
    yield hearing(tower)
    yield from separating(network_of(checkpoints.load(WEIGHTS, "separator")), tower)
    yield reading(TextTower.from_pretrained("nano"))
    yield watching(VideoTower.from_pretrained("nano"))
    yield judging(load_judge())


def _normalised(
    x: Any, num_groups: int, weight: Any, bias: Any, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """GroupNorm of one group (1, C, ...), summed up row by row: where it has no vectors, as in browsers, ONNX Runtime's
    own adds up millions of numbers one after the other, and loses three digits."""
    from onnxscript import opset18

    op: Any = opset18  # which takes lists too
    assert num_groups == 1
    inner = list(range(1, len(x.shape) - 1))

    def mean(of: Any) -> Any:
        return op.ReduceMean(op.ReduceMean(of, [-1]), inner)

    def per_channel(values: Any) -> Any:
        return op.Unsqueeze(values, inner)

    centred = op.Sub(x, mean(x))
    deviation = op.Sqrt(op.Add(mean(op.Mul(centred, centred)), eps))
    return op.Add(op.Mul(centred, op.Div(per_channel(weight), deviation)), per_channel(bias))


def write(graph: Written) -> None:
    """Writes one; it appears whole or not at all."""
    import onnx

    examples = tuple(one.example for one in graph.inputs)
    with torch.no_grad():
        # lengths that depend on each other in other ways than a multiple are compared when it runs
        program = torch.export.export(
            graph.module.eval(),
            examples,
            dynamic_shapes=tuple(one.dims for one in graph.inputs),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
    made = torch.onnx.export(
        program,
        input_names=[one.name for one in graph.inputs],
        output_names=list(graph.outputs),
        opset_version=OPSET,
        dynamo=True,
        custom_translation_table={torch.ops.aten.group_norm.default: _normalised},
        optimize=False,  # it would make other weights of those of the checkpoint; ONNX Runtime does the same at loading
        verbose=False,
    )
    assert made is not None
    model = made.model_proto
    weights = graph.module.state_dict()
    used = {name for node in model.graph.node for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    for one in kept:
        if one.name in weights:
            one.ClearField("raw_data")
            one.data_location = onnx.TensorProto.EXTERNAL
            one.external_data.add(key="location", value=one.name)  # in a browser each is a file
    del model.graph.initializer[:], model.graph.value_info[:]
    model.graph.initializer.extend(kept)
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    with whole_file(graph.path) as file:
        file.write(model.SerializeToString(deterministic=True))
    log.info("exported %s", graph.path)
