"""Which sounds compete with a prompt, and what the competition does to masks."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.nn.functional as F

from peav.nano.text import TextTower
from sam_audio.separator.nano.network import Conditions
from sam_audio.separator.nano.rivals import N_CANDIDATES, Candidates, Rivalry, coarse
from sam_audio.training.data import labels as label_table
from sam_audio.training.recipes.separator import RECIPES, fill_vocabulary

LABELS = sorted(label_table.load_labels())
T = 32


@pytest.fixture(scope="module")
def text():
    return TextTower.from_pretrained("nano")


@pytest.fixture(scope="module")
def rivalry():
    """With the vocabulary that the shipped network has."""
    network = tiny.network()
    config = RECIPES["nano"].network
    network.rivalry = Rivalry(config.n_labels, config.n_hypernyms, config.prompt_dim)
    fill_vocabulary(network)
    return network.rivalry.requires_grad_(False)


def same(rivalry, text, *prompts: str) -> list[set[str]]:
    marks = rivalry._same(text.embed(list(prompts))[None])[0]
    return [{LABELS[i] for i in row.nonzero()[:, 0].tolist()} for row in marks]


# ---- the vocabulary ------------------------------------------------------------------------------------


def test_a_prompt_does_not_compete_with_what_it_means(rivalry, text):
    dog, rain, guitar, talking = same(rivalry, text, "dog barking", "rain", "guitar", "someone talking")
    assert "dog barking" in dog and "cat meowing" not in dog and len(dog) < 10
    assert "rain falling" in rain and "ocean waves" not in rain
    assert {"acoustic guitar", "electric guitar"} <= guitar and "piano" not in guitar
    assert {"man speaking", "woman speaking", "person speaking"} <= talking and "dog barking" not in talking


def test_a_prompt_for_a_kind_does_not_compete_with_what_is_of_that_kind(rivalry, text):
    music, vehicle = same(rivalry, text, "music", "vehicle")
    assert {"piano", "drum kit", "background music"} <= music and "dog barking" not in music
    assert {"car engine", "helicopter"} <= vehicle and "piano" not in vehicle


def test_candidates_are_the_likeliest_labels(rivalry, text):
    logits = torch.full((1, len(LABELS), T), -8.0)
    loud = [LABELS.index(name) for name in ("piano", "thunder")]
    logits[0, loud, 5:9] = torch.tensor([2.0, 3.0])[:, None]
    asked, own = torch.tensor([[True]]), torch.zeros(1, 1, T)
    found = rivalry.candidates(text.embed(["piano"])[None], asked, own, logits, asked)
    assert found.vectors.shape == (1, N_CANDIDATES + 1, 384)
    torch.testing.assert_close(found.vectors[0, :2], rivalry.labels[loud[::-1]])
    torch.testing.assert_close(found.plausible[0, :3], torch.tensor([3.0, 2.0, -8.0]))
    assert found.activity[0, 0].argmax() == 5 and found.activity.shape == (1, N_CANDIDATES + 1, T)
    assert found.same[0, 0, :2].tolist() == [False, True]


def test_a_prompt_of_spans_alone_has_no_rivals(rivalry):
    asked = torch.tensor([[False]])
    own, labels = torch.zeros(1, 1, T), torch.zeros(1, len(LABELS), T)
    assert rivalry.candidates(torch.zeros(1, 1, 384), asked, own, labels, ~asked).same.all()


def heard_while_marked(rivalry, present: slice, absent: slice | None = None, valid: bool = False):
    """A guess where a dog barks from 40 to 60 of 100 frames, and rain falls all the time."""
    labels = torch.full((1, len(LABELS), 100), -8.0)
    labels[0, LABELS.index("dog barking"), 40:60] = 2.0
    labels[0, LABELS.index("rain falling")] = 3.0
    spans = torch.zeros(1, 1, 2, 100)
    spans[0, 0, 0, present] = 1
    if absent is not None:
        spans[0, 0, 1, absent] = 1
    vectors, found = rivalry.guess(torch.zeros(1, 1, 384), torch.tensor([[valid]]), labels, spans)
    return LABELS[int((vectors[0, 0] @ rivalry.labels.T).argmax())] if vectors.any() else None, found.item()


def test_marked_time_is_put_into_words(rivalry):
    assert heard_while_marked(rivalry, slice(40, 60)) == ("dog barking", True)
    assert heard_while_marked(rivalry, slice(40, 60), absent=slice(0, 20)) == ("dog barking", True)


def test_marks_that_tell_nothing_stay_without_words(rivalry):
    assert heard_while_marked(rivalry, slice(0, 0)) == (None, False)
    assert heard_while_marked(rivalry, slice(0, 100)) == (None, False)


def test_words_that_were_given_are_kept(rivalry):
    assert heard_while_marked(rivalry, slice(40, 60), valid=True) == (None, True)


def test_prompts_compete_with_each_other_unless_they_overlap(rivalry, text):
    vectors = text.embed(["dog barking", "rain falling", "animal", "music", "piano"])[None]
    labels = torch.zeros(1, len(LABELS), T)
    every, own = torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5, T)

    def rivals(used: torch.Tensor) -> list[list[bool]]:
        return (~rivalry.candidates(vectors, every, own, labels, used).same[0, :, N_CANDIDATES:]).tolist()

    dog, rain, animal, music, piano = rivals(every)
    assert dog == [False, True, False, True, True]
    assert rain == [True, False, True, True, True]
    assert music == [True, True, True, False, False]
    assert piano == [True, True, True, False, False]
    assert animal[0] is False and animal[4] is True
    assert rivals(torch.tensor([[True, False, True, True, True]]))[0] == [False, False, False, True, True]


# ---- choosing ------------------------------------------------------------------------------------------


def pieces(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)[None]


def test_the_rival_that_covers_the_rest_is_chosen_first():
    masks = pieces([1, 0, 0, 0, 0])
    others = pieces([1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 1, 0, 0, 0])
    candidates = Candidates(
        torch.zeros(1, 4, 384),
        torch.full((1, 4), 4.0),
        torch.zeros(1, 4, T),
        torch.zeros(1, 1, 4, dtype=torch.bool),
    )
    shares, fits = Rivalry(4, 0, 384).choose(masks, others, torch.ones(1, 5), candidates)
    chosen = torch.tensor([[0.0, 1, 0, 0], [0, 0, 1, 0]])
    torch.testing.assert_close(
        shares[0, 0], chosen, atol=1e-4, rtol=0
    )  # what the first has taken, the second cannot explain again
    assert 1 > fits[0, 0, 0] > fits[0, 0, 1] > 0.5


def test_what_means_the_same_is_never_a_rival():
    candidates = Candidates(
        torch.zeros(1, 2, 384),
        torch.full((1, 2), 4.0),
        torch.zeros(1, 2, T),
        torch.ones(1, 1, 2, dtype=torch.bool),
    )
    found = Rivalry(2, 0, 384).choose(pieces([0, 0]), pieces([1, 1], [1, 0]), torch.ones(1, 2), candidates)
    assert not any(x.any() for x in found)


def test_rivals_that_fit_nearly_as_well_share_a_place_whatever_the_last_bit_says():
    candidates = Candidates(
        torch.zeros(1, 3, 384),
        torch.full((1, 3), 4.0),
        torch.zeros(1, 3, T),
        torch.zeros(1, 1, 3, dtype=torch.bool),
    )

    def choice(more: float) -> tuple[torch.Tensor, torch.Tensor]:
        others = pieces([0.5 + more, 0.1, 0.0], [0.5 - more, 0.0, 0.1], [0.0, 0.0, 0.1])
        return Rivalry(3, 0, 384).choose(pieces([0, 0, 0]), others, torch.ones(1, 3), candidates)

    one, other = choice(1e-6), choice(-1e-6)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
    assert one[0].shape == (1, 1, 2, 3)
    assert one[0][0, 0, 0].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-3)
    assert choice(0.4)[0][0, 0, 0].tolist() == pytest.approx([1, 0, 0], abs=1e-4)


def test_coarse_cells_are_means_of_bands():
    cells = torch.arange(16.0).reshape(1, 8, 2)
    torch.testing.assert_close(coarse(cells), torch.tensor([[3.0, 4.0, 11.0, 12.0]]))


# ---- competing -----------------------------------------------------------------------------------------


def test_without_rivals_the_prompt_decides_alone():
    rivalry = Rivalry(3, 0, 384)
    own = torch.randn(1, 2, 4, 8)
    out = rivalry(own, torch.randn(1, 2, 2, 4, 8), torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    torch.testing.assert_close(out, own + rivalry.bias)


def test_masks_are_a_softmax_over_prompt_rivals_and_nothing():
    rivalry = Rivalry(3, 0, 384)
    own, rivals = torch.randn(1, 1, 4, 8), torch.randn(1, 1, 2, 4, 8)
    plausible, fits = torch.randn(1, 1, 2), torch.tensor([[[0.5, 0.9]]])
    mask = rivalry(own, rivals, plausible, fits).sigmoid()
    weights = rivalry.weigh(torch.stack([plausible, fits.logit()], -1))[..., 0]
    scores = torch.cat([(own + rivalry.bias)[:, :, None], rivals + weights[..., None, None]], dim=2)
    everything = F.pad(scores, (0, 0, 0, 0, 0, 1))  # and nothing, whose logit is 0
    torch.testing.assert_close(mask, everything.softmax(dim=2)[:, :, 0])


def test_a_network_competes_where_it_is_told_what_else_may_sound():
    network = tiny.network()
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 2, 128, 20, generator=generator)
    energies = torch.rand(2, 128, 20, generator=generator)
    vectors = F.normalize(torch.randn(2, 3, 384, generator=generator), dim=-1)
    conditions = Conditions(vectors, torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, 4, 20))
    own, labels = torch.randn(2, 3 + tiny.CONFIG.n_labels, 20, generator=generator).split(
        [3, tiny.CONFIG.n_labels], 1
    )
    nobody = torch.zeros(2, 3, dtype=torch.bool)
    candidates = network.rivalry.candidates(vectors, conditions.vector_valid, own, labels, nobody)
    alone = network(features, conditions)
    beside = network(features, conditions, None, energies, candidates)
    assert beside.shape == alone.shape == (2, 3, 128, 20)
    assert (beside <= alone + network.rivalry.bias + 1e-4).all()
    assert (beside - alone - network.rivalry.bias).min() < -0.1
    candidates.same[1] = True
    none = network(features, conditions, None, energies, candidates)
    torch.testing.assert_close(none[1], (alone + network.rivalry.bias)[1])
    torch.testing.assert_close(none[0], beside[0])
