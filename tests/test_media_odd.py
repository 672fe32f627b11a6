"""Odd files of all kinds, each made here, read to the same length and sound as ffmpeg reads it."""

import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from sam_audio.errors import UserError
from sam_audio.io import ffmpeg, open_audio

FFMPEG = ffmpeg.find_ffmpeg()
pytestmark = [
    pytest.mark.media,
    pytest.mark.skipif(FFMPEG is None, reason="no ffmpeg to make the files with"),
]


def run(*arguments):
    """Runs ffmpeg; skips where this one lacks an encoder or a container."""
    done = subprocess.run([FFMPEG, "-v", "error", "-y", *map(str, arguments)], capture_output=True)
    said = done.stderr.decode(errors="replace")
    if "Unknown encoder" in said or "not a suitable output format" in said or "not known" in said:
        pytest.skip(f"this ffmpeg cannot make it: {said.splitlines()[0]}")
    assert done.returncode == 0, said
    return done.stdout


def make(path, *options, seconds=2, rate=44100, channels=2, layout=None):
    """A file of a tone per channel over noise, through ffmpeg's encoder for `options`."""
    tones = "|".join(
        f"0.3*sin({2 * np.pi * (300 + 170 * c):.4f}*t)+0.02*random({c})" for c in range(channels)
    )
    source = f"aevalsrc={tones}:d={seconds}:s={rate}" + (f":c={layout}" if layout else "")
    run("-f", "lavfi", "-i", source, *options, path)
    return path


def heard_by_ffmpeg(path, channels):
    data = run("-i", path, "-map", "0:a:0", "-f", "f32le", "-")
    return np.frombuffer(data, "<f4").reshape(-1, channels).T


def read(path, **kwargs):
    with open_audio(path, **kwargs) as reader:
        samples = np.hstack(list(reader.blocks(10_007)))
        return samples, reader.warnings, reader


def check(path, capfd, slack=0):
    """What we read has ffmpeg's length within `slack` frames and its sound; returns the warnings."""
    samples, warnings, reader = read(path)
    expected = heard_by_ffmpeg(path, reader.channels)
    assert abs(samples.shape[1] - expected.shape[1]) <= slack
    n = min(samples.shape[1], expected.shape[1]) - 64
    # decoders may round, dither or start a few frames apart: what counts is the sound
    lags = range(-slack, slack + 1, 64) if slack else (0,)
    a = samples[:, slack : n - slack]
    errors = [np.sqrt(np.mean((a - expected[:, slack + lag : n - slack + lag]) ** 2)) for lag in lags]
    assert min(errors) < 0.02 * np.sqrt(np.mean(a**2)) + 1e-5
    middle = samples.shape[1] // 2
    part, _, _ = read(path, start_s=middle / reader.sample_rate, duration_s=0.1)
    np.testing.assert_allclose(part, samples[:, middle : middle + part.shape[1]], atol=2e-3)
    assert capfd.readouterr().err == ""  # no message of a C library
    return warnings


