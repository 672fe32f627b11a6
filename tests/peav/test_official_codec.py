"""The DAC-VAE codec: the published numbers, the published names, and that cutting time changes nothing."""

from __future__ import annotations

import json

import numpy as np
import parity
import pytest
import torch
from torch import nn

from peav.checkpoints import CheckpointError
from peav.official.codec import (
    Codec,
    CodecConfig,
    CodecEncoder,
    fold_weight_norm,
    from_pe_names,
    message_bits,
    reflect_pad,
    unfolded_shapes,
)
from peav.official.codec_decoder import Decoder
from peav.official.codec_layers import Snake, in_pieces
from peav.official.parts import unset

REFERENCE = "sam-audio-tiny/codec"
TINY = CodecConfig(encoder_dim=4, encoder_rates=(2, 8, 10, 12), latent_dim=12, decoder_dim=96, codebook_dim=6)


@pytest.fixture
def codec() -> Codec:
    torch.manual_seed(0)
    return Codec(TINY).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def published() -> Codec:
    folder = parity.parity_dir() / "sam-audio-tiny"
    config = CodecConfig.of(json.loads((folder / "config.json").read_text())["audio_codec"])
    stored = torch.load(folder / "checkpoint.pt", weights_only=True)
    tensors = {n.removeprefix("audio_codec."): t for n, t in stored.items() if n.startswith("audio_codec.")}
    with unset():
        codec = Codec(config)
    assert unfolded_shapes(codec, set(tensors)) == {name: tuple(t.shape) for name, t in tensors.items()}
    codec.load_state_dict(fold_weight_norm(tensors), assign=True)
    return codec.eval().requires_grad_(False)


def stored(name: str) -> torch.Tensor:
    return torch.from_numpy(parity.reference(REFERENCE)[name])


class TestPublishedNumbers:
    def test_encoder(self, published):
        parity.check(REFERENCE, "padded", reflect_pad(stored("wav"), 1920))
        parity.check(REFERENCE, "encoder_z", published.encoder(stored("padded")))
        parity.check(REFERENCE, "latents_mean", published(stored("wav")))

    def test_decoder(self, published):
        hidden = published.quantizer["out_proj"](stored("latents_mean"))
        parity.check(REFERENCE, "decoder_emb", hidden)
        for layer in published.decoder.model:
            hidden = layer(hidden)
        parity.check(REFERENCE, "decoder_hidden", hidden[..., :512])
        clean = published.decode(stored("latents_mean"), watermark=False)
        parity.check(REFERENCE, "decoded_no_watermark", clean)

    def test_watermark(self, published):
        latents, message = stored("latents_mean"), stored("message")
        parity.check(REFERENCE, "decoded", published.decode(latents, message=message))
        parity.check(REFERENCE, "decoded", published.decode(latents, message=message, rows_at_once=2))
        zeros = published.decode(latents, message=torch.zeros(2, 16))
        parity.check(REFERENCE, "decoded_message_zeros", zeros)

    @pytest.mark.parametrize("form", ["perception_models", "transformers"])
    def test_official_sizes_of_pe(self, form):
        shapes = json.loads((parity.parity_dir() / f"keys/pe-av-large_{form}.json").read_text())["shapes"]
        if form == "transformers":
            prefix, parts = "audio_model.audio_encoder.embedder.", ("dac_encoder.", "bottleneck.")
        else:
            prefix, parts = "audio_visual_model.audio_model.dac_vae_encoder.", ("encoder.", "bottleneck.in_")
        with torch.device("meta"):
            tensors = {
                name.removeprefix(prefix): torch.empty(shape)
                for name, shape in shapes.items()
                if name.startswith(tuple(prefix + part for part in parts))
            }
        with unset():
            encoder = CodecEncoder(CodecConfig(), mean_only=form == "transformers")
        encoder.load_state_dict(from_pe_names(tensors), assign=True)

    def test_official_sizes_of_sam_audio(self):
        for path in (parity.parity_dir() / "keys").glob("sam-audio-[bsl]*.json"):
            shapes = json.loads(path.read_text())["shapes"]
            names = {
                n.removeprefix("audio_codec."): tuple(s)
                for n, s in shapes.items()
                if n.startswith("audio_codec.")
            }
            with unset():
                codec = Codec(CodecConfig())
            assert unfolded_shapes(codec, set(names)) == names


