import io
import os
import re
import struct
import subprocess
import sys
import threading
import wave

import numpy as np
import pytest
import soundfile

from sam_audio.errors import AudioReadError, MissingExtraError, UserError
from sam_audio.io import ffmpeg, open_audio, read_audio

RATE = 44100


def noise(channels=2, frames=20011, seed=0):
    return (np.random.default_rng(seed).standard_normal((channels, frames)) * 0.1).astype(np.float32)


def save(path, samples, rate=RATE, **kwargs):
    with soundfile.SoundFile(str(path), "w", rate, len(samples), **kwargs) as file:
        for start in range(0, samples.shape[1], 4096):
            file.write(samples.T[start : start + 4096])
    return path


def refusal(source, **kwargs):
    """The message with which `open_audio`, or reading to the end, refuses a source."""
    with pytest.raises(UserError) as caught, open_audio(source, **kwargs) as reader:
        for _ in reader.blocks(4096):
            pass
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".")
    return message


READABLE = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAVEX", "PCM_24"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_S8"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_24"),
    ("CAF", "PCM_16"),
    ("AU", "FLOAT"),
]


@pytest.mark.parametrize(("format", "subtype"), READABLE)
def test_blocks_join_to_what_libsndfile_reads_whole(tmp_path, format, subtype):
    rate = 48000 if subtype == "OPUS" else RATE
    path = save(tmp_path / "mix.bin", noise(), rate, format=format, subtype=subtype)
    whole = soundfile.read(str(path), dtype="float32", always_2d=True)[0].T
    with open_audio(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.frames) == (rate, 2, 20011)
        assert (reader.format, reader.subtype, reader.name) == (format, subtype, "mix.bin")
        blocks = list(reader.blocks(1237))
        assert [block.shape for block in blocks[:-1]] == [(2, 1237)] * (len(blocks) - 1)
        assert all(block.dtype == np.float32 and block.flags.c_contiguous for block in blocks)
        np.testing.assert_allclose(np.concatenate(blocks, axis=1), whole, rtol=0, atol=1e-6)
        # a second pass gives the same
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(1237)), axis=1), np.hstack(blocks))
    samples, sample_rate = read_audio(path)
    assert sample_rate == rate and samples.shape == (2, 20011)


@pytest.mark.parametrize(("format", "subtype"), READABLE)
def test_start_and_duration_are_sample_accurate(tmp_path, format, subtype):
    rate = 48000 if subtype == "OPUS" else RATE
    path = save(tmp_path / "mix.bin", noise(), rate, format=format, subtype=subtype)
    whole, _ = read_audio(path)
    with open_audio(path, start_s=7001 / rate, duration_s=5003 / rate) as reader:
        assert (reader.start_frame, reader.frames) == (7001, 5003)
        for _ in range(2):
            part = np.concatenate(list(reader.blocks(1000)), axis=1)
            np.testing.assert_allclose(part, whole[:, 7001:12004], rtol=0, atol=1e-6)
    with open_audio(path, start_s=19000 / rate, duration_s=100) as reader:
        assert reader.frames == 1011
        assert sum(block.shape[1] for block in reader.blocks(1000)) == 1011


def test_integers_are_read_exactly(tmp_path):
    values = np.array([-32768, -32767, -1, 0, 1, 12345, 32767], dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", values, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0][0] * 32768, values)


def test_24_channels(tmp_path):
    samples = noise(24)
    path = save(tmp_path / "mix.wav", samples, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path)[0], samples)


def test_a_binary_file_is_read_from_where_it_stands(tmp_path):
    data = save(tmp_path / "mix.flac", noise()).read_bytes()
    stream = io.BytesIO(b"skipped" + data)
    stream.seek(7)
    np.testing.assert_array_equal(read_audio(stream)[0], read_audio(tmp_path / "mix.flac")[0])


