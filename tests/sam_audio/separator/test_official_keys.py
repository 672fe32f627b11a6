"""Names and shapes in the published files, in both layouts, and the configs they follow from."""

from __future__ import annotations

import json
from dataclasses import replace

import official_tiny as tiny
import pytest
import torch
from parity import parity_dir

from peav.checkpoints import CheckpointError
from peav.official import CONFIGS, PEAudioFrame, PEAudioVideo, naming
from peav.official.codec import from_pe_names
from peav.official.parts import published_shapes

KINDS = [PEAudioVideo, PEAudioFrame]
LISTS = [
    f"pe-{kind}-{size}_{layout}"
    for kind in ("av", "a-frame")
    for size in ("small", "base", "large")
    for layout in ("perception_models", "transformers")
]


@pytest.mark.parametrize("name", LISTS)
def test_a_published_size_has_exactly_the_listed_tensors(name):
    listed = json.loads((parity_dir() / "keys" / f"{name}.json").read_text())
    kind = PEAudioVideo if "pe-av" in name else PEAudioFrame
    config = kind.read_config(listed["config"])
    shapes = published_shapes(kind, config)
    assert shapes == {key: tuple(shape) for key, shape in listed["shapes"].items()}
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == listed["n_values"]
    preset = CONFIGS[name.split("_")[0]]
    assert replace(config, transformers=False, text=preset.text) == preset


@pytest.mark.parametrize("name", ["pe-av-tiny", "pe-a-frame-tiny"])
def test_the_tiny_checkpoints_have_exactly_the_listed_tensors(name):
    folder = parity_dir() / name
    kind = PEAudioVideo if "pe-av" in name else PEAudioFrame
    shapes = published_shapes(kind, kind.read_config(json.loads((folder / "config.json").read_text())))
    assert shapes == {k: tuple(s) for k, s in json.loads((folder / "keys.json").read_text()).items()}


def test_presets():
    av = {f"pe-av-{size}{frames}" for size in ("small", "base", "large") for frames in ("", "-16-frame")}
    assert set(CONFIGS) == av | {f"pe-a-frame-{size}" for size in ("small", "base", "large")}
    assert all(CONFIGS[name].fixed_len_video == name.endswith("16-frame") for name in av)


@pytest.mark.parametrize("kind", KINDS)
def test_names_go_to_transformers_and_back(kind):
    before = tiny.tensors(kind, tiny.CONFIGS[kind][0])
    there = naming.to_transformers(before, kind.rules, 3)
    back = naming.from_transformers(there, kind.rules)
    lost = {name for name in before if name not in back}
    unread = "text_model.layers.3.", ".bottleneck.out_proj."
    assert all(any(part in name for part in unread) for name in lost)
    assert all(any(part in name for name in lost) for part in unread)
    assert set(back) - set(before) <= {"audio_visual_model.visual_model.pe_encoder.proj_bias"}
    for name in set(before) - lost:
        whole = before[name][: len(back[name])] if ".bottleneck.in_proj." in name else before[name]
        assert torch.equal(back[name], whole), name
    assert set(naming.to_transformers(tiny.tensors(kind, tiny.CONFIGS[kind][0]), kind.rules)) > set(there)


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_belongs_to_a_part_in_both_layouts(kind):
    for config_json in tiny.CONFIGS[kind]:
        names = published_shapes(kind, kind.read_config(config_json))
        parts = {naming.part_of(name, kind.prefixes, kind.rules) for name in names}
        assert parts == set(kind.builders(kind.read_config(config_json)))


def test_codec_names_invert_those_of_the_codec():
    model = PEAudioFrame(PEAudioFrame.read_config(tiny.FRAME_CONFIG))
    own = dict(model.part("codec").state_dict())
    published = {naming.to_pe_codec(name, 4): tensor for name, tensor in own.items()}
    assert published.keys().isdisjoint(own)
    assert list(from_pe_names(published)) == list(own)


def test_a_config_of_the_other_kind_is_refused():
    with pytest.raises(CheckpointError, match="lacks audio_visual_model: this is a model of another kind"):
        PEAudioVideo.read_config(tiny.FRAME_CONFIG)
    with pytest.raises(CheckpointError, match="lacks audio_model"):
        PEAudioFrame.read_config(tiny.AV_CONFIG)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"hidden_size": None}, "positive whole number as hidden_size"),
        ({"num_attention_heads": 0}, "num_attention_heads, not 0"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
        ({"num_key_value_heads": 1}, "shares keys"),
        ({"head_dim": 15}, "odd width 15"),
        ({"attention_bias": True}, "attention_bias"),
    ],
)
def test_impossible_towers_are_refused(change, match):
    audio = tiny.AUDIO | {"audio_transformer": tiny.TOWER | change}
    with pytest.raises(CheckpointError, match=match) as caught:
        PEAudioFrame.read_config(tiny.FRAME_CONFIG | {"audio_model": audio})
    assert str(caught.value).endswith(".")


def test_an_unknown_vision_tower_is_refused():
    visual = {"pe_encoder": "PE-Core-X", "visual_transformer": tiny.TOWER}
    both = tiny.AV_CONFIG["audio_visual_model"] | {"visual_model": visual}
    with pytest.raises(CheckpointError, match="no vision tower 'PE-Core-X': use one of PE-Core-L14-336"):
        PEAudioVideo.read_config(tiny.AV_CONFIG | {"audio_visual_model": both})


def test_a_text_layer_that_is_not_there_is_refused():
    with pytest.raises(CheckpointError, match="nth_text_layer is 9"):
        PEAudioFrame.read_config(tiny.FRAME_CONFIG | {"nth_text_layer": 9})


def test_all_text_layers_are_run_where_the_config_names_none():
    config = PEAudioFrame.read_config(tiny.FRAME_CONFIG | {"nth_text_layer": None})
    assert config.text.depth == 4
    assert PEAudioFrame(config).part("text").final_norm is not None


def test_fields_that_change_nothing_are_passed_over():
    plain = PEAudioFrame.read_config(tiny.FRAME_CONFIG)
    audio = tiny.AUDIO | {
        "audio_transformer": tiny.TOWER | {"rope_theta": 3, "vocab_size": 9, "use_cache": True}
    }
    assert PEAudioFrame.read_config(tiny.FRAME_CONFIG | {"audio_model": audio, "_name": "x"}) == plain
    assert plain.audio.theta == 20000
