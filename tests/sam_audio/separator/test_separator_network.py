"""What the network promises whatever its weights are."""

from __future__ import annotations

import pytest
import tiny
import torch

from sam_audio.separator.nano.bands import N_BANDS, newest
from sam_audio.separator.nano.network import Conditions, NetworkConfig

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def network():
    return tiny.network()


def inputs(batch: int = 1, n_prompts: int = 3, n_frames: int = 48, tracks: bool = False):
    generator = torch.Generator().manual_seed(n_frames)
    features = torch.randn(batch, 2, N_BANDS, n_frames, generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(batch, n_prompts, 384, generator=generator), dim=-1)
    activity = torch.rand(batch, n_prompts, 4, n_frames, generator=generator).round() if tracks else None
    return features, Conditions(vectors, torch.ones(batch, n_prompts, dtype=torch.bool), activity)


def subset(conditions: Conditions, prompts: list[int]) -> Conditions:
    tracks = None if conditions.tracks is None else conditions.tracks[:, prompts]
    return Conditions(conditions.vectors[:, prompts], conditions.vector_valid[:, prompts], tracks)


@pytest.mark.parametrize("n_frames", [1, 15, 16, 17, 50])
@pytest.mark.parametrize("tracks", [False, True])
def test_any_number_of_frames_has_as_many_in_its_masks(network, n_frames, tracks):
    logits = network(*inputs(n_frames=n_frames, tracks=tracks))
    assert logits.shape == (1, 3, N_BANDS, n_frames)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("tracks", [False, True])
def test_another_prompt_changes_nothing_for_the_others(network, tracks):
    features, conditions = inputs(tracks=tracks)
    together = network(features, conditions)
    for n in range(3):
        torch.testing.assert_close(network(features, subset(conditions, [n]))[:, 0], together[:, n], **CLOSE)


def test_order_of_prompts_is_order_of_masks(network):
    features, conditions = inputs()
    swapped = network(features, subset(conditions, [2, 0, 1]))
    torch.testing.assert_close(swapped, network(features, conditions)[:, [2, 0, 1]], **CLOSE)


def test_prompts_matter(network):
    logits = network(*inputs())
    assert (logits[:, 0] - logits[:, 1]).abs().mean() > 0.1


def test_tracks_of_zeros_are_no_tracks(network):
    features, conditions = inputs()
    silent = Conditions(conditions.vectors, conditions.vector_valid, torch.zeros(1, 3, 4, 48))
    torch.testing.assert_close(network(features, silent), network(features, conditions), atol=0, rtol=0)


@pytest.mark.parametrize("row", range(4))
def test_every_track_matters_to_its_own_prompt_only(network, row):
    features, conditions = inputs()
    tracks = torch.zeros(1, 3, 4, 48)
    tracks[0, 1, row, 10:30] = 1
    change = network(features, Conditions(conditions.vectors, conditions.vector_valid, tracks)) - network(
        features, conditions
    )
    assert change[:, 1].abs().max() > 1e-3
    assert change[:, [0, 2]].abs().max() == 0


def test_a_vector_that_is_not_valid_is_not_read(network):
    features, conditions = inputs(tracks=True)
    valid = torch.tensor([[True, False, True]])
    other = conditions.vectors.clone()
    other[:, 1] = torch.randn(384)
    one, two = (
        network(features, Conditions(v, valid, conditions.tracks)) for v in (conditions.vectors, other)
    )
    torch.testing.assert_close(one, two, atol=0, rtol=0)


def test_batches_are_independent(network):
    features, conditions = inputs(batch=3, tracks=True)
    together = network(features, conditions)
    for b in range(3):
        one = Conditions(
            conditions.vectors[b : b + 1], conditions.vector_valid[b : b + 1], conditions.tracks[b : b + 1]
        )
        torch.testing.assert_close(network(features[b : b + 1], one)[0], together[b], **CLOSE)


def test_analysis_is_shared_by_all_prompts(network):
    features, conditions = inputs(n_frames=20)
    analysis = network.analyse(features)
    assert analysis.bases.shape == (1, 32, tiny.CONFIG.n_bases, N_BANDS)
    assert (analysis.tokens.shape, analysis.frames.shape) == ((1, 8 * 2, 16), (1, 16, 8))
    torch.testing.assert_close(network.respond(analysis, conditions).masks, network(features, conditions))


def test_what_was_heard_ends_where_the_excerpt_ends(network):
    """The tower pads at the front, so that only the last columns of its maps belong to the excerpt."""
    features, conditions = inputs(n_frames=32)
    generator = torch.Generator().manual_seed(0)
    maps = [
        torch.rand(1, c, 3 * 2**i, 2 ** (i + 1), generator=generator)
        for i, c in zip((3, 2, 1, 0), (128, 256, 512, 1024), strict=True)
    ]
    heard = network(features, conditions, maps)
    assert (heard - network(features, conditions)).abs().max() > 1e-3
    shapes = [tuple(x.shape) for x in network.trunk.hearing(newest(maps, 32))]
    assert shapes == [(1, 8, 64, 16), (1, 16, 32, 8), (1, 16, 16, 4), (1, 16, 8, 2)]


def test_bands_are_given_the_mel_rows_of_their_frequency():
    from sam_audio.separator.nano.network import _rows_to_rows

    weights = _rows_to_rows(16, 64)
    assert weights.shape == (64, 16)
    assert (weights.sum(1).round(5) == 1).all() and (weights >= 0).all()
    centre = weights @ range(16)
    assert (centre[1:] >= centre[:-1]).all()
    assert (
        centre[0] < 0.5 and centre[-1] == 15
    )  # nothing is heard above 7.5 kHz: the highest row speaks for all


def test_a_config_survives_json():
    import json
    from dataclasses import asdict

    assert NetworkConfig.of(json.loads(json.dumps(asdict(tiny.CONFIG)))) == tiny.CONFIG


def test_the_shipped_size_can_be_built():
    from sam_audio.separator.nano.network import MaskNetwork

    with torch.device("meta"):
        network = MaskNetwork()
    assert 4e6 < sum(p.numel() for p in network.parameters()) < 20e6
