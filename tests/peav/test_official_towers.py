"""The towers, against other implementations of them and against what has to hold."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from peav.checkpoints import CheckpointError
from peav.official.fusion import align
from peav.official.text import TextConfig, TextTower, views
from peav.official.transformer import Tower, TowerConfig, masked_group_norm, rotary_angles, rotate
from peav.official.vision import VISION_CONFIGS, VisionConfig, VisionTower

TOWER = TowerConfig(32, 48, 2, 2, 16)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def shaken(module: nn.Module) -> nn.Module:
    """Moves every weight, so that layers that start at zero or one hide no mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


# ---- the shared tower ----------------------------------------------------------------------------------


def test_padding_changes_nothing():
    tower = shaken(Tower(TOWER))
    x = torch.randn(2, 9, 32)
    mask = torch.arange(9) < torch.tensor([[5], [9]])
    out, alone = tower(x, mask), tower(x[:1, :5])
    torch.testing.assert_close(out.pooler[:1], alone.pooler, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.last_hidden_state[:1, :5], alone.last_hidden_state, atol=1e-5, rtol=0)
    other = tower(torch.where(mask[..., None], x, 7.0), mask)
    torch.testing.assert_close(out.pooler, other.pooler, atol=1e-5, rtol=0)
    assert out.last_hidden_state.isfinite().all()