KINDS = {  # name -> options of ffmpeg, with rate and channels where they matter
    "u8.wav": ["-c:a", "pcm_u8"],
    "s24.wav": ["-c:a", "pcm_s24le"],
    "s32.wav": ["-c:a", "pcm_s32le"],
    "f32.wav": ["-c:a", "pcm_f32le"],
    "f64.wav": ["-c:a", "pcm_f64le"],
    "alaw.wav": ["-c:a", "pcm_alaw"],
    "mulaw.wav": ["-c:a", "pcm_mulaw"],
    "ms.wav": ["-c:a", "adpcm_ms"],
    "ima.wav": ["-c:a", "adpcm_ima_wav"],
    "yamaha.wav": ["-c:a", "adpcm_yamaha"],
    "mp3.wav": ["-c:a", "libmp3lame"],
    "ac3.wav": ["-c:a", "ac3"],
    "rf64.wav": ["-rf64", "always"],
    "mix.w64": [],
    "s16.aiff": [],
    "s24.aiff": ["-c:a", "pcm_s24be"],
    "sowt.aifc": ["-c:a", "pcm_s16le", "-f", "aiff"],
    "ulaw.aifc": ["-c:a", "pcm_mulaw", "-f", "aiff"],
    "s16.caf": ["-c:a", "pcm_s16le"],
    "alac.caf": ["-c:a", "alac"],
    "s16.au": [],
    "mulaw.au": ["-c:a", "pcm_mulaw"],
    "mix.flac": [],
    "s24.flac": ["-sample_fmt", "s32"],
    "flac.ogg": ["-c:a", "flac"],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "mix.opus": ["-c:a", "libopus"],
    "short.opus": ["-c:a", "libopus", "-frame_duration", "2.5"],
    "long.opus": ["-c:a", "libopus", "-frame_duration", "60"],
    "speex.ogg": ["-c:a", "libspeex", "-ar", "16000"],
    "cbr.mp3": ["-b:a", "128k"],
    "abr.mp3": ["-abr", "1", "-b:a", "128k"],
    "vbr.mp3": ["-q:a", "4"],
    "no_xing.mp3": ["-q:a", "5", "-write_xing", "0"],
    "no_xing_cbr.mp3": ["-b:a", "96k", "-write_xing", "0", "-id3v2_version", "0"],
    "id3v1.mp3": ["-write_id3v1", "1", "-metadata", "title=A"],
    "id3v24.mp3": ["-id3v2_version", "4", "-metadata", "title=B"],
    "mpeg2.mp3": ["-ar", "22050"],
    "mpeg25.mp3": ["-ar", "8000"],
    "mono.mp3": ["-ac", "1"],
    "mix.mp2": ["-c:a", "mp2"],
    "adts.aac": ["-c:a", "aac"],
    "aac.m4a": ["-c:a", "aac"],
    "alac.m4a": ["-c:a", "alac"],
    "latm.latm": ["-c:a", "aac", "-f", "latm"],
    "mix.ac3": [],
    "mix.eac3": [],
    "mix.dts": ["-c:a", "dca", "-strict", "-2", "-ar", "48000"],
    "mix.wma": ["-c:a", "wmav2"],
    "v1.wma": ["-c:a", "wmav1"],
    "mix.amr": ["-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1"],
    "mix.wv": ["-c:a", "wavpack"],
    "mix.tta": [],
    "opus.webm": ["-c:a", "libopus"],
    "vorbis.webm": ["-c:a", "libvorbis"],
    "flac.mka": ["-c:a", "flac"],
    "aac.mka": ["-c:a", "aac"],
    "s16.mkv": ["-c:a", "pcm_s16le"],
    "aac.ts": ["-c:a", "aac", "-f", "mpegts"],
    "mp3.avi": ["-c:a", "libmp3lame"],
    "aac.flv": ["-c:a", "aac"],
    "mix.g722": ["-ar", "16000", "-ac", "1"],
    "g726.wav": ["-c:a", "g726", "-ar", "8000", "-ac", "1"],
    "mix.voc": ["-c:a", "pcm_u8"],
}
# Vorbis: ffmpeg leaves out the first half block or so, libsndfile does not.
SLACK = {"vorbis.ogg": 1024}


@pytest.mark.parametrize("name", KINDS)
def test_kind(tmp_path, capfd, name):
    assert check(make(tmp_path / name, *KINDS[name]), capfd, SLACK.get(name, 0)) == []


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 48000, 88200, 96000, 192000])
@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_rate(tmp_path, capfd, rate, extension):
    assert check(make(tmp_path / f"mix.{extension}", rate=rate, seconds=1), capfd) == []


# Channels


