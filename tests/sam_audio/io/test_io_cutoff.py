"""Files that end before their header says."""

import struct

import numpy as np
import pytest
import soundfile

from sam_audio.io import open_audio
from sam_audio.io.cutoff import part_there

RATE = 8_000


def write(path, keep=1.0, **how):
    """A second of noise, of which a part is kept."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2))
    soundfile.write(path, samples, RATE, **how)
    data = path.read_bytes()
    path.write_bytes(data[: round(keep * len(data))])
    return path


FORMATS = [
    {"format": "WAV"},
    {"format": "WAVEX", "subtype": "PCM_24"},
    {"format": "WAV", "subtype": "FLOAT"},
    {"format": "WAV", "endian": "BIG"},
    {"format": "WAV", "subtype": "IMA_ADPCM"},
    {"format": "RF64"},
    {"format": "AIFF"},
    {"format": "AIFF", "subtype": "FLOAT"},
]


@pytest.mark.parametrize("how", FORMATS, ids=lambda how: " ".join(how.values()))
def test_what_is_missing(tmp_path, how):
    whole = write(tmp_path / "whole", **how)
    assert part_there(whole) == 1
    with open_audio(whole) as reader:
        assert reader.warnings == []
    cut = write(tmp_path / "cut.wav", keep=0.4, **how)
    assert part_there(cut) == pytest.approx(0.4, abs=0.01)
    with open_audio(cut) as reader:
        (warning,) = reader.warnings
        assert sum(block.shape[1] for block in reader.blocks(1000)) == reader.frames
    assert warning.startswith("cut.wav is cut off: of the 1.")
    promised_s, there_s = (
        float(part.split(" s ")[0]) for part in (warning.split("the ")[1], warning.split("only ")[1])
    )
    # libsndfile rounds what is left of ADPCM up to a block
    assert promised_s == pytest.approx(1, abs=0.15) and there_s == pytest.approx(0.4, abs=0.07)


@pytest.mark.parametrize(
    ("start_s", "duration_s", "warned"),
    [(0, 0.3, False), (0.1, 0.2, False), (0.1, 0.8, True), (0.1, None, True)],
)
def test_a_part_that_is_whole_is_no_reason_to_warn(tmp_path, start_s, duration_s, warned):
    cut = write(tmp_path / "cut.wav", keep=0.4, format="WAV")
    with open_audio(cut, start_s=start_s, duration_s=duration_s) as reader:
        assert bool(reader.warnings) == warned


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_streams_do_not_know_their_length(tmp_path, size):
    path = write(tmp_path / "stream.wav", format="WAV")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(data)
    assert part_there(path) == 1


def test_a_header_that_is_a_little_wrong(tmp_path):
    path = write(tmp_path / "odd.wav", format="WAV")
    path.write_bytes(path.read_bytes()[:-36])
    assert part_there(path) < 1
    with open_audio(path) as reader:
        assert reader.warnings == []


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVE" + b"\0" * 9_000, b"OggS" * 9]
)
def test_what_has_no_such_header(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert part_there(path) == 1
    assert part_there(tmp_path / "gone") == 1
