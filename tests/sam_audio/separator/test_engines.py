"""Two engines, one answer: the shipped networks as graphs and in torch."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from numpy.testing import assert_allclose

from peav import checkpoints, threads
from peav.checkpoints import CheckpointError
from peav.graphs import Graph
from peav.nano import audio, precision, sound
from peav.nano.graphs import AudioGraph, TextGraph
from peav.nano.text import TextTower
from sam_audio import Separator
from sam_audio.devices import sums_int8
from sam_audio.errors import UserError
from sam_audio.io import open_audio
from sam_audio.separator.nano import listening, loading, onnx_engine, spectra, synthesis
from sam_audio.separator.nano.engine import WEIGHTS, Question
from sam_audio.separator.nano.loading import load_engine
from sam_audio.separator.nano.model import NanoSeparator
from sam_audio.separator.nano.onnx_engine import OnnxEngine
from sam_audio.separator.nano.options import NanoOptions
from sam_audio.separator.nano.torch_engine import TorchEngine, load_network, load_tower

EXAMPLES = Path(__file__).parents[3] / "examples"
RATE = 48_000


@pytest.fixture(scope="module")
def in_torch():
    """The shipped networks in torch, in float32 whatever the processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "cpu_has_bfloat16", lambda: False)
        yield TorchEngine(load_network(WEIGHTS), load_tower())


@pytest.fixture(scope="module")
def as_graphs():
    return load_engine(WEIGHTS)


@pytest.fixture(scope="module")
def nano():
    return NanoSeparator()