@pytest.mark.parametrize("layout", ["3.0", "quad", "5.0", "5.1", "6.1", "7.1"])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "m4a"])
def test_channels_come_in_the_order_of_wav(tmp_path, layout, extension):
    channels = {"3.0": 3, "quad": 4, "5.0": 5, "5.1": 6, "6.1": 7, "7.1": 8}[layout]
    if extension == "m4a" and layout in ("quad", "6.1"):
        pytest.skip("ffmpeg's AAC has another layout for this count")
    codec = {"ogg": ["-c:a", "libvorbis"], "m4a": ["-c:a", "aac", "-b:a", "512k"]}.get(extension, [])
    path = make(tmp_path / f"mix.{extension}", *codec, channels=channels, layout=layout, rate=48000)
    samples, _, reader = read(path)
    spectra = np.abs(np.fft.rfft(samples[:, :48000]))
    heard = spectra.argmax(axis=1)
    expected = [300 + 170 * c for c in range(channels)]
    low = (
        3 if layout in ("5.1", "6.1", "7.1") and extension in ("ogg", "m4a") else None
    )  # the LFE has no highs
    for c, (at, wanted) in enumerate(zip(heard, expected, strict=True)):
        assert c == low or abs(at - wanted) <= 1
    assert reader.layout in (layout, layout + "(side)")


# mp3


@pytest.fixture
def mp3(tmp_path):
    return make(tmp_path / "whole.mp3", "-b:a", "128k", seconds=4)


def test_two_joined(tmp_path, capfd, mp3):
    path = tmp_path / "joined.mp3"
    path.write_bytes(2 * mp3.read_bytes())
    samples, warnings, _ = read(path)
    assert 8 * 44100 <= samples.shape[1] < 8.1 * 44100 and warnings == []
    check(path, capfd)


def test_cut_off(tmp_path, capfd, mp3):
    path = tmp_path / "cut.mp3"
    path.write_bytes(mp3.read_bytes()[:20000])
    (warning,) = check(path, capfd)
    assert warning.startswith("cut.mp3 is cut off: of the 4.00 s that its header promises only 1.")


def test_cut_off_without_a_promise(tmp_path, capfd):
    path = make(tmp_path / "cut.mp3", "-b:a", "128k", "-write_xing", "0", seconds=4)
    path.write_bytes(path.read_bytes()[:20000])
    (warning,) = check(path, capfd)
    assert warning.startswith("cut.mp3 is cut off after 1.")
    assert read(path, duration_s=0.5)[1] == []  # what is read lies before


@pytest.mark.parametrize("junk_bytes", [3, 700, 5000, 40000])
def test_junk_inside(tmp_path, capfd, mp3, junk_bytes):
    data = mp3.read_bytes()
    path = tmp_path / "junk.mp3"
    path.write_bytes(data[:20000] + np.random.default_rng(1).bytes(junk_bytes) + data[20000:])
    samples, warnings, _ = read(path)
    assert abs(samples.shape[1] - 4 * 44100) < 5000
    (warning,) = warnings
    assert "junk.mp3 is damaged at 1." in warning
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "tag", ["ID3v2 in the middle", "ID3v1 in the middle", "zeros at the end", "junk at the start"]
)
def test_odd_places(tmp_path, capfd, mp3, tag):
    data = mp3.read_bytes()
    id3v2 = b"ID3\x03\0\0\0\0\x07\x76" + bytes(1014)
    path = tmp_path / "odd.mp3"
    path.write_bytes(
        {
            "ID3v2 in the middle": data + id3v2 + data,
            "ID3v1 in the middle": data + b"TAG" + bytes(125) + data,
            "zeros at the end": data + bytes(3000),
            "junk at the start": b"junk\0\1\2" * 50 + data,
        }[tag]
    )
    samples, _, _ = read(path)
    times = 2 if "middle" in tag else 1
    assert times * 4 * 44100 - 2500 <= samples.shape[1] <= times * 4 * 44100 + 5000
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("change", [("-ac", "1"), ("-ar", "22050"), ("-ar", "48000")])
def test_changes_on_the_way(tmp_path, capfd, change):
    plain = ["-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0"]
    first = make(tmp_path / "a.mp3", *plain)
    second = make(tmp_path / "b.mp3", *plain, *change)
    path = tmp_path / "both.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    samples, _, reader = read(path)
    assert 4 * 44100 <= samples.shape[1] < 4.2 * 44100 and reader.channels == 2
    check(path, capfd)


