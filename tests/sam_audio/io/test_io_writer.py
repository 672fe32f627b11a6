import doctest
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import sam_audio.io
from sam_audio import errors
from sam_audio.errors import AudioWriteError, OutputExistsError, SamAudioError, UserError
from sam_audio.io import (
    AudioWriter,
    OutputSpec,
    WriterGroup,
    encoders,
    formats,
    open_audio,
    quantise,
    read_audio,
    resolve_output,
    target,
)
from sam_audio.io.resample import Resampler

RATE = 44100
LOSSLESS = [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "PCM_32"), ("wav", "FLOAT")]
LOSSLESS += [("flac", "PCM_16"), ("flac", "PCM_24")]
LOSSY = [("mp3", 44100), ("ogg", 44100), ("opus", 48000)]


def noise(channels=2, frames=10007, seed=0, level=0.3):
    return (np.random.default_rng(seed).standard_normal((channels, frames)) * level).astype(np.float32)


def write(path, samples, block=1999, **kwargs):
    kwargs.setdefault("sample_rate", RATE)
    with AudioWriter(path, channels=len(samples), **kwargs) as writer:
        for start in range(0, samples.shape[1], block):
            writer.write(samples[:, start : start + block])
    return writer


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Exact values


@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("level", [0.3, 1.0, 1e-5])
def test_what_is_read_back_is_quantise(tmp_path, format, subtype, channels, level):
    samples = noise(channels, level=level)
    write(tmp_path / "a", samples, format=format, subtype=subtype)
    back, rate = read_audio(tmp_path / "a")
    assert rate == RATE
    np.testing.assert_array_equal(back, quantise(samples, subtype))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32"])
def test_quantise_rounds_half_to_even_saturates_and_is_idempotent(subtype):
    scale = 2.0 ** (formats.INTEGER_BITS[subtype] - 1)
    steps = np.array([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 0.49, 0.51])
    rounded = quantise((steps / scale).astype(np.float32), subtype).astype(np.float64) * scale
    np.testing.assert_array_equal(rounded, [-2, -2, 0, 0, 0, 2, 2, 0, 1])
    beyond = quantise(np.array([1.0, 1.5, 1e30, -1.0, -1.5, -1e30], np.float32), subtype)
    top = np.float32((scale - 1) / scale)
    np.testing.assert_array_equal(beyond, np.array([top, top, top, -1, -1, -1], np.float32))
    samples = noise(level=1.0)
    once = quantise(samples, subtype)
    np.testing.assert_array_equal(quantise(once, subtype), once)
    assert once.dtype == np.float32 and once.shape == samples.shape


@pytest.mark.parametrize("subtype", ["FLOAT", "VORBIS", "OPUS", "MPEG_LAYER_III"])
def test_quantise_leaves_float_and_lossy_alone(subtype):
    samples = noise(level=2.0)
    np.testing.assert_array_equal(quantise(samples, subtype), samples)


def test_quantise_does_not_change_its_argument():
    samples = noise()
    kept = samples.copy()
    for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT"):
        quantise(samples, subtype)
    np.testing.assert_array_equal(samples, kept)


@pytest.mark.parametrize(("subtype", "dtype", "shift"), [("PCM_16", np.int16, 0), ("PCM_24", np.int32, 8)])
@pytest.mark.parametrize("format", ["wav", "flac"])
def test_a_copy_of_an_integer_file_is_identical(tmp_path, format, subtype, dtype, shift):
    limits = np.iinfo(np.int16) if shift == 0 else SimpleNamespace(min=-(1 << 23), max=(1 << 23) - 1)
    values = np.random.default_rng(0).integers(limits.min, limits.max, (9000, 2), endpoint=True)
    values[:2] = [[limits.min, limits.max], [0, -1]]
    stored = (values << shift).astype(dtype)
    soundfile.write(tmp_path / "mix.wav", stored, RATE, subtype=subtype)
    writer = write(tmp_path / "copy", read_audio(tmp_path / "mix.wav")[0], format=format, subtype=subtype)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "copy", dtype=dtype.__name__)[0], stored)
    assert writer.clipped_samples == 0


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_stems_and_residual_sum_to_an_integer_mixture_to_the_last_bit(tmp_path, subtype):
    mixture = quantise(noise(level=0.2), subtype)
    stems = [quantise(mixture * np.float32(share), subtype) for share in (0.31, 0.17)]
    residual = mixture - stems[0] - stems[1]
    for index, stem in enumerate([*stems, residual]):
        write(tmp_path / f"{index}.wav", stem, subtype=subtype)
    total = sum(read_audio(tmp_path / f"{index}.wav")[0] for index in range(3))
    np.testing.assert_array_equal(total, mixture)


