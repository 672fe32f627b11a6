"""PE-AV: the published numbers, and what holds for any weights."""

from __future__ import annotations

import copy
import json
import threading
import tracemalloc

import official_tiny as tiny
import pytest
import torch
from parity import check, parity_dir, reference

from peav.official import PEAudioVideo, PEAudioVideoProcessor
from peav.official.model import LOGIT_PAIRS
from peav.official.parts import PartedModel

OUT, IN = "pe-av-tiny/outputs", "pe-av-tiny/inputs"
EMBEDS = [
    "audio_embeds",
    "visual_embeds",
    "audio_visual_embeds",
    "audio_text_embeds",
    "visual_text_embeds",
    "audio_visual_text_embeds",
    "audio_plus_text_embeds",
    "visual_plus_text_embeds",
]
STAGES = [
    "codec_features",
    "audio_feature_mask",
    "audio_last_hidden_state",
    "audio_pooler",
    "pe_features",
    "visual_last_hidden_state",
    "visual_pooler",
    "av_last_hidden_state",
    "av_pooler",
    "text_last_hidden_state",
    "text_pooler",
]
TEXT = ("input_ids", "attention_mask")
SOUND = ("input_values", "padding_mask")
VIDEO = ("pixel_values_videos", "padding_mask_videos")

# ---- the published numbers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> PEAudioVideo:
    return PEAudioVideo.from_pretrained(parity_dir() / "pe-av-tiny")


@pytest.fixture(scope="module")
def raw():
    stored = reference(IN)
    return {
        "text": [str(text) for text in stored["texts"]],
        "audio": [torch.tensor(stored[f"audio{i}"]) for i in range(2)],
        "videos": [torch.tensor(stored[f"video{i}"]) for i in range(2)],
    }


@pytest.fixture(scope="module")
def processor() -> PEAudioVideoProcessor:
    return PEAudioVideoProcessor.from_pretrained(parity_dir() / "pe-av-tiny")


@pytest.fixture(scope="module")
def stored_inputs():
    return {name: torch.tensor(reference(IN)[name]) for name in (*TEXT, *SOUND, *VIDEO)}


def test_processor(processor, raw):
    inputs = processor(**raw, sampling_rate=48000)
    assert set(inputs) == {*TEXT, *SOUND, *VIDEO}
    for name, value in inputs.items():
        check(IN, name, value)
        assert str(value.dtype).removeprefix("torch.") == str(reference(IN)[name].dtype)


@pytest.fixture(scope="module")
def forward(published, stored_inputs):
    return published(**stored_inputs)


@pytest.mark.parametrize("name", EMBEDS + STAGES)
def test_forward(forward, name):
    check(OUT, name, getattr(forward, name))


@pytest.mark.parametrize("name", EMBEDS)
def test_forward_without_masks(published, stored_inputs, name):
    inputs = {k: v for k, v in stored_inputs.items() if not k.startswith("padding_mask")}
    check(OUT, f"nomask_{name}", getattr(published(**inputs), name))


@pytest.mark.parametrize("name", EMBEDS)
def test_forward_of_a_single_item(published, processor, raw, name):
    inputs = processor(**{k: v[:1] for k, v in raw.items()}, sampling_rate=48000)
    check(OUT, f"single0_{name}", getattr(published(**inputs), name))


@pytest.mark.parametrize(
    ("method", "needs"),
    [
        ("encode_audio", SOUND),
        ("encode_video", VIDEO),
        ("encode_audio_video", SOUND + VIDEO),
        ("encode_audio_text", TEXT),
        ("encode_video_text", TEXT),
        ("encode_audio_video_text", TEXT),
        ("encode_audio_plus_text", SOUND + TEXT),
        ("encode_video_plus_text", VIDEO + TEXT),
    ],
)
def test_direct_entry_points(published, stored_inputs, method, needs):
    check(OUT, method, getattr(published, method)(**{name: stored_inputs[name] for name in needs}))


