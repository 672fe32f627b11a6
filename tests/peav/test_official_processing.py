"""Processors: what they pad, refuse and leave alone."""

from __future__ import annotations

import doctest
import warnings

import numpy as np
import official_tiny as tiny
import pytest
import torch

from peav.official import (
    PEAudioFrame,
    PEAudioFrameProcessor,
    PEAudioVideo,
    PEAudioVideoProcessor,
    audio,
    codec,
    frame,
    fusion,
    naming,
    processing,
    video,
)
from peav.official.video import sample_frames
from peav.official.vision import to_pixels


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    return PEAudioVideoProcessor.from_pretrained(tiny.make(tmp_path_factory.mktemp("p"), PEAudioVideo))


@pytest.mark.parametrize("module", [audio, codec, frame, fusion, naming, processing, video])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


def test_texts_are_padded_and_cut(process):
    inputs = process(["dog", "a loud car", "dog " * 600])
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape == (3, 512)
    assert inputs["attention_mask"].sum(1).tolist() == [3, 5, 512]
    assert inputs["input_ids"][0].tolist()[:5] == [0, 4, 1, 2, 2]
    assert inputs["input_ids"][2, -1] == 1  # the end survives the cut
    assert set(inputs) == {"input_ids", "attention_mask"}


def test_a_text_does_not_depend_on_its_neighbours(process):
    one = process(["a dog"])["input_ids"]
    assert torch.equal(process(["a dog", "a loud car barking"])["input_ids"][:1, : one.shape[1]], one)


def test_each_sound_is_reflected_alone(process):
    short, long = torch.arange(2000.0), torch.arange(5000.0)
    inputs = process(audio=[short, long[None]], sampling_rate=48000)
    values = inputs["input_values"]
    assert values.shape == (2, 1, 5760)
    assert inputs["padding_mask"].sum(1).tolist() == [3840, 5760]
    assert torch.equal(values[0, 0, :2000], short)
    assert torch.equal(values[0, 0, 2000:3840], short.flip(0)[1:1841])
    assert not values[0, 0, 3840:].any()
    assert torch.equal(values[1, 0, 5000:], long.flip(0)[1:761])


def test_arrays_and_tensors_are_alike(process):
    sound, clip = tiny.sounds(0.2)[0], tiny.videos(3)[0]
    mine = process(audio=[sound], videos=[clip], sampling_rate=48000)
    other = process(audio=[sound.numpy()], videos=[clip.numpy()], sampling_rate=48000)
    assert all(torch.equal(mine[name], other[name]) for name in mine)


def test_the_callers_arrays_are_left_alone(process):
    sound, clip = np.ones((1, 3000), np.float32), np.full((2, 3, 8, 8), 7, np.uint8)
    process(audio=[sound], videos=[clip], sampling_rate=48000)
    assert (sound == 1).all()
    assert (clip == 7).all()


def test_channels_are_averaged_with_a_warning(process):
    stereo = torch.stack([torch.ones(1920), torch.zeros(1920)])
    with pytest.warns(UserWarning, match="2 channels are averaged"):
        assert (process(audio=[stereo], sampling_rate=48000)["input_values"] == 0.5).all()


def test_the_rate_has_to_be_right(process):
    with pytest.raises(ValueError, match="must be at 48000 Hz, not 16000: resample"):
        process(audio=tiny.sounds(0.1), sampling_rate=16000)
    with pytest.warns(UserWarning, match="no sampling_rate"):
        process(audio=tiny.sounds(0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process(audio=tiny.sounds(0.1), sampling_rate=48000)


@pytest.mark.parametrize(
    ("inputs", "error", "match"),
    [
        ({"text": "dog"}, TypeError, "texts must be a list"),
        ({"text": []}, ValueError, "no texts"),
        ({"audio": torch.zeros(1, 1920)}, TypeError, "waveforms must be a list"),
        ({"audio": np.zeros((1, 1920))}, TypeError, "waveforms must be a list"),
        ({"audio": []}, ValueError, "nothing to encode"),
        ({"audio": [torch.zeros(1, 1, 1920)]}, ValueError, r"shape \(n,\) or \(channels, n\)"),
        ({"audio": [torch.zeros(1920, dtype=torch.int16)]}, ValueError, "floating point samples"),
        ({"audio": [torch.zeros(960)]}, ValueError, "960 samples are too short"),
        ({"audio": [torch.zeros(0)]}, ValueError, "0 samples are too short"),
        ({"videos": torch.zeros(2, 3, 8, 8)}, TypeError, "videos must be a list"),
        ({"videos": [torch.zeros(2, 3, 8, 8)]}, ValueError, "frames must be uint8"),
        ({"videos": [torch.zeros(2, 8, 8, 3, dtype=torch.uint8)]}, ValueError, r"\(N, 3, height, width\)"),
        ({"videos": [torch.zeros(0, 3, 8, 8, dtype=torch.uint8)]}, ValueError, "frames must be uint8"),
    ],
)
def test_what_cannot_be_processed(process, inputs, error, match):
    with pytest.raises(error, match=match):
        process(**inputs, sampling_rate=48000)


def test_videos_are_padded_in_time(process):
    inputs = process(videos=tiny.videos(2, 5))
    assert inputs["pixel_values_videos"].shape == (2, 5, 3, 48, 48)
    assert inputs["padding_mask_videos"].sum(1).tolist() == [2, 5]
    assert not inputs["pixel_values_videos"][0, 2:].any()


def test_pixels_run_from_minus_one_to_one_in_whole_steps():
    frames = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 6, 9)
    assert to_pixels(frames, 4)[:, 0, 0, 0].tolist() == pytest.approx([-1, 1, -0.6])
    levels = (to_pixels(tiny.videos(2)[0], 24, "BICUBIC") + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert levels.min() >= 0
    assert levels.max() <= 255.001


def test_frames_of_the_right_size_are_not_resampled():
    frames = tiny.videos(2, height=24, width=24)[0]
    torch.testing.assert_close(to_pixels(frames, 24), frames / 127.5 - 1)


def test_chunks_change_no_pixel():
    frames = tiny.videos(70)[0]
    assert torch.equal(to_pixels(frames, 16), torch.cat([to_pixels(f[None], 16) for f in frames]))


@pytest.mark.parametrize("n", [16, 17, 31, 100, 10_001])
def test_16_frames_of_many(n):
    picked = sample_frames(torch.arange(n))
    assert picked.tolist() == [(i * (n - 1)) // 15 for i in range(16)]
    assert picked[0] == 0
    assert picked[-1] == n - 1
    assert len(set(picked.tolist())) == 16


def test_too_few_frames_for_16():
    with pytest.raises(ValueError, match="16 frames, and the video has only 15"):
        sample_frames(torch.arange(15))


def test_features_computed_before_are_padded_and_picked(process):
    inputs = process(
        audio=tiny.sounds(0.2, 0.04),
        sampling_rate=48000,
        input_features=[torch.ones(5, 6), torch.ones(1, 6)],
        pe_features=[torch.ones(3, 40), torch.ones(2, 40)],
    )
    assert inputs["input_features"].shape == (2, 5, 6)
    assert inputs["padding_mask"].sum(1).tolist() == [5, 1]  # of frames now
    assert inputs["padding_mask_videos"].sum(1).tolist() == [3, 2]


def test_a_frame_processor_takes_no_videos(tmp_path):
    process = PEAudioFrameProcessor.from_pretrained(tiny.make(tmp_path, PEAudioFrame))
    assert set(process(["dog"], tiny.sounds(0.1), 48000)) == {
        "input_ids",
        "attention_mask",
        "input_values",
        "padding_mask",
    }