@pytest.fixture
def other_threads(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_wanted", 2 if threads.number() == 1 else 1)
    yield
    torch.set_num_threads(before)


def mixture(name: str, seconds: float = 6.0) -> tuple[np.ndarray, int]:
    if name == "noise":
        return tiny.noise(2, seconds, seed=3), RATE
    with open_audio(EXAMPLES / name, duration_s=seconds) as reader:
        return np.concatenate(list(reader.blocks(1 << 20)), axis=-1), reader.sample_rate


def stems(nano, engine, name: str, prompts: list[str]) -> np.ndarray:
    model = nano.with_options(nano.options)
    model.engine = engine
    samples, rate = mixture(name)
    return tiny.separated(model, model.encode(prompts), samples, rate)


def test_the_shipped_network_runs_as_graphs(as_graphs):
    assert isinstance(as_graphs, OnnxEngine)


@pytest.mark.parametrize(
    ("name", "prompts"),
    [
        ("band.wav", ["guitar", "drums", "bass"]),
        ("scene.ogg", ["bird singing"]),
        ("speech.ogg", ["man speaking", "music"]),
        ("noise", ["rain falling", "wind"]),
    ],
)
def test_both_make_the_same_stems(nano, as_graphs, in_torch, name, prompts):
    ours, theirs = (stems(nano, engine, name, prompts) for engine in (as_graphs, in_torch))
    assert_allclose(ours, theirs, atol=1e-3)
    assert np.abs(ours[0]).max() > 1e-3


def test_other_threads_make_the_same_stems(nano, as_graphs, other_threads):
    alone = load_engine(WEIGHTS)
    assert alone is not as_graphs
    ours, theirs = (stems(nano, engine, "band.wav", ["guitar", "drums"]) for engine in (as_graphs, alone))
    assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("n_frames", [16, 17, 40, 333])
@pytest.mark.parametrize("known", [[True], [True, True, False]])
def test_any_question_has_the_same_answer(as_graphs, in_torch, n_frames, known):
    rng = np.random.default_rng(n_frames)
    samples = tiny.noise(1, 8, seed=n_frames)[:, : n_frames * 960]
    energies = synthesis.band_energies(synthesis.centred_spectra(samples))
    vectors = synthesis_vectors(rng, len(known))
    spans = (rng.random((len(known), 2, n_frames)) < 0.2).astype(np.float32)
    ours, theirs = (engine.listen(samples, energies) for engine in (as_graphs, in_torch))
    for mine, its in zip(ours.vectors, theirs.vectors, strict=True):
        assert_allclose(mine, its, atol=1e-3)
    for more in ({}, {"spans": spans}, {"listen": False}, {"together": False}):
        question = Question(vectors, np.array(known), **more)
        assert_allclose(ours.masks(question), theirs.masks(question), atol=1e-3)
        assert_allclose(ours.answer(question).when, theirs.answer(question).when, atol=5e-3)
    assert_allclose(
        as_graphs.resemblance(ours.vectors.frames, vectors),
        in_torch.resemblance(ours.vectors.frames, vectors),
        atol=1e-5,
    )


def synthesis_vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    return sound.unit(rng.standard_normal((n, 384), np.float32))


# ---- around the graphs ---------------------------------------------------------------------------------


def test_what_is_heard_is_the_same_in_numpy():
    samples = tiny.noise(2, 1.7)
    frames = 79
    ours = onnx_engine._mel(samples, frames)
    tower = load_tower()
    seen = {}
    tower.trunk.register_forward_pre_hook(lambda _, given: seen.update(mel=given[0]))
    listening.hear(tower, torch.from_numpy(samples)[None], frames)
    assert_allclose(ours, seen["mel"][0].numpy(), atol=1e-4)


def test_features_and_levels_are_the_same_in_numpy():
    samples = tiny.noise(1, 1.0)[:, :46_080]
    energies = synthesis.energies_of_each(synthesis.centred_spectra(samples))
    theirs = spectra.band_energies(torch.from_numpy(samples))
    assert_allclose(energies, theirs.numpy(), rtol=1e-3, atol=1e-6)
    assert_allclose(synthesis.features(energies[0]), spectra.features(theirs)[0].numpy(), atol=1e-4)
    assert_allclose(sound.levelled(samples), audio.levelled(torch.from_numpy(samples)).numpy(), atol=1e-6)


def test_the_audio_tower_is_the_same(in_torch):
    ours = AudioGraph.shipped()
    for n in (1, 1_920, 46_081, 100_000):
        samples = tiny.noise(1, 3.0)[0, :n]
        frames, clip = ours.embed(samples)
        theirs = in_torch.tower(torch.from_numpy(samples)[None])
        assert_allclose(frames, theirs.frames[0].numpy(), atol=1e-3)
        assert_allclose(clip, theirs.clip[0].numpy(), atol=1e-4)


def test_the_text_tower_is_the_same():
    texts = ["a dog barking", "guitar", "rain " * 99, "ß ł 犬"]
    theirs = TextTower.from_pretrained("nano").embed(texts).numpy()
    assert_allclose(TextGraph().embed(texts), theirs, atol=1e-5)
    assert TextGraph().embed([]).shape == (0, 384)


# ---- which, and what cannot be -------------------------------------------------------------------------


def test_networks_of_other_sizes_run_in_torch(tiny_weights):
    assert isinstance(load_engine(tiny_weights), TorchEngine)


def test_another_checkpoint_of_the_same_sizes_runs_as_graphs(tmp_path):
    network = load_network(WEIGHTS).float()
    network.conditioner.to_coefficients.bias += 1
    path = tmp_path / "mine.safetensors"
    checkpoints.save(
        path,
        "separator",
        {"model": checkpoints.load(WEIGHTS, "separator").config["model"]},
        network.state_dict(),
    )
    engine = Separator(path, device="cpu", judge=None).model.engine
    assert isinstance(engine, OnnxEngine)


# ---- int8 ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sums_int8(), reason="this processor has no VNNI")
@pytest.mark.parametrize("name", ["band.wav", "noise"])
def test_int8_makes_nearly_the_same_stems(nano, as_graphs, name):
    prompts = ["guitar", "drums"]
    exact, close = (
        stems(nano, engine, name, prompts) for engine in (as_graphs, load_engine(precision="int8"))
    )
    off = np.square(close - exact).sum() / np.square(exact).sum()
    assert 0 < off < 0.01


def test_a_judge_listens_along_to_int8(as_graphs, monkeypatch):
    monkeypatch.setattr(loading, "sums_int8", lambda: True)
    model = NanoSeparator(options=NanoOptions(precision="int8"))
    assert model.engine is not as_graphs
    assert (
        model.open(model.encode(["dog"]), 1).overhear(as_graphs, np.zeros((1, 384), np.float32)) is not None
    )


def test_int8_is_refused_where_it_is_of_no_use(tiny_weights, monkeypatch):
    with pytest.raises(UserError, match="int8 is for the shipped nano on the CPU: use precision='float32'"):
        NanoSeparator(tiny_weights, options=NanoOptions(precision="int8"))
    monkeypatch.setattr(loading, "sums_int8", lambda: False)
    with pytest.raises(UserError, match="this processor has no VNNI"):
        NanoSeparator(options=NanoOptions(precision="int8"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of x86")
def test_the_processor_is_asked_for_vnni(tmp_path):
    info = tmp_path / "cpuinfo"
    for flags, has in [("fpu avx2", False), ("fpu avx512_vnni", True), ("avx_vnni fpu", True)]:
        info.write_text(f"processor : 0\nflags\t\t: {flags}\n")
        assert sums_int8(info) is has
    assert sums_int8(tmp_path / "missing")


@pytest.mark.slow
def test_the_int8_graph_is_written_without_weights(tmp_path, as_graphs):
    pytest.importorskip("onnx")
    from sam_audio.training import quantise

    sound = tiny.noise(1, 1)[:, : 32 * 960]
    seen = as_graphs.seen(sound, synthesis.band_energies(synthesis.centred_spectra(sound)))
    path, shipped = quantise.quantise(iter([seen]), tmp_path / "int8.onnx"), onnx_engine.INT8_TRUNK
    assert (
        path.stat().st_size == pytest.approx(shipped.stat().st_size, rel=0.01)
        and path.stat().st_size < 400_000
    )
    assert path.with_suffix(".json").read_bytes() == shipped.with_suffix(".json").read_bytes()


def test_weights_that_do_not_fit_a_graph(tmp_path):
    arrays = checkpoints.load("nano", "text").arrays
    with pytest.raises(CheckpointError, match="do not fit each other"):
        Graph(checkpoints.WEIGHTS / "nano-text.onnx", arrays)
    with pytest.raises(CheckpointError, match="do not fit each other"):
        Graph(tmp_path / "missing.onnx", arrays)


@pytest.mark.slow
def test_graphs_are_written_without_weights(tmp_path):
    pytest.importorskip("onnxscript")
    from judge.nano import GRAPH
    from judge.network import load_judge
    from sam_audio.training import graphs

    graphs.write(graphs.judging(load_judge(), tmp_path / "judge.onnx"))
    written = (tmp_path / "judge.onnx").read_bytes()
    assert len(written) < 60_000
    assert len(written) == pytest.approx(len(GRAPH.read_bytes()), rel=0.2)