def test_a_full_mask_is_no_mask():
    tower = shaken(Tower(TOWER))
    x = torch.randn(2, 9, 32)
    for mine, other in zip(tower(x), tower(x, torch.ones(2, 9, dtype=torch.bool)), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_masked_group_norm():
    norm = shaken(nn.GroupNorm(1, 8))
    x = torch.randn(2, 8, 7) + 3
    mask = torch.arange(7) < torch.tensor([[4], [7]])
    out = masked_group_norm(x, mask, norm)
    torch.testing.assert_close(out[:1, :, :4], norm(x[:1, :, :4]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out[1:], norm(x[1:]), atol=1e-5, rtol=1e-5)
    assert not out[0, :, 4:].any()


def test_rotations_keep_lengths_and_depend_on_distance_alone():
    rotation = rotary_angles(30, 16, 20000.0, torch.device("cpu"))
    q, k = torch.randn(2, 1, 1, 1, 16)
    a, b = rotate(q.expand(1, 1, 30, 16), rotation), rotate(k.expand(1, 1, 30, 16), rotation)
    torch.testing.assert_close(a.norm(dim=-1), q.norm().expand(1, 1, 30))
    products = (a @ b.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(products.diagonal(3), products[0, 3].expand(27), atol=1e-4, rtol=0)
    torch.testing.assert_close(a[0, 0, 0], q[0, 0, 0])


# ---- alignment -----------------------------------------------------------------------------------------


def test_equal_lengths_are_left_alone():
    video = torch.randn(2, 5, 3)
    assert align(video, [5, 2], 5, [5, 2]) is video


def test_stretching_repeats_steps_and_fills_with_zeros():
    video = torch.arange(1.0, 7.0).view(1, 6, 1).repeat(2, 1, 1)
    out = align(video, [3, 6], 6, [6, 3])
    assert out[..., 0].tolist() == [[1, 1, 2, 2, 3, 3], [1, 3, 5, 0, 0, 0]]


@pytest.mark.parametrize(("have", "want"), [(7, 21), (5, 14), (30, 25), (1, 9), (250, 25), (3, 2)])
def test_stretching_takes_the_step_at_the_same_time(have, want):
    steps = torch.arange(have).view(1, have, 1).float()
    assert align(steps, [have], want, [want])[0, :, 0].tolist() == [i * have // want for i in range(want)]


# ---- text, against transformers ------------------------------------------------------------------------


def modern_bert(config: TextConfig, layers: int):
    transformers = pytest.importorskip("transformers")
    sizes = {
        name: getattr(config, name)
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "local_attention",
        )
    }
    settings = transformers.ModernBertConfig(**sizes, num_hidden_layers=layers, pad_token_id=0)
    return shaken(transformers.ModernBertModel(settings))


@pytest.mark.slow
@pytest.mark.parametrize("nth", [None, 4])
def test_text_tower_is_modern_bert(nth):
    config = TextConfig(30, 48, 64, 6, 4, local_attention=8, nth_layer=nth)
    theirs = modern_bert(config, 6)
    mine = TextTower(config).eval().requires_grad_(False)
    wanted = mine.state_dict()
    mine.load_state_dict({n: t for n, t in theirs.state_dict().items() if n in wanted})
    tokens = torch.randint(0, 30, (2, 40))
    mask = (torch.arange(40) < torch.tensor([[29], [40]])).long()
    for attention_mask in (None, mask):
        if nth is None:
            expected = theirs(tokens, attention_mask).last_hidden_state
        else:
            theirs.layers, theirs.final_norm = theirs.layers[:nth], nn.Identity()
            expected = theirs(tokens, attention_mask).last_hidden_state
        out = mine(tokens, attention_mask)
        valid = torch.ones(2, 40, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        torch.testing.assert_close(out[valid], expected[valid], atol=2e-5, rtol=0)
        assert out.isfinite().all()


def test_what_tokens_may_look_at():
    valid = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    everywhere, near = views(valid, valid, 1)
    assert torch.equal(everywhere.mask, valid.bool()[:, None, None])
    place = torch.arange(6)
    assert torch.equal(near.mask[1, 0], (place[:, None] - place).abs() <= 1)
    assert near.blind[0, 0, :, 0].tolist() == [False, False, False, True, True, True]
    assert near.mask.any(-1).all()
    everywhere, near = views(valid, None, 1)
    assert everywhere.mask is everywhere.blind is near.blind is None


# ---- pictures, against timm ----------------------------------------------------------------------------


def eva(config: VisionConfig):
    timm = pytest.importorskip("timm.models.eva")
    from functools import partial

    return shaken(
        timm.Eva(
            img_size=config.image_size,
            patch_size=config.patch_size,
            num_classes=config.output,
            global_pool="map",
            embed_dim=config.width,
            depth=config.layers,
            num_heads=config.heads,
            mlp_ratio=config.mlp / config.width,
            norm_layer=partial(nn.LayerNorm, eps=1e-5),
            attn_type="rope",
            class_token=config.class_token,
            use_pre_transformer_norm=True,
            use_rot_pos_emb=True,
            rope_grid_offset=float(config.class_token),
            rope_grid_indexing="xy",
            attn_pool_num_heads=8,
            attn_pool_mlp_ratio=4.0,
        )
    )


def from_timm(tensors):
    from peav.official import naming

    before, after = (
        "audio_visual_model.visual_model.pe_encoder.",
        "video_model.video_encoder.embedder.vision_model.",
    )
    named = {f"{after}timm_model.{name}": tensor for name, tensor in tensors.items()}
    return {n.removeprefix(before): t for n, t in naming.from_transformers(named, naming.AV_RULES).items()}


@pytest.mark.slow
@pytest.mark.parametrize("class_token", [True, False])
def test_image_tower_is_timms(class_token):
    config = VisionConfig(48, 8, 48, 3, 3, 100, 20, class_token)
    theirs = eva(config)
    mine = VisionTower(config, proj_bias=True).eval()
    mine.load_state_dict(from_timm(theirs.state_dict()))
    pixels = torch.randn(3, 3, 48, 48)
    torch.testing.assert_close(mine(pixels), theirs(pixels), atol=2e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("PE-Core-L14-336", "vit_pe_core_large_patch14_336"),
        ("PE-Core-B16-224", "vit_pe_core_base_patch16_224"),
        ("PE-Core-S16-384", "vit_pe_core_small_patch16_384"),
        ("PE-Core-T16-384", "vit_pe_core_tiny_patch16_384"),
        ("PE-Core-G14-448", "vit_pe_core_gigantic_patch14_448"),
    ],
)
def test_named_sizes_are_timms(name, theirs):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        mine = VisionTower(VISION_CONFIGS[name], proj_bias=True).state_dict()
        other = from_timm(timm.create_model(theirs).state_dict())
    assert {n: t.shape for n, t in mine.items()} == {n: t.shape for n, t in other.items()}
    assert VisionConfig.named(theirs) == VisionConfig.named(f"{theirs}.fb") == VISION_CONFIGS[name]


def test_another_grid_interpolates_the_positions():
    tower = shaken(VisionTower(VISION_CONFIGS["PE-Core-Tiny-Test"]))
    table = tower.positional_embedding
    assert torch.equal(tower._positions(3, 3)[0], table)
    grid = table[1:].view(1, 3, 3, 48).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (4, 5), mode="bilinear").flatten(2).transpose(1, 2)
    torch.testing.assert_close(tower._positions(4, 5)[:, 1:], expected)
    assert torch.equal(tower._positions(4, 5)[0, 0], table[0])
    assert tower(torch.randn(2, 3, 64, 80)).shape == (2, 40)


@contextmanager
def one_thread():
    """Two threads sum in another order than one, which is more than the tolerance."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- the whole of PE-AV, against transformers ----------------------------------------------------------


@pytest.mark.slow
def test_pe_av_is_that_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    import official_tiny as tiny
    from safetensors.torch import load_file

    from peav.official import PEAudioVideo, PEAudioVideoProcessor

    folder = tiny.make_transformers(tmp_path, PEAudioVideo)
    mine = PEAudioVideo.from_pretrained(folder)
    audio_video = dict(tiny.AV_CONFIG_HF["audio_video_config"])
    sizes = {"img_size": 48, "embed_dim": 48, "depth": 2, "num_heads": 3, "ref_feat_shape": (3, 3)}
    vision = {
        "model_type": "timm_wrapper",
        "architecture": "vit_pe_core_tiny_patch16_384",
        "num_labels": 40,
        "global_pool": "map",
        "do_pooling": True,
        "model_args": sizes,
    }
    heads = {"num_key_value_heads": 2, "head_dim": 16}
    audio_video |= heads | {
        "audio_config": audio_video["audio_config"] | heads,
        "video_config": tiny.TOWER | heads | {"vision_config": vision},
    }
    text = tiny.AV_CONFIG_HF["text_config"] | {"tie_last_hidden_states": False}
    theirs = transformers.PeAudioVideoModel(
        transformers.PeAudioVideoConfig(text_config=text, audio_video_config=audio_video)
    ).eval()
    faults = theirs.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not faults.unexpected_keys
    inputs = PEAudioVideoProcessor.from_pretrained(folder)(
        ["a dog", "loud rain barking"], tiny.sounds(0.5, 0.81), tiny.videos(4, 7), 48000
    )
    with one_thread(), torch.no_grad():
        expected, out = theirs(**inputs), mine(**inputs)
    compare(out, expected)


def compare(out, expected):
    """Vectors and logits of one model with those of transformers."""
    names = {
        "audio_embeds": "audio_embeds",
        "visual_embeds": "video_embeds",
        "audio_visual_embeds": "audio_video_embeds",
        "audio_text_embeds": "text_audio_embeds",
        "visual_text_embeds": "text_video_embeds",
        "audio_visual_text_embeds": "text_audio_video_embeds",
        "audio_plus_text_embeds": "audio_plus_text_embeds",
        "visual_plus_text_embeds": "video_plus_text_embeds",
    }
    for name, other in names.items():
        torch.testing.assert_close(getattr(out, name), expected[other], atol=2e-5, rtol=1e-4, msg=name)
    for name, logits in out.logits.items():
        torch.testing.assert_close(logits, expected[f"logits_{name}"], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("labels", ["num_labels", "num_classes"])
def test_what_transformers_saves_is_loaded(tmp_path, labels):
    """Sizes of its own: of the tower by model_args, of its vectors by the number of labels."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "PeAudioVideoModel"):
        pytest.skip("this transformers has no PE-AV")
    import official_tiny as tiny

    from peav.official import PEAudioVideo, PEAudioVideoProcessor

    changes = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 3, "num_heads": 2, "mlp_ratio": 3.0}
    # one of them is kept beside the number of labels, which then is another
    vision = {"architecture": "vit_pe_core_tiny_patch16_384", labels: 24, "model_args": changes}
    heads = {"num_key_value_heads": 2, "head_dim": 16}
    both = tiny.AV_CONFIG_HF["audio_video_config"]
    audio_video = both | heads | {
        "audio_config": both["audio_config"] | heads,
        "video_config": tiny.TOWER | heads | {"vision_config": vision},
    }  # fmt: skip
    text = tiny.AV_CONFIG_HF["text_config"] | {"tie_last_hidden_states": False}
    torch.manual_seed(0)
    theirs = transformers.PeAudioVideoModel(
        transformers.PeAudioVideoConfig(text_config=text, audio_video_config=audio_video)
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    mine = PEAudioVideo.from_pretrained(tmp_path)
    assert mine.config.vision.output == (24 if labels == "num_labels" else 2)
    assert (mine.config.vision.image_size, mine.config.vision.mlp) == (32, 192)
    process = PEAudioVideoProcessor.from_pretrained(tiny.make(tmp_path / "words", PEAudioVideo))
    process.config = mine.config
    inputs = process(["a dog", "loud rain"], tiny.sounds(0.3, 0.41), tiny.videos(4, 3), 48000)
    with one_thread(), torch.no_grad():
        compare(mine(**inputs), theirs(**inputs))


def test_what_transformers_saves_of_pe_a_frame_is_loaded(tmp_path):
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "PeAudioFrameLevelModel"):
        pytest.skip("this transformers has no PE-A-Frame")
    import official_tiny as tiny

    from peav.official import PEAudioFrame, PEAudioFrameProcessor

    heads = {"num_key_value_heads": 2, "head_dim": 16}
    text = tiny.FRAME_CONFIG_HF["text_config"] | {"tie_last_hidden_states": False}
    torch.manual_seed(0)
    theirs = transformers.PeAudioFrameLevelModel(
        transformers.PeAudioConfig(
            text_config=text, audio_config=tiny.FRAME_CONFIG_HF["audio_config"] | heads
        )
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    mine = PEAudioFrame.from_pretrained(tmp_path)
    process = PEAudioFrameProcessor.from_pretrained(tiny.make(tmp_path / "words", PEAudioFrame))
    inputs = process(["a dog", "loud rain"], tiny.sounds(0.3, 0.41), 48000)
    with one_thread(), torch.no_grad():
        out, expected = mine(**inputs), theirs(**inputs)
    rows = torch.arange(2)
    torch.testing.assert_close(out.logits, expected.logits_audio_text[rows, rows], atol=1e-4, rtol=1e-3)
    assert out.logits.std() > 1e-4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"use_swiglu": True}, "use_swiglu = True in model_args"),
        ({"depth": "many"}, "depth = 'many'"),
        ({"embed_dim": 50}, "cannot be: 384 pixels"),
        ({"img_size": 8}, "cannot be: 8 pixels in patches of 16"),
    ],
)
def test_towers_that_cannot_be(changes, says):
    described = {"architecture": "vit_pe_core_tiny_patch16_384", "model_args": changes}
    with pytest.raises(CheckpointError, match=says):
        VisionConfig.of_timm(described)