def test_equal_samples_give_equal_bytes_whatever_the_blocks(tmp_path):
    for format, subtype in LOSSLESS:
        write(tmp_path / "a", noise(), block=10007, format=format, subtype=subtype)
        write(tmp_path / "b", noise(), block=777, format=format, subtype=subtype, overwrite=True)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        (tmp_path / "a").unlink()


# Formats


@pytest.mark.parametrize(("format", "rate"), LOSSY)
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_formats_keep_length_and_sound(tmp_path, format, rate, channels):
    time_s = np.arange(rate) / rate
    samples = np.stack([0.5 * np.sin(2 * np.pi * (440 + 110 * c) * time_s) for c in range(channels)])
    samples = samples.astype(np.float32)
    write(tmp_path / "a", samples, sample_rate=rate, format=format)
    back, back_rate = read_audio(tmp_path / "a")
    assert back.shape == samples.shape and back_rate == rate
    noise_db = 10 * np.log10(np.mean((back - samples) ** 2) / np.mean(samples**2))
    assert noise_db < -20


@pytest.mark.parametrize(
    ("format", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("ogg", None), ("opus", None)]
)
def test_24_channels(tmp_path, format, subtype):
    samples = noise(24, 5000)
    write(tmp_path / "a", samples, sample_rate=48000, format=format, subtype=subtype)
    back, _ = read_audio(tmp_path / "a")
    assert back.shape == samples.shape
    if format == "wav":
        np.testing.assert_array_equal(back, quantise(samples, subtype))


@pytest.mark.parametrize("frames", [0, 1, 3])
@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
def test_very_short(tmp_path, format, subtype, frames):
    if (format, frames) == ("flac", 0):
        pytest.skip("libsndfile writes no header before the first sample")
    write(tmp_path / "a", noise(1, frames), format=format, subtype=subtype)
    info = soundfile.info(str(tmp_path / "a"))
    assert (info.frames, info.subtype) == (frames, subtype)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_wav_beyond_4_gib_becomes_rf64(tmp_path, monkeypatch, subtype):
    samples = noise(3, 5001)
    write(tmp_path / "small.wav", samples, subtype=subtype)
    small = (tmp_path / "small.wav").read_bytes()
    assert small[:4] == b"RIFF" and int.from_bytes(small[4:8], "little") == len(small) - 8
    monkeypatch.setattr(encoders, "_MAX_RIFF_BYTES", 10_000)
    write(tmp_path / "large.wav", samples, subtype=subtype)
    large = (tmp_path / "large.wav").read_bytes()
    assert large[:8] == b"RF64\xff\xff\xff\xff" and large[12:16] == b"ds64"
    riff_bytes, data_bytes, frames = (int.from_bytes(large[k : k + 8], "little") for k in (20, 28, 36))
    assert (riff_bytes, frames) == (len(large) - 8, 5001)
    assert data_bytes == len(samples.T) * 3 * {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4}[subtype]
    with open_audio(tmp_path / "large.wav") as reader:
        assert (reader.format, reader.subtype, reader.frames) == ("RF64", subtype, 5001)
        np.testing.assert_array_equal(np.hstack(list(reader.blocks(4096))), quantise(samples, subtype))


def source(sample_rate=44100, channels=2, subtype="PCM_16"):
    return SimpleNamespace(sample_rate=sample_rate, channels=channels, subtype=subtype)


@pytest.mark.parametrize(
    ("format", "subtype", "kept"),
    [
        ("wav", "PCM_16", "PCM_16"),
        ("wav", "PCM_24", "PCM_24"),
        ("wav", "PCM_32", "PCM_32"),
        ("wav", "FLOAT", "FLOAT"),
        ("wav", "DOUBLE", "FLOAT"),
        ("wav", "PCM_U8", "PCM_16"),
        ("wav", "PCM_S8", "PCM_16"),
        ("wav", "MPEG_LAYER_III", "PCM_16"),
        ("wav", "UNKNOWN", "PCM_16"),
        ("flac", "PCM_16", "PCM_16"),
        ("flac", "PCM_24", "PCM_24"),
        ("flac", "PCM_32", "PCM_24"),
        ("flac", "FLOAT", "PCM_24"),
        ("mp3", "FLOAT", "MPEG_LAYER_III"),
        ("ogg", "FLOAT", "VORBIS"),
    ],
)
def test_the_depth_of_the_input_is_kept(format, subtype, kept):
    assert resolve_output(format, None, source(subtype=subtype)) == OutputSpec(
        format, kept, f".{format}", 44100
    )