class TestNames:
    @pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
    def test_both_weight_norms_fold_to_what_torch_computes(self):
        torch.manual_seed(0)
        old = nn.utils.weight_norm(nn.ConvTranspose1d(3, 5, 4))
        new = nn.utils.parametrizations.weight_norm(nn.Conv1d(3, 5, 4))
        with torch.no_grad():
            old.weight_g *= 2
            new.parametrizations.weight.original0 *= 3
        x = torch.randn(1, 3, 20)
        for layer, plain in ((old, nn.ConvTranspose1d(3, 5, 4)), (new, nn.Conv1d(3, 5, 4))):
            plain.load_state_dict(fold_weight_norm(layer.state_dict()))
            torch.testing.assert_close(plain(x), layer(x))

    def test_what_has_no_weight_norm_passes(self):
        tensors = {"a.alpha": torch.ones(2), "a.weight": torch.ones(3)}
        assert fold_weight_norm(tensors) == tensors

    def test_half_a_weight_norm_is_named(self):
        with pytest.raises(CheckpointError, match="a.weight_v is missing"):
            fold_weight_norm({"a.weight_g": torch.ones(2, 1, 1)})
        with pytest.raises(CheckpointError, match=r"a.weight_g has shape \(3, 1, 1\)"):
            fold_weight_norm({"a.weight_g": torch.ones(3, 1, 1), "a.weight_v": torch.ones(2, 1, 1)})

    def test_unfolded_shapes_follow_the_file(self, codec):
        plain = {name: tuple(t.shape) for name, t in codec.state_dict().items()}
        assert unfolded_shapes(codec, set(plain)) == plain
        old = unfolded_shapes(codec, set())
        assert old["decoder.model.1.block.1.weight_g"] == (96, 1, 1)
        assert "decoder.model.1.block.3.weight_g" not in old  # the watermark has no weight norm
        new = unfolded_shapes(codec, {"quantizer.in_proj.parametrizations.weight.original0"})
        assert new["quantizer.in_proj.parametrizations.weight.original1"] == (12, 12, 1)


class TestConfig:
    def test_defaults_are_official(self):
        assert CodecConfig.of({}) == CodecConfig()
        assert CodecConfig().hop == 1920

    def test_fields_of_pe(self):
        given = {
            "encoder_hidden_size": 4,
            "downsampling_ratios": [2, 4],
            "codebook_size": 16,
            "codebook_dim": 6,
        }
        config = CodecConfig.of({**given, "sampling_rate": 16000, "n_codebooks": 16, "quantizer_dropout": 0})
        expected = CodecConfig(
            encoder_dim=4, encoder_rates=(2, 4), latent_dim=16, codebook_dim=6, sample_rate=16000
        )
        assert config == expected
        x = torch.zeros(1, 1, 80)
        assert CodecEncoder(config)(x).shape == (1, 6, 10)

    @pytest.mark.parametrize("field", [{"encoder_rates": 2}, {"latent_dim": 0}, {"decoder_rates": [2, 1.5]}])
    def test_impossible_sizes_are_named(self, field):
        with pytest.raises(CheckpointError, match=next(iter(field))):
            CodecConfig.of(field)

    def test_a_decoder_has_four_stages(self):
        with pytest.raises(CheckpointError, match="decoder_rates"):
            Decoder(8, 96, (2, 2))


