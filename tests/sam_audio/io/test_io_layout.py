"""Layouts: names and masks, and tones that come out of their own channels, in our readers and in ffmpeg."""

import subprocess

import numpy as np
import pytest

from sam_audio.io import AudioWriter, ffmpeg, open_audio
from sam_audio.io.layout import from_xiph_order, layout_of_mask, mask_of_layout, to_xiph_order

RATE = 48000
LAYOUTS = {"3.0": 3, "quad": 4, "5.0": 5, "5.1": 6, "6.1": 7, "7.1": 8}


@pytest.mark.parametrize(
    ("mask", "channels", "name"),
    [(0x3F, 6, "5.1"), (0x60F, 6, "5.1(side)"), (0x33, 4, "quad"), (0x63F, 8, "7.1"), (0x1009, 3, None)],
)
def test_names_of_masks(mask, channels, name):
    name = name or "FL+LFE+TFL"
    assert layout_of_mask(mask, channels) == name
    assert mask_of_layout(name) == mask
    assert layout_of_mask(mask, channels + 1) is None


@pytest.mark.parametrize("nowhere", [None, "ambisonic 1", "no such"])
def test_no_mask(nowhere):
    assert mask_of_layout(nowhere) == 0


@pytest.mark.parametrize("channels", [3, 5, 6, 7, 8])
def test_orders_undo_each_other(channels):
    order, back = from_xiph_order(channels), to_xiph_order(channels)
    assert [order[c] for c in back] == list(range(channels))


def tones(channels):
    t = np.arange(RATE) / RATE
    hertz = [
        50 if c == 3 and channels > 5 else 200 + 150 * c for c in range(channels)
    ]  # the fourth is the LFE
    return np.stack([0.3 * np.sin(2 * np.pi * t * f) for f in hertz]).astype("f"), hertz


def heard(samples):
    return (np.abs(np.fft.rfft(samples)).argmax(axis=1) * RATE / samples.shape[1]).round()


@pytest.mark.parametrize("layout", [*LAYOUTS, "ambisonic 1"])
@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "opus"])
def test_stems_have_each_tone_in_its_channel(tmp_path, layout, format):
    channels = LAYOUTS.get(layout, 4)
    samples, hertz = tones(channels)
    path = tmp_path / f"stem.{format}"
    with AudioWriter(path, sample_rate=RATE, channels=channels, layout=layout, format=format) as writer:
        writer.write(samples)
    with open_audio(path) as reader:
        np.testing.assert_allclose(heard(np.hstack(list(reader.blocks(RATE)))), hertz, atol=2)
        assert reader.layout == (layout if format == "wav" or layout in LAYOUTS else "quad")
    executable = ffmpeg.find_ffmpeg()
    if executable is not None:
        data = subprocess.run(
            [executable, "-v", "error", "-i", path, "-f", "f32le", "-"], capture_output=True, check=True
        ).stdout
        np.testing.assert_allclose(heard(np.frombuffer(data, "<f4").reshape(-1, channels).T), hertz, atol=2)