def test_a_depth_can_be_asked_for():
    assert resolve_output(None, "float32", source()) == OutputSpec("wav", "FLOAT", ".wav", 44100)
    assert resolve_output("WAV", "int24", source()).subtype == "PCM_24"
    assert resolve_output(".flac", "int16", source(subtype="FLOAT")).subtype == "PCM_16"


@pytest.mark.parametrize(
    ("rate", "chosen"),
    [
        (8000, 8000),
        (11025, 12000),
        (22050, 24000),
        (32000, 48000),
        (44100, 48000),
        (48000, 48000),
        (96000, 48000),
    ],
)
def test_opus_gets_the_nearest_higher_rate(rate, chosen):
    assert resolve_output("opus", None, source(rate)) == OutputSpec("opus", "OPUS", ".opus", chosen)


@pytest.mark.parametrize(
    ("format", "depth", "given", "words"),
    [
        ("aac", None, source(), "wav, flac, mp3, ogg, opus"),
        ("wav", "int8", source(), "int16, int24, int32, float32"),
        ("flac", "float32", source(), "use int16, int24, or write wav"),
        ("flac", None, source(channels=9), "flac holds 1 to 8 channels, not 9: write wav instead"),
        ("flac", None, source(768000), "655350"),
        ("mp3", "int16", source(), "mp3 has no sample depth"),
        ("mp3", None, source(channels=6), "mp3 holds 1 to 2 channels, not 6: write wav instead"),
        ("mp3", None, source(96000), "mp3 cannot hold 96000 Hz: use 8000, 11025, "),
        ("ogg", None, source(384000), "ogg holds at most 200000 Hz"),
    ],
)
def test_refused_outputs_name_what_would_work(tmp_path, format, depth, given, words):
    with pytest.raises(AudioWriteError, match=words):
        resolve_output(format, depth, given)