def test_standard_input_and_nothing_left_behind(tmp_path):
    path = save(tmp_path / "mix.wav", noise(), subtype="FLOAT")
    script = (
        "import sys; from sam_audio.io import open_audio\n"
        "with open_audio('-', start_s=0.1) as reader:\n"
        "    sys.stdout.buffer.write(next(reader.blocks(100)).tobytes())\n"
        "    assert reader.name == 'standard input'\n"
    )
    spools = tmp_path / "spools"
    spools.mkdir()
    with path.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=subprocess.PIPE) as cat:
        out = subprocess.run(
            [sys.executable, "-c", script],
            stdin=cat.stdout,
            capture_output=True,
            check=True,
            env={**os.environ, "TMPDIR": str(spools)},
        ).stdout
    np.testing.assert_array_equal(np.frombuffer(out, np.float32).reshape(2, 100), noise()[:, 4410:4510])
    assert list(spools.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe(tmp_path):
    path = save(tmp_path / "mix.wav", noise(), subtype="FLOAT")
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(path.read_bytes()))
    feeder.start()
    np.testing.assert_array_equal(read_audio(tmp_path / "pipe")[0], noise())
    feeder.join()


def test_memory_does_not_grow_with_the_file(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "long.wav"
    seconds = 40 * 60
    with wave.open(str(path), "wb") as file:  # 40 minutes would be 850 MB as float32
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for _ in range(seconds // 10):
            file.writeframes(bytes(RATE * 10 * 4))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_audio(path) as reader:
        assert sum(block.shape[1] for block in reader.blocks(1 << 17)) == seconds * RATE
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


# What is refused, and how


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "no.wav") == f"{tmp_path}/no.wav does not exist: check the name and the folder"
    assert "does not exist" in refusal(str(tmp_path / "no.wav"))


def test_folder_and_device(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path} is a folder: name a file in it"
    assert "not a regular file" in refusal("/dev/zero")


def test_a_name_no_file_can_have():
    assert "cannot be read" in refusal("x" * 5000)
    assert "is not a file name" in refusal("a\0b.wav")


def test_permission_denied(tmp_path, monkeypatch):
    path = save(tmp_path / "mix.wav", noise())
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.open", refuse)
    assert refusal(path) == f"{path} may not be read by you: change its permissions"


@pytest.mark.parametrize("text", ["not a sound\n" * 1000, "#EXTM3U\n/etc/passwd\n", "naïve " * 1000])
@pytest.mark.parametrize("name", ["notes.wav", "notes.mp3"])
def test_text(tmp_path, capfd, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert refusal(tmp_path / name) == f"{name} is a text file: choose an audio or video file"
    assert capfd.readouterr() == ("", "")


def test_empty_file(tmp_path):
    (tmp_path / "mix.wav").touch()
    assert refusal(tmp_path / "mix.wav") == "mix.wav is empty: choose a file that holds sound"


def test_junk(tmp_path):
    (tmp_path / "mix.wav").write_bytes(np.random.default_rng(0).bytes(100_000))
    assert refusal(tmp_path / "mix.wav") == (
        "mix.wav is not an audio or video file that can be read: convert it to wav or flac"
    )


def test_raw_samples(tmp_path):
    (tmp_path / "mix.raw").write_bytes(noise().tobytes())
    assert refusal(tmp_path / "mix.raw") == (
        "mix.raw is named as raw samples without a header: convert it to wav"
    )


@pytest.mark.parametrize("length", [8, 12, 20, 30, 36, 40])
@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_truncated_wav_header(tmp_path, monkeypatch, length, with_ffmpeg):
    if not with_ffmpeg:
        monkeypatch.setattr(ffmpeg, "find_ffmpegs", lambda: [])
    path = save(tmp_path / "mix.wav", noise())
    path.write_bytes(path.read_bytes()[:length])
    message = refusal(path)
    assert message.startswith("mix.wav ") and ("damaged or cut off" in message or "no audio" in message)


def test_wav_without_samples(tmp_path):
    path = save(tmp_path / "mix.wav", noise(frames=0))
    assert refusal(path) == "mix.wav holds no audio: choose a file that does"


@pytest.mark.parametrize("claim", [None, 0xFFFFFFFF])
def test_wav_that_claims_more_than_it_holds(tmp_path, claim):
    path = save(tmp_path / "mix.wav", noise(), subtype="PCM_16")
    whole, _ = read_audio(path)
    data = path.read_bytes()
    if claim is None:
        path.write_bytes(data[: 44 + 4 * 5000])
    else:
        path.write_bytes(data[:40] + struct.pack("<I", claim) + data[44 : 44 + 4 * 5000])
    with open_audio(path) as reader:
        assert reader.frames == 5000
        np.testing.assert_array_equal(np.hstack(list(reader.blocks(999))), whole[:, :5000])
    path.write_bytes(data[:44])
    assert "holds no audio" in refusal(path)


@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_flac_cut_short_is_read_so_far_and_says_where(tmp_path, monkeypatch, with_ffmpeg):
    if not with_ffmpeg:
        monkeypatch.setattr(ffmpeg, "find_ffmpegs", lambda: [])
    whole = noise(frames=3 * RATE)
    path = save(tmp_path / "mix.flac", whole)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_audio(path) as reader:
        assert reader.warnings == []  # nothing is known before it is read
        for _ in range(2):
            samples = np.hstack(list(reader.blocks(4096)))
            assert abs(samples.shape[1] - 1.5 * RATE) < 8192
            np.testing.assert_allclose(samples, whole[:, : samples.shape[1]], atol=1e-4)
        (warning,) = reader.warnings
        assert re.match(r"mix.flac is damaged after 1\.\d\d s: ", warning)
    assert "mix.flac" in refusal(path, start_s=2.5)


@pytest.mark.parametrize("rate", [1, 999, 768001, 1_000_000])
def test_sample_rates_out_of_range(tmp_path, rate):
    path = save(tmp_path / "mix.wav", noise(), rate)
    assert refusal(path) == (
        f"mix.wav has a sample rate of {rate} Hz; sample rates from 1000 to 768000 Hz can be separated: "
        "resample it first"
    )


@pytest.mark.parametrize("rate", [1000, 768000])
def test_sample_rates_at_the_limits(tmp_path, rate):
    assert read_audio(save(tmp_path / "mix.wav", noise(), rate))[1] == rate


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
@pytest.mark.parametrize("start_s", [0.0, 0.2])
def test_samples_that_are_not_numbers(tmp_path, value, word, start_s):
    samples = noise(frames=RATE)
    samples[1, RATE // 2] = samples[0, RATE // 2 + 100] = value
    path = save(tmp_path / "mix.wav", samples, subtype="FLOAT")
    message = refusal(path, start_s=start_s)
    assert message == f"mix.wav has {word} samples, the first at 0.500 s: export it again from its source"
    with open_audio(path, duration_s=0.4) as reader:  # not reached, so no reason to refuse
        assert sum(block.shape[1] for block in reader.blocks(4096)) == reader.frames


@pytest.mark.parametrize("name", ["mix.wav", "mix.mp3", "mix.flac"])
def test_start_beyond_the_end(tmp_path, name):
    path = save(tmp_path / name, noise(frames=RATE))
    assert refusal(path, start_s=1) == f"{name} ends before 1 s: choose an earlier start"
    assert refusal(path, start_s=1e6) == f"{name} ends before 1e+06 s: choose an earlier start"


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_starts_and_durations_that_mean_nothing(tmp_path, bad):
    path = save(tmp_path / "mix.wav", noise())
    assert "start of" in refusal(path, start_s=bad)
    assert "duration of" in refusal(path, duration_s=bad)
    assert "duration of" in refusal(path, duration_s=0)


def test_misuse_is_not_a_user_error(tmp_path):
    with open_audio(save(tmp_path / "mix.wav", noise())) as reader, pytest.raises(ValueError):
        next(reader.blocks(0))
    with pytest.raises(ValueError, match="closed"):
        next(reader.blocks(10))


# ffmpeg

needs_ffmpeg = pytest.mark.skipif(ffmpeg.find_ffmpeg() is None, reason="no ffmpeg")


def run_ffmpeg(*arguments):
    subprocess.run([ffmpeg.find_ffmpeg(), "-v", "error", "-y", *map(str, arguments)], check=True)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("depth", "codec", "name"),
    [
        ("PCM_16", "alac", "mix.m4a"),
        ("PCM_24", "alac", "mix.m4a"),
        ("PCM_24", "pcm_s24le", "mix.mkv"),
        ("PCM_16", "pcm_s16le", "mix.mov"),
        ("FLOAT", "pcm_f32le", "mix:1.mkv"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_ffmpeg_gives_the_exact_samples(tmp_path, depth, codec, name, channels):
    wav = save(tmp_path / "a.wav", noise(channels), subtype=depth)
    path = tmp_path / name
    options = ["-sample_fmt", "s32p"] if (depth, codec) == ("PCM_24", "alac") else []
    run_ffmpeg("-i", wav, "-c:a", codec, *options, f"file:{path}")
    whole, _ = read_audio(wav)
    with open_audio(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.frames) == (RATE, channels, None)
        assert reader.subtype == depth
        for _ in range(2):  # the second pass starts the decoder again
            np.testing.assert_array_equal(np.hstack(list(reader.blocks(999))), whole)
    with open_audio(path, start_s=7001 / RATE, duration_s=5003 / RATE) as reader:
        for _ in range(2):
            np.testing.assert_array_equal(np.hstack(list(reader.blocks(999))), whole[:, 7001:12004])
    assert "ends before 60 s" in refusal(path, start_s=60)


@needs_ffmpeg
def test_ffmpeg_reads_the_sound_of_a_video_also_from_a_pipe(tmp_path):
    wav = save(tmp_path / "a.wav", noise(frames=RATE))
    video = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64"]
    run_ffmpeg(*video, "-i", wav, "-c:a", "aac", "-b:a", "256k", tmp_path / "clip.mp4")
    samples, rate = read_audio(tmp_path / "clip.mp4")
    assert rate == RATE and abs(samples.shape[1] - RATE) <= 2048
    with (tmp_path / "clip.mp4").open("rb") as stream, open_audio(stream) as reader:
        assert (reader.name, reader.format, reader.subtype) == ("clip.mp4", "MOV", "AAC")
        np.testing.assert_array_equal(np.hstack(list(reader.blocks(5000))), samples)


@needs_ffmpeg
def test_video_without_sound(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", tmp_path / "clip.mp4")
    assert refusal(tmp_path / "clip.mp4") == "clip.mp4 has no sound: choose a file with an audio track"


@needs_ffmpeg
def test_closing_early_ends_the_decoder(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=600", "-c:a", "pcm_s16le", tmp_path / "long.mkv")
    with open_audio(tmp_path / "long.mkv") as reader:
        next(reader.blocks(100))
        process = reader._source._process
        assert process.poll() is None
    assert process.poll() is not None


def test_no_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "find_ffmpegs", lambda: [])
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(1000))
    with pytest.raises(MissingExtraError) as caught:
        open_audio(tmp_path / "clip.mp4")
    assert str(caught.value) == (
        'clip.mp4 needs ffmpeg, which was not found: install ffmpeg, or run pip install "separate-by-prompt[video]"'
    )


def test_ffmpeg_that_does_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg, "find_ffmpegs", lambda: [str(tmp_path / "gone")])
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(1000))
    with pytest.raises(AudioReadError, match="reinstall it"):
        open_audio(tmp_path / "clip.mp4")


@pytest.fixture
def fake_ffmpeg(tmp_path, monkeypatch):
    """Has an executable in ffmpeg's place, that gives a second of sound, complains and ends as it is told."""
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(1000))

    def make(end):
        executable = tmp_path / "ffmpeg"
        executable.write_text(
            f"#!{sys.executable}\n"
            "import os, struct, sys\n"
            "print('Input #0, mov', file=sys.stderr)\n"
            f"print('  Stream #0:0: Audio: aac, {RATE} Hz, mono, fltp', file=sys.stderr)\n"
            f"header = struct.pack('>4sIIIII', b'.snd', 24, 0xFFFFFFFF, 6, {RATE}, 1)\n"
            f"sys.stdout.buffer.write(header + struct.pack('>{RATE}f', *[0.25] * {RATE}) + b'cut')\n"
            "sys.stdout.flush()\n"
            "print('Something was odd', file=sys.stderr, flush=True)\n"
            f"{end}\n"
        )
        executable.chmod(0o755)
        monkeypatch.setattr(ffmpeg, "find_ffmpegs", lambda: [str(executable)])
        return tmp_path / "clip.mp4"

    return make


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable scripts")
@pytest.mark.parametrize("end", ["sys.exit(69)", "os.kill(os.getpid(), 9)"])
def test_ffmpeg_that_breaks_off_is_not_the_end_of_the_file(fake_ffmpeg, end):
    path = fake_ffmpeg(end)
    with open_audio(path) as reader:
        blocks = reader.blocks(10_000)
        assert sum(next(blocks).shape[1] for _ in range(4)) == 40_000
        with pytest.raises(
            AudioReadError, match=r"^clip.mp4 is damaged after 0.91 s: export it again"
        ) as caught:
            next(blocks)
        assert str(caught.value.__cause__) == "Something was odd"
    with open_audio(path, duration_s=0.9) as reader:  # the part before, as the message advises
        assert sum(block.shape[1] for block in reader.blocks(10_000)) == 0.9 * RATE
    assert refusal(path, start_s=60) == "clip.mp4 is damaged before 60 s: export it again"


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable scripts")
def test_what_ffmpeg_warns_of_is_no_damage(fake_ffmpeg):
    path = fake_ffmpeg("sys.exit(0)")
    samples, rate = read_audio(path)
    assert rate == RATE and samples.shape == (1, RATE) and (samples == 0.25).all()
    assert "ends before 60 s" in refusal(path, start_s=60)


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable scripts")
@pytest.mark.parametrize("first", ["no sound", "not known", "not there"])
def test_what_one_ffmpeg_cannot_decode_another_may(fake_ffmpeg, tmp_path, monkeypatch, first):
    path = fake_ffmpeg("sys.exit(0)")
    old = tmp_path / "old"
    if first != "not there":
        header = f"struct.pack('>4sIIIII', b'.snd', 24, 0xFFFFFFFF, 6, {RATE}, 1)"
        old.write_text(
            f"#!{sys.executable}\nimport struct, sys\n"
            + (
                "print('Input #0, mov\\n  Stream #0:0: Audio: aac', file=sys.stderr)\n"
                * (first == "no sound")
            )
            + (f"sys.stdout.buffer.write({header})\n" * (first == "no sound"))
            + "sys.exit(1)\n"
        )
        old.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "find_ffmpegs", lambda: [str(old), str(tmp_path / "ffmpeg")])
    samples, rate = read_audio(path)
    assert rate == RATE and samples.shape == (1, RATE) and (samples == 0.25).all()


@needs_ffmpeg
def test_reading_what_ffmpeg_says_does_not_move_where_it_writes(tmp_path):
    """The file of its messages is shared with it, and so is the place in the file."""
    wav = save(tmp_path / "a.wav", noise(frames=RATE))
    source = ffmpeg.FfmpegDecoder(wav, "a.wav")
    while source.read(RATE).size:
        pass
    assert source._process.wait(timeout=10) == 0
    end = os.lseek(source._log.fileno(), 0, os.SEEK_END)
    os.lseek(source._log.fileno(), 3, os.SEEK_SET)
    messages = source._messages()
    assert len(messages.encode()) == end and "Input #0, wav" in messages
    assert os.lseek(source._log.fileno(), 0, os.SEEK_CUR) == 3
    source.close()
