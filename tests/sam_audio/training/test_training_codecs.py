from __future__ import annotations

import pytest
import tiny_official
import torch

from sam_audio.errors import ModelError
from sam_audio.training.codecs import load_codec

DESCRIPT = {
    **{
        "encoder_dim": 8,
        "encoder_rates": [2, 4],
        "latent_dim": 16,
        "decoder_dim": 32,
        "decoder_rates": [4, 2],
    },
    **{"n_codebooks": 2, "codebook_size": 16, "codebook_dim": 4, "sample_rate": 8000},
}


def test_frames_can_be_turned_back():
    codec, waves = load_codec("frames"), torch.randn(3, 1, 320)
    latents = codec.encode(waves)
    assert latents.shape == (3, 20, codec.width)
    torch.testing.assert_close(codec.decode(latents), waves)
    torch.testing.assert_close(latents.square().sum(), waves.square().sum())


def test_descripts_codec_by_its_own_api(tmp_path):
    import dac

    torch.manual_seed(0)
    model = dac.DAC(**DESCRIPT).eval()
    torch.save({"state_dict": model.state_dict(), "metadata": {"kwargs": DESCRIPT}}, tmp_path / "weights.pth")
    codec, waves = load_codec(str(tmp_path / "weights.pth")), torch.randn(2, 1, 80)
    assert (codec.sample_rate, codec.hop, codec.width) == (8000, 8, 8)
    latents = codec.encode(waves)
    assert latents.shape == (2, 10, 8)
    expected = model.decode(model.encode(waves)[0])
    sound = codec.decode(latents)
    assert sound.shape == waves.shape
    n = min(sound.shape[-1], expected.shape[-1])
    torch.testing.assert_close(sound[..., :n], expected[..., :n], rtol=1e-3, atol=1e-5)
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(ModelError, match="no codec"):
        load_codec(str(tmp_path / "junk.pth"))


def test_the_codec_of_a_sam_audio(tmp_path):
    codec = load_codec(str(tiny_official.write(tmp_path)))
    waves = 0.1 * torch.randn(2, 1, 64)
    latents = codec.encode(waves)
    assert (codec.hop, codec.width, tuple(latents.shape)) == (16, 8, (2, 4, 8))
    assert codec.decode(latents).shape == waves.shape