def test_the_writer_refuses_before_it_touches_the_disk(tmp_path):
    for kwargs in (
        {"format": "opus", "sample_rate": 44100, "channels": 2},
        {"format": "mp3", "sample_rate": 44100, "channels": 3},
        {"format": "wav", "subtype": "VORBIS", "sample_rate": 44100, "channels": 1},
        {"format": "wav", "clip_mode": "loud", "sample_rate": 44100, "channels": 1},
    ):
        with pytest.raises(AudioWriteError) as caught:
            AudioWriter(tmp_path / "new" / "a", **kwargs)
        assert "\n" not in str(caught.value) and ": " in str(caught.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize(("format", "rate"), [*LOSSY, ("flac", 655350), ("ogg", 200000), ("wav", 768000)])
def test_every_accepted_rate_is_encodable(tmp_path, format, rate):
    for accepted in formats._RATES_HZ.get(format, (1000, rate)):
        write(tmp_path / f"{accepted}", noise(1, 4000), sample_rate=accepted, format=format)
        assert soundfile.info(str(tmp_path / f"{accepted}")).samplerate == accepted


# Whole or not at all


def test_the_file_appears_at_the_end_with_ordinary_permissions(tmp_path):
    with AudioWriter(tmp_path / "a.wav", sample_rate=RATE, channels=1) as writer:
        writer.write(noise(1))
        (hidden,) = files(tmp_path)
        assert hidden.startswith(".a.wav.") and hidden.endswith(".part")
    assert files(tmp_path) == ["a.wav"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("clip_mode", [None, "rescale"])
@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_nothing_is_left_after_an_exception(tmp_path, format, clip_mode):
    path = tmp_path / "deep" / "er" / "a"
    with (
        pytest.raises(KeyboardInterrupt),
        AudioWriter(path, sample_rate=RATE, channels=2, format=format, clip_mode=clip_mode) as writer,
    ):
        writer.write(noise())
        raise KeyboardInterrupt
    assert files(tmp_path) == []


def test_folders_that_were_there_or_are_in_use_stay(tmp_path):
    (tmp_path / "there").mkdir()
    path = tmp_path / "there" / "new" / "a.wav"
    with pytest.raises(ZeroDivisionError), AudioWriter(path, sample_rate=RATE, channels=1):
        path.with_name("other").touch()
        1 / 0  # noqa: B018
    assert files(tmp_path) == ["there", "there/new", "there/new/other"]


def test_existing_files_are_refused_at_once_and_kept(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("precious")
    with pytest.raises(OutputExistsError, match=r"already exists: .*overwrite=True"):
        AudioWriter(path, sample_rate=RATE, channels=1)
    assert files(tmp_path) == ["a.wav"] and path.read_text() == "precious"
    with pytest.raises(ZeroDivisionError), AudioWriter(path, sample_rate=RATE, channels=1, overwrite=True):
        1 / 0  # noqa: B018
    assert files(tmp_path) == ["a.wav"] and path.read_text() == "precious"
    write(path, noise(1), overwrite=True)
    assert files(tmp_path) == ["a.wav"] and soundfile.info(str(path)).frames == 10007


@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, hard_links, late):
    path = tmp_path / "a.wav"
    if not hard_links:

        def refuse(*_):
            raise PermissionError(errno.EPERM, "no hard links here")

        monkeypatch.setattr(os, "link", refuse)
    if late:  # even between the last look and the rename
        monkeypatch.setattr(target.FileTarget, "check", lambda self: None)
    with pytest.raises(OutputExistsError), AudioWriter(path, sample_rate=RATE, channels=1) as writer:
        writer.write(noise(1))
        path.write_text("precious")
    assert files(tmp_path) == ["a.wav"] and path.read_text() == "precious"


def test_without_hard_links_files_are_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOTSUP, "no")))
    write(tmp_path / "a.wav", noise(1))
    assert files(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_is_never_written_through(tmp_path, dangling):
    store, link = tmp_path / "store.wav", tmp_path / "a.wav"
    if not dangling:
        store.write_text("precious")
    link.symlink_to(store)
    with pytest.raises(OutputExistsError):
        AudioWriter(link, sample_rate=RATE, channels=1)
    assert link.is_symlink() and store.exists() is not dangling
    write(link, noise(1, 10), overwrite=True)
    assert not link.is_symlink() and soundfile.info(str(link)).frames == 10
    assert store.exists() is not dangling and (dangling or store.read_text() == "precious")


def test_a_link_that_appears_meanwhile_is_kept(tmp_path):
    store, link = tmp_path / "store.wav", tmp_path / "a.wav"
    with pytest.raises(OutputExistsError), AudioWriter(link, sample_rate=RATE, channels=1) as writer:
        writer.write(noise(1))
        link.symlink_to(store)
    assert files(tmp_path) == ["a.wav"] and link.is_symlink() and not store.exists()


@pytest.mark.parametrize("by", ["its name", "a hard link", "a link", "a link to its folder"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_an_input_is_never_replaced(tmp_path, by, overwrite):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "mix.wav"
    write(source, noise(1))
    before = source.read_bytes()
    path = tmp_path / "out.wav"
    if by == "its name":
        path = source
    elif by == "a hard link":
        os.link(source, path)
    elif by == "a link":
        path.symlink_to(source)
    else:
        (tmp_path / "folder").symlink_to(tmp_path / "in")
        path = tmp_path / "folder" / "mix.wav"
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(AudioWriteError, match="is what is read"):
        AudioWriter(path, sample_rate=RATE, channels=1, overwrite=overwrite, inputs=[source])
    assert source.read_bytes() == before and sorted(tmp_path.rglob("*")) == there


def test_an_input_moved_onto_the_output_meanwhile_is_kept(tmp_path):
    source = tmp_path / "mix.wav"
    write(source, noise(1))
    path, before = tmp_path / "out.wav", source.read_bytes()
    with (
        pytest.raises(AudioWriteError, match="is what is read"),
        AudioWriter(path, sample_rate=RATE, channels=1, overwrite=True, inputs=["-", source]),
    ):
        os.link(source, path)
    assert source.read_bytes() == path.read_bytes() == before


def test_new_folders_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "a" / "b" / "c.wav", noise(1))
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c.wav")]
    assert modes == [0o750, 0o750, 0o640]


def test_folders_and_devices_are_not_replaced(tmp_path):
    with pytest.raises(AudioWriteError, match="is a folder"):
        AudioWriter(tmp_path, sample_rate=RATE, channels=1, overwrite=True)
    with pytest.raises(AudioWriteError, match="not a regular file"):
        AudioWriter("/dev/null", sample_rate=RATE, channels=1, overwrite=True)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_long_names(tmp_path):
    write(tmp_path / ("ü" * 125 + ".wav"), noise(1))
    write(tmp_path / os.fsdecode(b"lat\xe9.wav"), noise(1))
    with pytest.raises(AudioWriteError, match="too long a name"):
        AudioWriter(tmp_path / ("u" * 256), sample_rate=RATE, channels=1)
    with pytest.raises(AudioWriteError, match="not a file name"):
        AudioWriter(tmp_path / "a\0b", sample_rate=RATE, channels=1)
    with pytest.raises(AudioWriteError, match="not a file name"):
        AudioWriter(tmp_path / "a\ud800b", sample_rate=RATE, channels=1)


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "song").touch()
    with pytest.raises(AudioWriteError, match="song is not a folder"):
        AudioWriter(tmp_path / "song" / "a.wav", sample_rate=RATE, channels=1)
    assert files(tmp_path) == ["song"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_write_protected_folder(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(target, "open_part", refuse)  # root writes everywhere
    with pytest.raises(AudioWriteError) as caught:
        AudioWriter(tmp_path / "new" / "a.wav", sample_rate=RATE, channels=1)
    folder = tmp_path / "new"
    assert str(caught.value) == (
        f"{folder}/a.wav cannot be written because {folder} is write-protected: choose another folder"
    )
    assert files(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("seconds", [0.01, 5])
@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_a_full_disk(tmp_path, monkeypatch, format, seconds):
    original = target.open_part

    def on_full_disk(path):
        temporary, file = original(path)
        file.close()
        return temporary, open("/dev/full", "w+b")

    monkeypatch.setattr(target, "open_part", on_full_disk)
    with pytest.raises(AudioWriteError) as caught:
        write(tmp_path / "new" / "a", noise(2, int(RATE * seconds)), format=format)
    path = tmp_path / "new" / "a"
    assert str(caught.value) == f"there is no space left to write {path}: free some, or write to another disk"
    assert files(tmp_path) == []


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize("clip_mode", ["None", "'rescale'"])
def test_a_disk_that_fills_up_on_the_way(tmp_path, format, clip_mode):
    pytest.importorskip("resource")
    script = f"""
import resource
import numpy as np
from sam_audio.errors import AudioWriteError
from sam_audio.io import AudioWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
samples = np.random.default_rng(0).standard_normal((2, 5000)).astype(np.float32)
try:
    options = dict(format="{format}", clip_mode={clip_mode})
    with AudioWriter("new/a", sample_rate=44100, channels=2, **options) as writer:
        for _ in range(200):
            writer.write(samples)
except AudioWriteError as error:
    raise SystemExit("refused: " + str(error))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(sam_audio.io.__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.stderr.strip() == (
        "refused: new/a grew beyond the largest file this disk or account allows: write to another disk"
    )
    assert files(tmp_path) == []


# Standard output


def test_standard_output(tmp_path):
    script = """
import numpy as np
from sam_audio.io import AudioWriter
samples = np.linspace(-1, 1, 2000, dtype=np.float32).reshape(2, 1000)
with AudioWriter("-", sample_rate=44100, channels=2, format="flac", subtype="PCM_24") as writer:
    writer.write(samples)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout
    (tmp_path / "a.flac").write_bytes(out)
    samples = np.linspace(-1, 1, 2000, dtype=np.float32).reshape(2, 1000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac")[0], quantise(samples, "PCM_24"))


def test_standard_output_stays_empty_after_an_exception(capfdbinary):
    with pytest.raises(ZeroDivisionError), AudioWriter("-", sample_rate=RATE, channels=2) as writer:
        writer.write(noise())
        1 / 0  # noqa: B018
    assert capfdbinary.readouterr().out == b""


def test_standard_output_closed_by_its_reader():
    script = """
import numpy as np
from sam_audio.errors import AudioWriteError
from sam_audio.io import AudioWriter
try:
    with AudioWriter("-", sample_rate=44100, channels=1) as writer:
        writer.write(np.zeros((1, 1_000_000), np.float32))
except AudioWriteError as error:
    raise SystemExit("refused: " + str(error))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read().startswith("refused: standard output was closed before")


def test_a_terminal_gets_no_sound(monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(AudioWriteError, match="terminal"):
        AudioWriter("-", sample_rate=RATE, channels=1)


# Several files


def group_of(folder, count=3, **kwargs):
    group = WriterGroup()
    writers = [
        group.add(AudioWriter(folder / f"{index}.wav", sample_rate=RATE, channels=2, **kwargs))
        for index in range(count)
    ]
    return group, writers


def test_a_group_appears_together(tmp_path):
    group, writers = group_of(tmp_path / "song")
    with group:
        for seed, writer in enumerate(writers):
            writer.write(noise(seed=seed))
        assert all(name.endswith(".part") for name in files(tmp_path / "song"))
    assert files(tmp_path / "song") == ["0.wav", "1.wav", "2.wav"]
    for seed in range(3):
        np.testing.assert_array_equal(
            read_audio(tmp_path / "song" / f"{seed}.wav")[0], quantise(noise(seed=seed), "PCM_16")
        )


def test_a_group_resamples_to_the_end_and_shares_the_gain_of_what_comes_out(tmp_path):
    """The peak lies in the last samples, which leave the resampler only when it is drained."""
    group, writers = group_of(tmp_path, input_rate=48_000, clip_mode="rescale", subtype="FLOAT")
    samples = [noise(frames=48_000, seed=seed) for seed in range(3)]
    samples[0][:, -20:] = 2.0
    with group:
        for start in range(0, 48_000, 5000):
            for writer, whole in zip(writers, samples, strict=True):
                writer.write(whole[:, start : start + 5000])
    assert group.applied_gain == pytest.approx(1 / writers[0].peak) and writers[0].peak > 2
    for writer, whole in zip(writers, samples, strict=True):
        resampler = Resampler(48_000, RATE, 2)
        expected = np.concatenate([resampler.push(whole), resampler.finish()], axis=1)
        written = read_audio(writer.path)[0]
        assert written.shape == (2, RATE)
        np.testing.assert_allclose(written, group.applied_gain * expected, atol=1e-6)


def test_a_group_leaves_nothing_after_an_exception(tmp_path):
    group, writers = group_of(tmp_path / "song")
    with pytest.raises(ZeroDivisionError), group:
        writers[0].write(noise())
        1 / 0  # noqa: B018
    assert files(tmp_path) == []


def test_a_group_leaves_nothing_if_one_member_cannot_be_finished(tmp_path, monkeypatch):
    group, writers = group_of(tmp_path / "song")

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writers[2]._target, "sync", full)
    with pytest.raises(AudioWriteError, match="no space left"), group:
        writers[0].write(noise())
    assert files(tmp_path) == []


@pytest.mark.parametrize("late", [True, False])
def test_a_group_leaves_nothing_if_one_name_is_taken(tmp_path, monkeypatch, late):
    if late:
        monkeypatch.setattr(target.FileTarget, "check", lambda self: None)
    group, _ = group_of(tmp_path)
    with pytest.raises(OutputExistsError), group:
        (tmp_path / "1.wav").write_text("precious")
    assert files(tmp_path) == ["1.wav"] and (tmp_path / "1.wav").read_text() == "precious"


def test_a_group_refuses_two_outputs_of_one_name(tmp_path):
    group, _ = group_of(tmp_path)
    with pytest.raises(AudioWriteError, match="two outputs would both be"):
        group.add(AudioWriter(tmp_path / ".." / tmp_path.name / "1.wav", sample_rate=RATE, channels=1))
    group.discard()
    assert files(tmp_path) == []


# Beyond full scale


@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
def test_integers_saturate_and_the_writer_counts(tmp_path, format, subtype):
    samples = np.array([[0.5, 1.0, 1.25, -1.0, -3.5, 0.0]], np.float32)
    writer = write(tmp_path / "a", samples, block=2, format=format, subtype=subtype)
    assert (writer.peak, writer.frames, writer.applied_gain) == (3.5, 6, 1.0)
    assert writer.clipped_samples == (0 if subtype == "FLOAT" else 2)
    back, _ = read_audio(tmp_path / "a")
    np.testing.assert_array_equal(back, quantise(samples, subtype))
    assert subtype == "FLOAT" or np.abs(back).max() <= 1.0


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_clamp_saturates_every_format(tmp_path, subtype):
    samples = noise(level=1.0)
    writer = write(tmp_path / "a", samples, subtype=subtype, clip_mode="clamp")
    assert writer.clipped_samples == np.count_nonzero(np.abs(samples) > 1)
    np.testing.assert_array_equal(read_audio(tmp_path / "a")[0], quantise(np.clip(samples, -1, 1), subtype))


@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
def test_rescale_divides_by_the_peak(tmp_path, format, subtype):
    samples = noise(level=1.0)
    writer = write(tmp_path / "a", samples, format=format, subtype=subtype, clip_mode="rescale")
    assert writer.clipped_samples == 0 and writer.peak == np.abs(samples).max()
    back, _ = read_audio(tmp_path / "a")
    np.testing.assert_array_equal(back, quantise(samples * np.float32(writer.applied_gain), subtype))
    assert np.abs(back).max() == pytest.approx(1.0, abs=1e-4)


def test_rescale_leaves_quiet_sound_alone(tmp_path):
    writer = write(tmp_path / "a", noise(level=0.1), subtype="FLOAT", clip_mode="rescale")
    assert writer.applied_gain == 1.0
    np.testing.assert_array_equal(read_audio(tmp_path / "a")[0], noise(level=0.1))
    assert files(tmp_path) == ["a"]


def test_a_rescaled_group_still_sums_to_the_rescaled_mixture(tmp_path):
    stems = [noise(seed=seed, level=level) for seed, level in enumerate((0.1, 0.5, 1.0))]
    group, writers = group_of(tmp_path, subtype="PCM_24", clip_mode="rescale")
    with group:
        for writer, stem in zip(writers, stems, strict=True):
            writer.write(stem)
    assert group.applied_gain == pytest.approx(1 / np.abs(stems[2]).max(), rel=1e-6)
    assert {writer.applied_gain for writer in writers} == {group.applied_gain}
    total = sum(read_audio(tmp_path / f"{index}.wav")[0].astype(np.float64) for index in range(3))
    np.testing.assert_allclose(total, group.applied_gain * sum(stems), rtol=0, atol=3 * 2.0**-23)


# Misuse


def test_misuse_is_not_a_user_error(tmp_path):
    with AudioWriter(tmp_path / "a.wav", sample_rate=RATE, channels=2) as writer:
        for wrong in (noise(1), noise()[0], noise().T):
            with pytest.raises(ValueError, match="shape"):
                writer.write(wrong)
        with pytest.raises(ValueError, match="open"):
            writer.publish()
    with pytest.raises(ValueError, match="published"):
        writer.write(noise())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_not_written(tmp_path, value):
    with pytest.raises(AudioWriteError, match="NaN or infinite"):
        write(tmp_path / "a.wav", np.full((1, 10), value, np.float32))
    assert files(tmp_path) == []


# Names and documentation


def test_exported_names():
    for module in (sam_audio.io, errors):
        assert all(hasattr(module, name) and getattr(module, name).__doc__ for name in module.__all__)
    tree = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert tree == {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert all(issubclass(getattr(errors, name), SamAudioError) for name in tree)
    assert all(issubclass(getattr(errors, name), UserError) for name in tree - {"SamAudioError"})


@pytest.mark.parametrize("module", [errors, formats])
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("format", "rate", "kbps"), [("mp3", 44_100, 128), ("ogg", 44_100, 96), ("opus", 48_000, 64)]
)
def test_bit_rates_are_about_those_asked_for(tmp_path, format, rate, kbps, channels):
    sound = np.random.default_rng(0).normal(0, 0.05, (channels, 10 * rate)).astype(np.float32)
    path = tmp_path / f"a.{format}"
    with AudioWriter(path, sample_rate=rate, channels=channels, format=format, bitrate_kbps=kbps) as writer:
        writer.write(sound)
    told = path.stat().st_size * 8 / 10 / 1000
    assert kbps * 0.7 < told < kbps * 1.4


@pytest.mark.parametrize(
    ("format", "kbps"), [("wav", 128), ("flac", 128), ("mp3", 500), ("opus", 1000), ("ogg", 8)]
)
def test_bit_rates_that_cannot_be(format, kbps):
    with pytest.raises(AudioWriteError, match="bit rate|kbit/s"):
        formats.resolve_output(
            format, None, SimpleNamespace(sample_rate=48_000, channels=2, subtype="PCM_16"), kbps
        )
