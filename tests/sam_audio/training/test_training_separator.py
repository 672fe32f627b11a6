"""Batches, statistics and a sitting of training, with a network and a bank that are both tiny."""

from __future__ import annotations

import csv
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from peav import checkpoints
from peav.nano.audio import AudioTower
from peav.nano.sound import FRAME_LEVEL
from sam_audio.separator.nano.network import Conditions, Response
from sam_audio.separator.nano.options import NanoOptions
from sam_audio.separator.nano.rivals import N_CANDIDATES
from sam_audio.separator.nano.spectra import features
from sam_audio.separator.nano.torch_engine import network_of
from sam_audio.training.data.examples import Examples, build_examples, load_examples
from sam_audio.training.data.labels import hypernyms, load_labels
from sam_audio.training.data.mixing import HOP, Mixture, Query, Source
from sam_audio.training.recipes import separator as training
from sam_audio.training.recipes.separator import (
    MixtureStream,
    PromptRows,
    PromptVectors,
    Recipe,
    collate,
    export_weights,
    load_state,
    phrase_list,
    plot_log,
    spectral_statistics,
    train,
    training_step,
    validate,
    validation_set,
)

WORDS = {"n_labels": len(load_labels()), "n_hypernyms": len(hypernyms())}
RECIPE = Recipe(
    seconds=1.28, batch=2, warmup_steps=2, learning_rate=3e-3, network=replace(tiny.CONFIG, **WORDS)
)
SAMPLES, FRAMES = 61_440, 64


@pytest.fixture(scope="module")
def vectors():
    return PromptVectors(Examples.none())


