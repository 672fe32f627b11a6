"""PE-A-Frame: the published numbers and spans, and what holds for any weights."""

from __future__ import annotations

import json

import official_tiny as tiny
import pytest
import torch
from parity import check, parity_dir, reference

from peav.official import PEAudioFrame, PEAudioFrameProcessor
from peav.official.frame import runs

REF = "pe-a-frame-tiny/ref"
INPUTS = ("input_ids", "attention_mask", "input_values", "padding_mask")
OUTPUTS = [
    "codec_features",
    "feature_padding_mask",
    "audio_last_hidden_state",
    "text_pooler",
    "audio_embeds",
    "text_embeds",
    "unscaled_logits",
    "logits",
    "probs",
]

# ---- the published numbers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> PEAudioFrame:
    return PEAudioFrame.from_pretrained(parity_dir() / "pe-a-frame-tiny")


@pytest.fixture(scope="module")
def stored_inputs():
    return {name: torch.tensor(reference(REF)[name]) for name in INPUTS}


@pytest.fixture(scope="module")
def forward(published, stored_inputs):
    return published(**stored_inputs)


def test_processor():
    process = PEAudioFrameProcessor.from_pretrained(parity_dir() / "pe-a-frame-tiny")
    stored = reference(REF)
    inputs = process([str(t) for t in stored["texts"]], [stored["audio0"], stored["audio1"]], 48000)
    assert set(inputs) == set(INPUTS)
    for name, value in inputs.items():
        check(REF, name, value)


@pytest.mark.parametrize("name", OUTPUTS)
def test_forward(forward, name):
    check(REF, name, getattr(forward, name))


def test_without_mask(published, stored_inputs):
    stored_inputs = {k: v for k, v in stored_inputs.items() if k != "padding_mask"}
    check(REF, "logits_nomask", published(**stored_inputs).logits)


def same_spans(mine, name):
    stored = json.loads(reference(REF)[name].item())
    assert [len(row) for row in mine] == [len(row) for row in stored]
    for row, expected in zip(mine, stored, strict=True):
        assert [x for span in row for x in span] == pytest.approx([x for s in expected for x in s], abs=1e-6)


@pytest.mark.parametrize(
    ("threshold", "name"),
    [(0.3, "spans_03"), (0.5, "spans_05"), (0.8, "spans_08"), (0.0155, "spans_00155")],
)
def test_spans(published, stored_inputs, threshold, name):
    same_spans(published.spans(**stored_inputs, threshold=threshold), name)


def test_spans_without_mask(published, stored_inputs):
    stored_inputs = {k: v for k, v in stored_inputs.items() if k != "padding_mask"}
    same_spans(published.spans(**stored_inputs), "spans_nomask_03")


def test_from_codec_features(published, stored_inputs):
    stored = reference(REF)
    text = {name: stored_inputs[name] for name in ("input_ids", "attention_mask")}
    sound = {
        "input_features": torch.tensor(stored["codec_features"]),
        "padding_mask": torch.tensor(stored["feature_padding_mask"]),
    }
    check(REF, "logits", published(**text, **sound).logits)
    same_spans(published.spans(**text, **sound), "spans_03")


# ---- any weights ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("pe-a-frame"), PEAudioFrame)


@pytest.fixture(scope="module")
def model(folder):
    return PEAudioFrame.from_pretrained(folder)


@pytest.fixture(scope="module")
def batch(folder):
    process = PEAudioFrameProcessor.from_pretrained(folder)
    return process(["a dog", "loud rain"], tiny.sounds(0.5, 0.81), 48000)


def test_pairs_on_the_diagonal_are_the_logits_of_a_call(model, batch):
    out = model(**batch)
    pairs = model.pairwise_logits(out.audio_embeds, out.text_embeds)
    assert pairs.shape == (2, 2, 21)
    torch.testing.assert_close(pairs.diagonal().T, out.logits, atol=1e-5, rtol=1e-5)


def test_parts_give_what_the_whole_gives(model, batch):
    out = model(**batch)
    torch.testing.assert_close(
        model.encode_audio(batch["input_values"], batch["padding_mask"]), out.audio_embeds
    )
    torch.testing.assert_close(
        model.encode_text(batch["input_ids"], batch["attention_mask"]), out.text_embeds
    )


def test_only_what_a_call_needs_is_loaded(folder, batch):
    model = PEAudioFrame.from_pretrained(folder)
    model.encode_text(batch["input_ids"])
    assert set(model.loaded) == {"text", "text_head"}
    assert model.frame_s == 0.04


def test_both_layouts_give_the_same_vectors(tmp_path, model, batch):
    other = PEAudioFrame.from_pretrained(tiny.make_transformers(tmp_path, PEAudioFrame))
    assert other.frame_s == 0.04  # though the file says 16 kHz
    mine, theirs = model(**batch), other(**batch)
    torch.testing.assert_close(theirs.unscaled_logits, mine.unscaled_logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(theirs.logits, mine.logits, atol=1e-5, rtol=0)


def test_texts_and_sounds_have_to_match(model, batch):
    with pytest.raises(ValueError, match="1 texts for 2 sounds"):
        model(batch["input_ids"][:1], None, batch["input_values"])


def test_clipped_spans_stay_out_of_the_padding(model, batch):
    assert model.spans(**batch, threshold=-1) == [[pytest.approx((0, 0.84))]] * 2
    assert model.spans(**batch, threshold=-1, clip=True) == [
        [pytest.approx((0, 0.52))],
        [pytest.approx((0, 0.84))],
    ]
    assert model.spans(**batch, threshold=1) == [[], []]


@pytest.mark.parametrize(
    ("active", "expected"),
    [
        ("", []),
        ("0000", []),
        ("1111", [(0, 4)]),
        ("0110", [(1, 3)]),
        ("1001", [(0, 1), (3, 4)]),
        ("10101", [(0, 1), (2, 3), (4, 5)]),
    ],
)
def test_runs(active, expected):
    mask = torch.tensor([c == "1" for c in active], dtype=torch.bool)
    spans = runs(mask, 1920, 48000)
    assert spans == [pytest.approx((a * 0.04, b * 0.04)) for a, b in expected]
    frames = [round(t / 0.04) for span in spans for t in span]
    rebuilt = torch.zeros(len(active), dtype=torch.bool)
    for a, b in zip(frames[::2], frames[1::2], strict=True):
        rebuilt[a:b] = True
    assert torch.equal(rebuilt, mask)