class TestEncoder:
    @pytest.mark.parametrize("n", [961, 1920, 1921, 4000])
    def test_frames(self, codec, n):
        assert codec(torch.randn(2, 1, n)).shape == (2, 6, -(-n // 1920))

    @pytest.mark.parametrize("n", [0, 1, 960])
    def test_too_short(self, codec, n):
        with pytest.raises(ValueError, match="too short"):
            codec(torch.randn(1, 1, n))

    def test_the_tail_is_mirrored(self, codec):
        x = torch.randn(1, 1, 3000)
        mirrored = torch.cat([x, x.flip(-1)[..., 1:841]], dim=-1)
        assert torch.equal(codec(x), codec(mirrored))

    def test_mean_and_spread(self, codec):
        x = torch.randn(1, 1, 3840)
        mean, std = codec.distribution(x)
        torch.testing.assert_close(mean, codec(x))
        assert (std >= 1e-4).all()

    def test_a_rate_that_is_odd(self):
        config = CodecConfig(encoder_dim=2, encoder_rates=(3, 5), latent_dim=4, codebook_dim=2)
        CodecEncoder(config)(torch.randn(1, 1, 150))


class TestWatermark:
    def test_is_there_unless_told_otherwise(self, codec):
        latents, message = torch.randn(2, 6, 3), torch.ones(2, 16)
        clean = codec.decode(latents, watermark=False)
        marked = codec.decode(latents, message=message)
        assert clean.abs().max() <= 1
        added = codec.decoder.wm_model.strength * codec.decoder.watermark(clean, message.long())
        torch.testing.assert_close(marked, clean + added)
        assert not torch.equal(marked, clean)

    def test_bits_come_from_the_global_generator(self, codec):
        latents = torch.randn(2, 6, 3)
        torch.manual_seed(11)
        drawn = codec.decode(latents)
        torch.manual_seed(11)
        bits = torch.randint(0, 2, (2, 16), dtype=torch.float32)
        assert torch.equal(drawn, codec.decode(latents, message=bits))

    @pytest.mark.parametrize("message", [torch.zeros(1, 16), torch.zeros(2, 8), torch.full((2, 16), 0.5)])
    def test_a_wrong_message(self, codec, message):
        with pytest.raises(ValueError, match="16 bits"):
            codec.decode(torch.randn(2, 6, 3), message=message)

    def test_every_bit_counts(self):
        assert message_bits(1, torch.ones(1, 16)).dtype == torch.int64
        table = Decoder(4, 96, (2, 2, 2, 2)).wm_model.msg_processor
        nn.init.normal_(table.msg_processor["weight"])
        rows = table(torch.eye(16, dtype=torch.int64))
        assert len(torch.unique(rows, dim=0)) == 16

    def test_steps_that_do_not_meet_the_frames(self):
        codec = Codec(CodecConfig(4, (2, 2, 2, 2), 8, 96, (2, 2, 2, 2), 4))
        sound = codec.decode(torch.randn(1, 4, 7))
        assert sound.shape == (1, 1, 7 * 16)


class TestPieces:
    def test_cutting_time_changes_nothing(self, codec, monkeypatch):
        sound, latents, message = torch.randn(1, 1, 30 * 1920 + 100), torch.randn(1, 6, 40), torch.ones(1, 16)
        whole = codec(sound), codec.decode(latents, message=message)

        def small_pieces(*args):
            return in_pieces(*args[:5], n_frames=8)

        monkeypatch.setattr("peav.official.codec.in_pieces", small_pieces)
        monkeypatch.setattr("peav.official.codec_decoder.in_pieces", small_pieces)
        cut = codec(sound), codec.decode(latents, message=message)
        for a, b in zip(whole, cut, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)

    def test_context_is_enough_and_not_much_too_wide(self, codec):
        sound = torch.randn(1, 1, 1920 * 40)
        other = sound.clone()
        other[..., : (20 - codec.context) * 1920] = 0
        other[..., (21 + codec.context) * 1920 :] = 0
        a, b = codec(sound)[..., 20], codec(other)[..., 20]
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
        other[..., : (22 - codec.context) * 1920] = 0
        assert (codec(other)[..., 20] - a).abs().max() > 1e-6

    def test_snake_is_the_same_with_and_without_gradients(self):
        snake, x = Snake(3), torch.randn(2, 3, 5)
        nn.init.uniform_(snake.alpha, 0.5, 2)
        with torch.no_grad():
            plain = snake(x)
        torch.testing.assert_close(snake(x), plain)
        expected = x + torch.sin(snake.alpha * x) ** 2 / snake.alpha
        torch.testing.assert_close(plain, expected.detach())
        assert np.isfinite(plain.numpy()).all()