def test_becomes_stereo_on_the_way(tmp_path):
    plain = ["-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0"]
    parts = [make(tmp_path / f"{c}.mp3", *plain, channels=c) for c in (1, 2)]
    path = tmp_path / "both.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    samples, _, reader = read(path)
    assert reader.channels == 2
    first, second = np.array_split(samples, 2, axis=1)
    np.testing.assert_array_equal(first[0, :80_000], first[1, :80_000])
    assert np.corrcoef(second[:, 8_000:])[0, 1] < 0.5


def test_free_format(tmp_path):
    path = make(tmp_path / "free.mp3", "-b:a", "128k", "-write_xing", "0", "-id3v2_version", "0", rate=48000)
    data = bytearray(path.read_bytes())
    for frame in range(0, len(data), 384):  # 128 kbit/s at 48 kHz need no padding
        data[frame + 2] &= 0x0F
    expected, _, _ = read(path)
    path.write_bytes(data)
    samples, _, _ = read(path)
    assert abs(samples.shape[1] - expected.shape[1]) <= 1152


# Ogg


def pages(data):
    position = 0
    while position < len(data):
        n = data[position + 26]
        end = position + 27 + n + sum(data[position + 27 : position + 27 + n])
        yield bytearray(data[position:end])
        position = end


def crc(page):
    """With its checksum, by the polynomial of Ogg."""
    page[22:26] = bytes(4)
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    page[22:26] = struct.pack("<I", value)
    return bytes(page)


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_ogg_cut_off(tmp_path, capfd, codec):
    path = make(tmp_path / "cut.ogg", "-c:a", codec, "-page_duration", "200000", seconds=4, rate=48000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (warning,) = check(path, capfd)
    assert warning.startswith("cut.ogg is cut off after ")


def test_granules_that_disagree_with_packets(tmp_path, capfd):
    path = make(tmp_path / "jumps.opus", "-c:a", "libopus", "-page_duration", "200000", seconds=4, rate=48000)
    out, late = b"", 0
    for page in pages(path.read_bytes()):
        (granule,) = struct.unpack_from("<q", page, 6)
        if granule > 48000:
            late += 472
            struct.pack_into("<q", page, 6, granule - late)
        out += crc(page)
    path.write_bytes(out)
    samples, _, _ = read(path)
    assert samples.shape[1] > 3.9 * 48000
    check(path, capfd)


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_lost_page(tmp_path, capfd, codec):
    path = make(tmp_path / "lost.ogg", "-c:a", codec, "-page_duration", "200000", seconds=4, rate=48000)
    kept = list(pages(path.read_bytes()))
    del kept[len(kept) // 2]
    path.write_bytes(b"".join(kept))
    (warning,) = check(path, capfd)
    assert warning.startswith("lost.ogg is damaged at ")


@pytest.mark.parametrize("codec", ["libopus", "libvorbis"])
def test_chained(tmp_path, capfd, codec):
    one = make(tmp_path / "one.ogg", "-c:a", codec, rate=48000).read_bytes()
    two = make(tmp_path / "two.ogg", "-c:a", codec, rate=48000, seconds=1).read_bytes()
    path = tmp_path / "chain.ogg"
    path.write_bytes(one + two)
    samples, _, _ = read(path)
    assert abs(samples.shape[1] - 3 * 48000) < 2500


# flac


def test_flac_of_unknown_length(tmp_path, capfd):
    path = tmp_path / "streamed.flac"
    path.write_bytes(run("-f", "lavfi", "-i", "sine=d=2:r=44100", "-f", "flac", "-"))
    assert check(path, capfd) == []
    assert read(path)[0].shape[1] == 88200


def test_flac_of_32_bits(tmp_path):
    """Older ffmpegs cannot decode it: then another one is asked, if there is one."""
    newest = ffmpeg.find_ffmpegs()[-1]
    path = tmp_path / "deep.flac"
    options = ["-c:a", "flac", "-sample_fmt", "s32", "-bits_per_raw_sample", "32", "-strict", "-2"]
    source = ["-f", "lavfi", "-i", "aevalsrc=0.3*sin(2000*t):d=2:s=44100"]
    subprocess.run([newest, "-v", "error", *source, *options, path], check=False)
    if not path.exists() or path.read_bytes()[20] & 1 == 0:  # the highest bit of its depth - 1
        pytest.skip("this ffmpeg makes none")
    samples, warnings, _ = read(path)
    time_s = np.arange(88200) / 44100
    np.testing.assert_allclose(samples[0], 0.3 * np.sin(2000 * time_s), atol=1e-6)
    assert warnings == []


def test_id3_before_flac(tmp_path, capfd):
    path = make(tmp_path / "mix.flac")
    path.write_bytes(b"ID3\x04\0\0\0\0\0\x14" + bytes(20) + path.read_bytes())
    assert check(path, capfd) == []


def test_damage_inside_flac(tmp_path, capfd):
    path = make(tmp_path / "mix.flac", seconds=4)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    samples, warnings, _ = read(path)
    assert samples.shape[1] > 3.5 * 44100
    assert any("mix.flac is damaged after " in warning for warning in warnings)
    assert capfd.readouterr().err == ""


# wav and its relatives


@pytest.mark.parametrize("riff_bytes", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("data_bytes", [0, 0xFFFFFFFF])
def test_never_finished(tmp_path, capfd, riff_bytes, data_bytes):
    head = struct.pack("<4sI8sIHHIIHH", b"RIFF", riff_bytes, b"WAVEfmt ", 16, 1, 1, 22050, 44100, 2, 16)
    samples = (np.sin(np.arange(22050) / 9) * 9000).astype("<i2")
    path = tmp_path / "lost.wav"
    path.write_bytes(head + struct.pack("<4sI", b"data", data_bytes) + samples.tobytes())
    got, (warning,), _ = read(path)
    np.testing.assert_array_equal(got[0] * 32768, samples)
    assert warning.startswith("lost.wav was never finished: ")
    assert capfd.readouterr().err == ""


def test_a_stream_is_not_called_unfinished(tmp_path):
    path = tmp_path / "piped.wav"
    path.write_bytes(run("-f", "lavfi", "-i", "sine=d=1", "-f", "wav", "-"))
    with path.open("rb") as stream, open_audio(stream) as reader:
        assert sum(b.shape[1] for b in reader.blocks(9999)) == 44100 and reader.warnings == []


@pytest.mark.parametrize("size", [1, 33, 5001])
@pytest.mark.parametrize("behind", [True, False])
def test_odd_sized_chunks(tmp_path, capfd, size, behind):
    path = tmp_path / "odd.wav"
    samples = (np.sin(np.arange(20000) / 9) * 9000).astype("<i2").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 44100, 88200, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    odd = struct.pack("<4sI", b"junk", size) + bytes(size + size % 2)
    body = b"WAVE" + (fmt + data + odd if behind else odd + fmt + odd + data)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert check(path, capfd) == []


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "MS_ADPCM"])
def test_telephony(tmp_path, capfd, subtype):
    path = tmp_path / "call.wav"
    whole = np.sin(np.arange(16000) / 5) * 0.3
    soundfile.write(path, whole, 8000, subtype=subtype)
    samples, _, reader = read(path)
    assert reader.sample_rate == 8000 and 0 <= samples.shape[1] - 16000 < 320
    spectrum = np.abs(np.fft.rfft(samples[0, :16000]))
    assert abs(spectrum.argmax() - 16000 / (5 * 2 * np.pi)) <= 1
    part, _, _ = read(path, start_s=1)
    np.testing.assert_allclose(part, samples[:, 8000:], atol=1e-4)
    assert capfd.readouterr().err == ""


def test_gsm_by_sox(tmp_path, capfd):
    if shutil.which("sox") is None:
        pytest.skip("no sox")
    path = tmp_path / "gsm.wav"
    make_wav = make(tmp_path / "a.wav", rate=8000, channels=1, seconds=5)
    subprocess.run(["sox", make_wav, "-e", "gsm", path], check=True)
    assert read(path)[0].shape[1] == 40000


def test_start_beyond_damage_is_one_sentence(tmp_path, capfd):
    path = tmp_path / "noise.mp3"
    path.write_bytes(b"\xff\xff\x14\xc4" + np.random.default_rng(0).bytes(1700))
    with pytest.raises(UserError):
        read(path, start_s=5)
    assert capfd.readouterr().err == ""