def test_stages_from_stored_inputs(published):
    """Each tower alone, so that errors before it do not add up."""
    out = {name: torch.tensor(value) for name, value in reference(OUT).items()}
    inputs = {
        name: torch.tensor(value) for name, value in reference(IN).items() if name.startswith("padding")
    }
    sound = published.part("audio")(out["codec_features"], out["audio_feature_mask"])
    check(OUT, "audio_last_hidden_state", sound.last_hidden_state)
    video = published.part("video")(out["pe_features"], inputs["padding_mask_videos"])
    check(OUT, "visual_last_hidden_state", video.last_hidden_state)
    both = published.part("fusion").fuse(
        out["audio_last_hidden_state"],
        out["visual_last_hidden_state"],
        out["audio_feature_mask"],
        inputs["padding_mask_videos"],
    )
    check(OUT, "av_last_hidden_state", both.last_hidden_state)
    check(OUT, "av_pooler", both.pooler)


def test_precomputed_features_give_the_same(published, stored_inputs, forward):
    frames = {"input_features": forward.codec_features, "padding_mask": forward.audio_feature_mask}
    check(OUT, "encode_audio", published.encode_audio(**frames))
    pictures = {
        "pe_features": forward.pe_features,
        "padding_mask_videos": stored_inputs["padding_mask_videos"],
    }
    check(OUT, "encode_video", published.encode_video(**pictures))
    check(OUT, "encode_audio_video", published.encode_audio_video(**frames, **pictures))


def test_frame_features_of_raw_frames(published, raw, forward):
    for row, video in enumerate(raw["videos"]):
        features = published.frame_features(video)
        torch.testing.assert_close(features, forward.pe_features[row, : len(video)], atol=1e-5, rtol=0)


# ---- any weights ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("pe-av"), PEAudioVideo)


@pytest.fixture(scope="module")
def model(folder):
    return PEAudioVideo.from_pretrained(folder)


@pytest.fixture(scope="module")
def batch(folder):
    process = PEAudioVideoProcessor.from_pretrained(folder)
    return process(["a dog", "loud rain barking"], tiny.sounds(0.5, 0.81), tiny.videos(4, 7), 48000)


def of(batch, *names):
    return {name: batch[name] for name in names}


def test_only_what_a_call_needs_is_loaded(folder, batch):
    model = PEAudioVideo.from_pretrained(folder)
    assert model.loaded == ()
    model.encode_audio_text(**of(batch, *TEXT))
    assert set(model.loaded) == {"text", "audio_text_head"}
    model.encode_audio(**of(batch, *SOUND))
    assert set(model.loaded) == {"text", "audio_text_head", "codec", "audio", "audio_head"}
    model.encode_video(pe_features=torch.randn(1, 3, 40))
    assert "vision" not in model.loaded
    assert set(model.load().loaded) == set(model.builders(model.config))


def test_unused_text_layers_are_not_built(model):
    assert len(model.part("text").layers) == 3