@pytest.fixture(autouse=True)
def handlers_and_threads(monkeypatch):
    """Training has the process to itself; a test has not."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for number, handler in before:
        signal.signal(number, handler)


def mixture() -> Mixture:
    """Two sources of one second each, the second one starting late; three prompts."""
    one, two = (np.zeros(SAMPLES, np.float32) for _ in range(2))
    one[: SAMPLES // 2] = 0.1
    two[SAMPLES // 4 : SAMPLES // 2] = -0.2
    sources = [Source("piano", one), Source("violin", two)]
    prompts = [
        Query("piano", [0], ["piano"]),
        Query("music", [0, 1], ["music"]),
        Query("dog", [], ["dog barking"]),
    ]
    return Mixture("test", sources, prompts)


@pytest.fixture(scope="module")
def tower():
    return AudioTower.from_pretrained("nano")


def arrays_of(n: int = 2, recipe: Recipe = RECIPE, seed: int = 0) -> dict[str, np.ndarray]:
    rows = PromptRows(Examples.none())
    return collate([mixture() for _ in range(n)], rows, recipe, np.random.default_rng(seed))


def batch_of(n: int = 2, recipe: Recipe = RECIPE, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays_of(n, recipe, seed).items()}


# ---- batches ----------------------------------------------------------------------------------------------


def test_phrases_are_distinct_and_ordered():
    phrases = phrase_list()
    assert phrases == sorted(set(phrases))
    assert {"piano", "music", "dog barking"} <= set(phrases)


def test_collate_shapes_and_meaning():
    batch = batch_of()
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "sources": (2, 5, SAMPLES),
        "members": (2, 3, 5),
        "asked": (2, 3),
        "vector_valid": (2, 3),
        "present": (2, 3),
        "absent": (2, 3),
        "tracks": (2, 3, 4, FRAMES),
        "together": (2,),
    }
    assert batch["present"][0].tolist() == [True, True, False]
    assert batch["absent"][0].tolist() == [False, False, True]
    assert batch["members"][0, 1].tolist() == [1, 1, 0, 0, 0]
    assert [phrase_list()[i] for i in batch["asked"][0, :3]] == ["piano", "music", "dog barking"]


def test_a_prompt_whose_sound_is_not_in_the_excerpt_is_absent():
    quiet = mixture()
    quiet.sources[0].samples[:] = 0
    rows = PromptRows(Examples.none())
    batch = collate([quiet], rows, RECIPE, np.random.default_rng(0))
    assert batch["absent"][0, :3].tolist() == [True, False, True]


def test_tracks_are_known_for_a_share_of_mixtures():
    for share in (0.0, 1.0):
        recipe = replace(RECIPE, tracks_share=share, activity_share=share)
        batches = [batch_of(recipe=recipe, seed=seed) for seed in range(10)]
        assert any(batch["tracks"][:, :, 2:].any() for batch in batches) == bool(share)
        assert all((batch["tracks"][:, :, 1] == share).all() for batch in batches)
        assert any(not batch["vector_valid"].all() for batch in batches) == bool(share)


def test_examples_take_the_place_of_words_for_a_share_of_prompts():
    rows = PromptRows(Examples(np.zeros((3, 384), np.float32), {"piano": np.array([0, 2])}))
    rng = np.random.default_rng(0)
    n = len(phrase_list())
    piano, other = Query("piano", [0], ["piano"]), Query("violin", [0], ["violin"])
    assert {rows.draw(piano, 1.0, rng) for _ in range(20)} == {n, n + 2}
    assert rows.draw(piano, 0.0, rng) == rows.of_phrase["piano"]
    assert rows.draw(other, 1.0, rng) == rows.of_phrase["violin"]


def test_examples_are_made_of_training_recordings_and_pictures(bank_dir, tmp_path, monkeypatch):
    import shutil

    bank = tmp_path / "bank"
    shutil.copytree(bank_dir, bank)
    assert not load_examples(bank).rows
    monkeypatch.setattr(
        "sam_audio.training.data.examples._pictures", lambda data: [("owl", np.eye(384, dtype=np.float32)[0])]
    )
    build_examples(tmp_path, bank)
    made = load_examples(bank)
    assert made.vectors[made.rows["owl"]][0, 0] == 1
    assert {"piano", "owl"} <= made.rows.keys()
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-3)
    table = PromptVectors(made).table
    assert len(table) == len(phrase_list()) + len(made.vectors)


def test_text_is_left_out_only_where_spans_are_known():
    for seed in range(30):
        batch = batch_of(recipe=replace(RECIPE, tracks_share=1.0), seed=seed)
        without = ~batch["vector_valid"]
        assert batch["tracks"][:, :, 2].any(-1)[without].all()
        assert batch["present"][without].all()


def test_spans_tell_the_truth_mostly():
    active = np.zeros(FRAMES, bool)
    active[20:40] = True
    spans = np.stack([training._spans(active, np.random.default_rng(seed)) for seed in range(200)])
    assert set(np.unique(spans)) == {0, 1}
    assert not (spans[:, 0] * spans[:, 1]).any()
    assert not (spans[:, 1] * active).any()
    marked = spans[spans[:, 0].any(-1), 0]
    assert marked[:, 25:35].mean() > 0.95
    assert marked[:, :10].mean() < 0.05


def test_activity_is_told_where_it_is_known_and_the_prompt_has_words(tower):
    batch = batch_of(recipe=replace(RECIPE, activity_share=1.0, tracks_share=0.0))
    batch["tracks"][1, :, 1] = 0
    batch["vector_valid"][0, 1] = False
    batch |= {name: x for name, x in training.heard(arrays_of(), tower).items() if name not in batch}
    logits = torch.randn(2, FRAMES // 2, 3)
    batch["frames"] = torch.nn.functional.pad(logits, (0, 381))  # similarity to three prompts, by dimension
    network = tiny.network()
    network.rivalry = None
    tracks = training.question(network, batch, torch.eye(3, 384).expand(2, -1, -1), tower).conditions.tracks
    activity = tower.logits(logits, FRAME_LEVEL).sigmoid().mT.repeat_interleave(2, dim=-1)
    torch.testing.assert_close(tracks[0, 0, 0], activity[0, 0])
    assert tracks[0, 0, 1].all() and not tracks[0, 1].any() and not tracks[1].any()


def test_the_tower_hears_speech_where_it_is(vectors, tower):
    from sam_audio.conditioning.embedding import mono_windows

    example = Path(__file__).parents[3] / "examples" / "speech.ogg"
    speech = np.concatenate(list(mono_windows(example, 48_000)))
    n = 8 * 46_080
    arrays = arrays_of(1, replace(RECIPE, activity_share=1.0, tracks_share=0.0))
    arrays["sources"] = np.zeros((1, 5, n), np.float32)
    arrays["sources"][0, 1, 4 * 46_080 :] = speech[: 4 * 46_080]
    arrays["sources"][0, 0] = 3e-4 * np.random.default_rng(0).standard_normal(n)
    arrays["asked"][0, :2] = [phrase_list().index("person speaking"), phrase_list().index("piano")]
    arrays["tracks"] = np.zeros((1, 3, 4, n // HOP), np.float32)
    arrays["tracks"][:, :, 1] = 1
    batch = training.heard(arrays, tower)
    assert [tuple(batch[f"map{i}"].shape[2:]) for i in range(4)] == [(192, 16), (96, 8), (48, 4), (24, 2)]
    network = tiny.network()
    network.rivalry = None
    given, unsure = (
        training.question(network, batch, vectors(batch["asked"]), tower, noise)
        for noise in (None, np.random.default_rng(0))
    )
    activity = given.conditions.tracks[0, :, 0]
    assert activity.shape == (3, 384)
    assert activity[0, 220:].mean() > 0.5 > 0.2 > activity[0, :170].mean()
    assert activity[1].mean() < 0.2
    assert not torch.equal(unsure.conditions.tracks, given.conditions.tracks)


def test_prompts_of_a_mixture_compete_only_where_they_are_asked_together(vectors, tower):
    network = load_state(Path("none"), RECIPE).network
    arrays = arrays_of()
    arrays["together"][:] = [True, False]
    batch = training.heard(arrays, tower)
    same = training.question(network, batch, vectors(batch["asked"]), tower).candidates.same
    piano = same[:, 0, N_CANDIDATES:]
    assert (
        not piano[0, 2] and piano[0, 1] and piano[0, 3:].all()
    )  # an absent dog, but not music, and no padding
    assert piano[1].all()


def test_prompts_without_words_are_guessed_from_their_marks_as_when_separating(vectors, tower):
    network = load_state(Path("none"), RECIPE).network
    arrays = arrays_of(recipe=replace(RECIPE, tracks_share=0.0))
    arrays["vector_valid"][0, :2] = False
    arrays["tracks"][0, 0, 2, : FRAMES // 2] = 1  # marked; the other prompt without words is not
    batch = training.heard(arrays, tower)
    words = network.rivalry.labels @ batch["frames"][0].mean(0)
    batch["frames"][0] = 0
    batch["frames"][0, : FRAMES // 4] = 20 * network.rivalry.labels[int(words.argmax())]
    prompts = vectors(batch["asked"])
    conditions = training.question(network, batch, prompts, tower).conditions
    assert conditions.vector_valid[0].tolist() == [True, False, True]
    assert conditions.vectors[0, 0] @ network.rivalry.labels[int(words.argmax())] > 0.99
    torch.testing.assert_close(conditions.vectors[0, 1:], prompts[0, 1:])


def test_a_stream_is_reproducible_and_trainable(bank_dir):
    one, two = (next(iter(MixtureStream(bank_dir, "train", RECIPE, seed=3))) for _ in range(2))
    for name, array in one.items():
        torch.testing.assert_close(array, two[name], atol=0, rtol=0)
    assert one["mixture"].shape == (2, 1, 128, FRAMES)
    assert not (one["present"] & one["absent"]).any()


# ---- statistics and vectors -------------------------------------------------------------------------------


def test_statistics_follow_members():
    batch = batch_of()
    stats = spectral_statistics(batch["sources"], batch["members"])
    assert stats.target.shape == (2, 3, 128, FRAMES)
    torch.testing.assert_close(stats.target[:, 1], stats.mixture[:, 0], rtol=1e-3, atol=1e-3)
    assert not stats.target[:, 2:].any()
    assert stats.target[:, 0, :, FRAMES // 2 + 2 :].max() < 1e-3


def test_a_silent_mixture_does_no_harm():
    stats = spectral_statistics(torch.zeros(1, 2, SAMPLES), torch.ones(1, 1, 2))
    assert not stats.mixture.any() and not stats.cross.any()
    assert torch.isfinite(features(stats.mixture[:, 0])).all()


def test_vectors_are_unit_and_noise_keeps_them_near(vectors):
    indices = torch.arange(50)
    clean, noisy = vectors(indices), vectors(indices, 0.02)
    torch.testing.assert_close(noisy.norm(dim=-1), torch.ones(50))
    cosine = (clean * noisy).sum(-1)
    assert 0.8 < cosine.min() < cosine.max() < 0.99


@pytest.mark.parametrize(
    ("progress", "steps", "expected"), [(0, 0, 0.5), (0, 1, 1), (0.2, 99, 1), (0.6, 99, 0.5), (1, 99, 0.03)]
)
def test_learning_rate_warms_up_and_cools_down(progress, steps, expected):
    assert training.rate_at(progress, steps, RECIPE) == pytest.approx(expected * RECIPE.learning_rate)


# ---- steps and sittings -----------------------------------------------------------------------------------


def test_steps_lower_the_loss_and_the_average_follows(vectors, tower, tmp_path):
    state = load_state(tmp_path / "none.pt", RECIPE)
    batch = training.heard(arrays_of(recipe=replace(RECIPE, tracks_share=0.0)), tower)
    rng = np.random.default_rng(0)
    losses = [training_step(state, batch, vectors, tower, RECIPE, rng, 3e-3)["loss"] for _ in range(15)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.2
    assert (state.step, state.mixtures) == (15, 30)
    moved = sum(
        (a - b).abs().sum() for a, b in zip(state.ema.parameters(), state.network.parameters(), strict=True)
    )
    assert moved > 0


def test_a_gradient_that_is_not_finite_is_skipped(vectors, tower, tmp_path):
    state = load_state(tmp_path / "none.pt", RECIPE)
    before = [p.clone() for p in state.network.parameters()]
    state.network.conditioner.no_vector.register_hook(lambda gradient: gradient * float("nan"))
    batch = training.heard(arrays_of(), tower)
    training_step(state, batch, vectors, tower, RECIPE, np.random.default_rng(0), 1e-2)
    for p, old in zip(state.network.parameters(), before, strict=True):
        torch.testing.assert_close(p, old, atol=0, rtol=0)


def test_a_deeper_network_goes_on_where_a_smaller_one_stopped(tmp_path):
    before = load_state(Path("none"), RECIPE)
    with torch.no_grad():
        for parameter in before.network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    before.save(tmp_path / "state.pt")
    deeper = replace(RECIPE.network, blocks=(1, 1, 1, 3), attention_layers=2)
    after = load_state(tmp_path / "state.pt", replace(RECIPE, network=deeper))
    features, prompt = (
        torch.randn(1, 2, 128, FRAMES),
        Conditions(torch.randn(1, 1, 384), torch.ones(1, 1).bool()),
    )
    with torch.no_grad():
        torch.testing.assert_close(after.network(features, prompt), before.network(features, prompt))
    assert not RECIPE.network.grows_from(deeper)
    assert not replace(deeper, n_bases=5).grows_from(RECIPE.network)
    with pytest.raises(RuntimeError):
        load_state(tmp_path / "state.pt", replace(RECIPE, network=replace(deeper, n_bases=5)))


def test_a_sitting_saves_resumes_logs_and_exports(bank_dir, tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(training, "PromptVectors", lambda examples: vectors)
    monkeypatch.setattr(
        training, "validation_set", lambda bank, recipe: validation_set(bank, recipe, n_batches=2)
    )
    run = tmp_path / "run"
    first = train(bank_dir, run, 5e-5, RECIPE, threads=1)
    assert first.step >= 1
    assert first.mixtures == first.step * RECIPE.batch

    resumed = load_state(run / "state.pt", RECIPE)
    assert (resumed.step, resumed.mixtures, resumed.hours) == (first.step, first.mixtures, first.hours)
    for name, tensor in first.ema.state_dict().items():
        torch.testing.assert_close(resumed.ema.state_dict()[name], tensor, atol=0, rtol=0)

    second = train(bank_dir, run, 5e-5, RECIPE, threads=1)
    assert second.step > first.step
    assert second.hours > first.hours
    with (run / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [first.step, second.step]
    assert all(np.isfinite(float(row["median_si_sdri"])) for row in rows)
    plot_log(run)
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")

    export_weights(second, tmp_path / "out" / "x-separator.safetensors")
    exported = network_of(checkpoints.load(tmp_path / "out" / "x-separator.safetensors", "separator"))
    inputs = torch.randn(1, 2, 128, 32)
    conditions = Conditions(vectors(torch.tensor([[0, 1]])), torch.ones(1, 2, dtype=torch.bool))
    with torch.inference_mode():
        masks, expected = (net(inputs, conditions).sigmoid() for net in (exported, second.ema))
    torch.testing.assert_close(masks, expected, atol=5e-3, rtol=0)


def test_two_processes_learn_as_one(bank_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(
        training, "validation_set", lambda bank, recipe: validation_set(bank, recipe, n_batches=1)
    )
    state = train(bank_dir, tmp_path, 5e-5, RECIPE, threads=1, processes=2)
    assert state.step >= 1
    assert state.mixtures == 2 * state.step * RECIPE.batch
    assert load_state(tmp_path / "state.pt", RECIPE).mixtures == state.mixtures


def test_a_sitting_of_no_time_keeps_the_log_readable(bank_dir, tmp_path, vectors, monkeypatch):
    monkeypatch.setattr(training, "PromptVectors", lambda examples: vectors)
    monkeypatch.setattr(
        training, "validation_set", lambda bank, recipe: validation_set(bank, recipe, n_batches=1)
    )
    for hours in (0.0, 2e-5):
        train(bank_dir, tmp_path, hours, RECIPE, threads=1)
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row for row in rows)
    assert all(np.isfinite(float(row["absent_median_db"])) for row in rows)


def test_validation_is_the_same_every_time_and_leaves_text_only(bank_dir, vectors, tower):
    one, two = (validation_set(bank_dir, RECIPE, n_batches=2) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=0, rtol=0)
        assert (a["tracks"][:, :, 1] == NanoOptions.predict_spans).all() and a["vector_valid"].all()
        assert not a["tracks"][:, :, [0, 2, 3]].any()
    state = load_state(Path("none"), RECIPE)
    scores = validate(state.ema, one, vectors, tower)
    assert scores == validate(state.ema, two, vectors, tower)


def test_validation_of_a_mask_of_ones_improves_nothing(bank_dir, vectors, tower):
    batches = validation_set(bank_dir, RECIPE, n_batches=1)

    network = tiny.network()
    network.respond = lambda analysis, conditions, energies, *_: Response(
        torch.full((*conditions.vectors.shape[:2], *energies.shape[1:]), 30.0), None
    )
    scores = validate(network, batches, vectors, tower)
    assert scores["median_si_sdri"] == pytest.approx(0, abs=1e-3)
    assert scores["absent_median_db"] == pytest.approx(0, abs=1e-3)


def test_frames_of_batches_and_of_the_network_agree():
    assert HOP * FRAMES == SAMPLES
    assert round(Recipe().seconds * 48_000) % (16 * HOP) == 0