def test_parts_are_built_once_by_many_threads(folder, monkeypatch, batch):
    model = PEAudioVideo.from_pretrained(folder)
    built, build = [], PartedModel._build
    monkeypatch.setattr(PartedModel, "_build", lambda self, name: built.append(name) or build(self, name))
    results = []
    start = threading.Barrier(8)

    def work():
        start.wait()
        results.append(model.encode_audio_text(**of(batch, *TEXT)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(built) == ["audio_text_head", "text"]
    assert all(torch.equal(result, results[0]) for result in results)
    assert torch.get_default_device() == torch.device("cpu")


def test_both_layouts_give_the_same_vectors(tmp_path, model, batch):
    other = PEAudioVideo.from_pretrained(tiny.make_transformers(tmp_path, PEAudioVideo))
    other.part("vision").proj_bias.zero_()
    mine, theirs = model(**batch), other(**batch)
    for name in EMBEDS:
        torch.testing.assert_close(getattr(theirs, name), getattr(mine, name), atol=1e-6, rtol=0)
    assert mine.logits is None
    assert set(theirs.logits) == set(LOGIT_PAIRS)
    for name, (rows, columns) in LOGIT_PAIRS.items():
        layer = other.part("logits")[name]
        expected = layer.scale * (getattr(theirs, rows) @ getattr(theirs, columns).T) + layer.bias
        torch.testing.assert_close(theirs.logits[name], expected)
    only_text = other(**of(batch, *TEXT))
    assert only_text.logits == {}


def test_the_bias_of_transformers_image_tower_counts(tmp_path, batch):
    model = PEAudioVideo.from_pretrained(tiny.make_transformers(tmp_path, PEAudioVideo))
    vision = model.part("vision")
    before = vision(batch["pixel_values_videos"][0])
    vision.proj_bias.add_(1)
    torch.testing.assert_close(vision(batch["pixel_values_videos"][0]), before + 1)


def test_masked_items_are_as_alone(model, batch):
    """What follows the end of an item changes none of its vectors."""
    together = model(**batch)
    samples, frames, tokens = (int(batch[name][0].sum()) for name in (SOUND[1], VIDEO[1], TEXT[1]))
    alone = model(
        input_ids=batch["input_ids"][:1, :tokens],
        input_values=batch["input_values"][:1, :, :samples],
        pixel_values_videos=batch["pixel_values_videos"][:1, :frames],
    )
    for name in set(EMBEDS) - {"audio_embeds", "audio_visual_embeds", "audio_plus_text_embeds"}:
        torch.testing.assert_close(getattr(together, name)[:1], getattr(alone, name), atol=1e-5, rtol=0)
    # the codec hears across the end of an item: its convolutions are not masked
    features = {"input_features": together.codec_features, "padding_mask": together.audio_feature_mask}
    rows = model.encode_audio(**features)
    for row, mask in enumerate(together.audio_feature_mask):
        single = model.encode_audio(input_features=together.codec_features[row : row + 1, : int(mask.sum())])
        torch.testing.assert_close(rows[row : row + 1], single, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (TEXT, {"audio_visual_text_embeds"}),
        (SOUND, {"audio_embeds"}),
        (VIDEO, {"visual_embeds"}),
        (TEXT + SOUND, {"audio_embeds", "audio_text_embeds", "audio_plus_text_embeds"}),
        (TEXT + VIDEO, {"visual_embeds", "visual_text_embeds", "visual_plus_text_embeds"}),
        (SOUND + VIDEO, {"audio_embeds", "visual_embeds", "audio_visual_embeds"}),
        (TEXT + SOUND + VIDEO, set(EMBEDS)),
    ],
)
def test_which_vectors_come_with_which_inputs(model, batch, given, expected):
    out = model(**of(batch, *given))
    assert {name for name in EMBEDS if getattr(out, name) is not None} == expected
    assert all(getattr(out, name).shape == (2, 24) for name in expected)


def test_nothing_given(model):
    with pytest.raises(ValueError, match="give texts, sounds or videos"):
        model()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: m.encode_audio(torch.zeros(2, 1920)), r"waveforms must have shape \(B, 1, n\)"),
        (lambda m: m.encode_audio(), "waveforms must have shape .* not None"),
        (lambda m: m.encode_audio(torch.zeros(1, 1, 500)), "500 samples are too short"),
        (lambda m: m.encode_audio(torch.zeros(1, 1, 1920), torch.ones(1, 1)), "padding_mask must have shape"),
        (lambda m: m.encode_audio(torch.zeros(1, 1, 1920), torch.zeros(1, 1920)), "nothing of row 0"),
        (lambda m: m.encode_audio(input_features=torch.zeros(1, 5, 7)), r"shape \(B, frames, 6\)"),
        (lambda m: m.encode_video(torch.zeros(1, 2, 3, 32, 32)), r"shape \(\.\.\., 3, 48, 48\)"),
        (lambda m: m.encode_video(torch.zeros(2, 3, 48, 48)), "videos must have shape"),
        (lambda m: m.encode_video(pe_features=torch.zeros(1, 2, 41)), r"shape \(B, frames, 40\)"),
        (lambda m: m.encode_audio_text(torch.zeros(3, dtype=torch.long)), "input_ids must have shape"),
        (
            lambda m: m.encode_audio_video(
                input_features=torch.zeros(1, 5, 6), pe_features=torch.zeros(2, 2, 40)
            ),
            "1 sounds for 2 videos",
        ),
    ],
)
def test_wrong_shapes_are_named(model, call, match):
    with pytest.raises(ValueError, match=match):
        call(model)


def test_frames_go_through_the_image_tower_a_few_at_a_time(model, monkeypatch):
    vision, sizes = model.part("vision"), []
    forward = type(vision).forward
    monkeypatch.setattr(type(vision), "forward", lambda s, x: sizes.append(len(x)) or forward(s, x))
    pixels = torch.randn(2, 35, 3, 48, 48)
    chunked = vision.features(pixels)
    assert sizes == [32, 32, 6]
    torch.testing.assert_close(chunked, vision.features(pixels, at_once=0), atol=1e-6, rtol=0)
    assert sizes[3:] == [70]
    assert chunked.shape == (2, 35, 40)


def test_longer_than_the_position_table_of_the_reference(model):
    out = model.encode_audio(input_features=torch.randn(1, 10_050, 6))
    assert out.isfinite().all()


def test_half_precision_is_close_and_keeps_the_codec_whole(folder, batch):
    half = PEAudioVideo.from_pretrained(folder, dtype=torch.bfloat16)
    whole = PEAudioVideo.from_pretrained(folder)
    for name in EMBEDS:
        a, b = getattr(half(**batch), name), getattr(whole(**batch), name)
        assert a.dtype == torch.float32
        assert torch.cosine_similarity(a, b).min() > 0.99, name
    assert half.part("codec").quantizer["in_proj"].weight.dtype == torch.float32
    assert half.part("text").layers[0].attn.Wqkv.weight.dtype == torch.bfloat16


def test_a_model_can_be_copied_and_its_weights_moved_to_another(model, batch):
    copied = copy.deepcopy(model)
    other = PEAudioVideo(model.config).eval()
    other.load_state_dict(model.state_dict())
    expected = model.encode_audio_text(**of(batch, *TEXT))
    assert torch.equal(copied.encode_audio_text(**of(batch, *TEXT)), expected)
    assert torch.equal(other.encode_audio_text(**of(batch, *TEXT)), expected)


def test_gradients_reach_a_model_that_is_trained(folder, batch):
    model = PEAudioVideo(PEAudioVideo.read_config(tiny.AV_CONFIG_HF)).train()
    with torch.no_grad():
        for logit in model.part("logits").values():
            logit.scale.fill_(1)
    loss = sum(logits.square().mean() for logits in model(**batch).logits.values())
    loss.backward()
    untouched = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert untouched == []
    assert model.part("codec").encoder.block[0].weight.grad.any()
    assert not PEAudioVideo.from_pretrained(folder).encode_audio(**of(batch, *SOUND)).requires_grad


def test_opening_maps_and_reads_no_weights(tmp_path):
    config = tiny.AV_CONFIG | {"text_model": tiny.TEXT | {"vocab_size": 200_000}}
    folder = tiny.save(tmp_path, config, tiny.tensors(PEAudioVideo, config))
    tracemalloc.start()
    PEAudioVideo.from_pretrained(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000 < (folder / "model.safetensors").stat().st_size / 3


def test_a_16_frame_model_says_so(tmp_path):
    config = json.loads(json.dumps(tiny.AV_CONFIG))
    config["audio_visual_model"]["visual_model"]["fixed_len_video"] = True
    folder = tiny.save(tmp_path, config, tiny.tensors(PEAudioVideo, config))
    video = tiny.videos(40)[0]
    inputs = PEAudioVideoProcessor.from_pretrained(folder)(videos=[video])
    picked = PEAudioVideoProcessor.from_pretrained(tiny.make(tmp_path / "all", PEAudioVideo))(
        videos=[video[[i * 39 // 15 for i in range(16)]]]
    )
    assert torch.equal(inputs["pixel_values_videos"], picked["pixel_values_videos"])
    assert PEAudioVideo.from_pretrained(folder).encode_video(**inputs).shape == (1, 24)
