"""Videos keep their pictures, all else that they hold, and stay in step with the separated sound."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from beeps import AT_S, B_FRAMES, FPS, LENGTH_S, PICTURES, X264, beeps_s, ffmpeg, flashes_s, make_video, sound

from sam_audio.errors import AudioReadError, OutputExistsError, UserError
from sam_audio.export.video import Remux
from sam_audio.io import AudioWriter, open_audio
from sam_audio.io.containers import Contents, probe
from sam_audio.io.ffmpeg import find_ffmpeg
from sam_audio.render import RenderReport, StemReport

AAC_FRAME_S = 1024 / 48_000
PICTURES_IN_ALL = round(LENGTH_S * FPS)


def contents(path: Path) -> Contents:
    executable = find_ffmpeg()
    assert executable is not None
    return probe(executable, path)


def report_of(video: Path, folder: Path, track: int | None = None) -> RenderReport:
    """As if the video had been separated into all of its sound and nothing."""
    folder.mkdir(exist_ok=True)
    with open_audio(video, track=track) as reader:
        report = RenderReport(
            str(video), video.stem, "none", reader.sample_rate, reader.channels, sound_track=track
        )
        paths = [folder / "voice.wav", folder / "residual.wav"]
        writers = [
            AudioWriter(path, sample_rate=reader.sample_rate, channels=reader.channels, layout=reader.layout)
            for path in paths
        ]
        for writer, gain in zip(writers, (1, 0), strict=True):
            with writer:
                for block in reader.blocks(1 << 15):
                    writer.write(block * np.float32(gain))
    report.stems = [StemReport("voice", "voice", str(paths[0]))]
    report.residual = StemReport("residual", None, str(paths[1]))
    return report


def remuxed(video: Path, tmp_path: Path, track: int | None = None) -> tuple[Path, RenderReport]:
    report = report_of(video, tmp_path / "out", track)
    voice, residual = Remux().export(report, overwrite=False)
    assert beeps_s(residual) == []
    return voice, report


def assert_in_step(video: Path, n_pictures: int = PICTURES_IN_ALL) -> None:
    flashes, count = flashes_s(video)
    assert count == n_pictures
    assert len(flashes) == len(AT_S)
    assert beeps_s(video) == pytest.approx(flashes, abs=AAC_FRAME_S + 0.002)


MPEG2 = ["-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-c:a", "mp2"]


@pytest.mark.parametrize(
    "name, options",
    [
        ("plain.mp4", X264),
        ("b_frames.mp4", B_FRAMES),
        ("b_frames.mkv", B_FRAMES),
        ("clip.mov", [*B_FRAMES, "-c:a", "pcm_s16le"]),
        ("clip.m4v", ["-f", "mp4", *X264]),
        ("broadcast.ts", [*B_FRAMES, "-muxdelay", "1.4"]),
        ("disc.mpg", MPEG2),
        ("clip.webm", ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"]),
        ("clip.avi", ["-c:v", "mpeg4", "-c:a", "libmp3lame"]),
        ("clip.flv", ["-c:v", "flv1", "-ar", "44100", "-c:a", "libmp3lame"]),
    ],
)
def test_pictures_and_sound_stay_in_step(tmp_path, name, options):
    video = make_video(tmp_path / name, *options)
    out, report = remuxed(video, tmp_path)
    n_pictures = flashes_s(video)[1]
    assert n_pictures >= PICTURES_IN_ALL - 1
    # some encoders and containers are a little out of step from the start, which then stays as it was
    before, after = (np.subtract(beeps_s(one), flashes_s(one)[0]) for one in (video, out))
    assert before == pytest.approx(0, abs=0.05)
    assert after == pytest.approx(before, abs=AAC_FRAME_S + 0.002)
    assert flashes_s(out)[1] == n_pictures
    assert report.warnings == []


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "late.ts"])
def test_sound_that_starts_late_starts_late(tmp_path, name):
    whole = make_video(tmp_path / "whole.mp4")
    video = tmp_path / name
    # the first 0.3 s of the sound are missing
    late = ["-ss", "0.3", "-i", whole]
    ffmpeg(
        "-i",
        whole,
        "-itsoffset",
        "0.3",
        *late,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:v",
        "copy",
        "-c:a",
        "aac",
        video,
    )
    assert beeps_s(video) == pytest.approx(flashes_s(video)[0], abs=AAC_FRAME_S + 0.002)
    assert_in_step(remuxed(video, tmp_path)[0])


@pytest.mark.parametrize("name", ["gap.mkv", "gap.ts"])
def test_gaps_in_the_sound_are_silence(tmp_path, name):
    # packets between 0.9 and 1.9 s are left out, one beep with them
    whole, video = make_video(tmp_path / "whole.mkv", *X264, "-c:a", "aac"), tmp_path / name
    drop = "noise=drop=between(pts*tb\\,0.9\\,1.9)"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:a", drop, tmp_path / "less.mkv")
    ffmpeg("-i", tmp_path / "less.mkv", "-c", "copy", video)
    flashes, _ = flashes_s(video)
    assert beeps_s(video) == pytest.approx([flashes[0], flashes[2]], abs=AAC_FRAME_S + 0.002)
    with open_audio(video) as reader:
        n_frames = sum(block.shape[1] for block in reader.blocks(1 << 16))
    assert n_frames / reader.sample_rate == pytest.approx(LENGTH_S, abs=0.1)
    out, _ = remuxed(video, tmp_path)
    assert beeps_s(out) == pytest.approx([flashes_s(out)[0][i] for i in (0, 2)], abs=AAC_FRAME_S + 0.002)


def two_tracks(path: Path, *options: str | Path) -> Path:
    inputs = [*sound(0.5), *sound(0.3, 500)]
    names = [
        "-metadata:s:a:0",
        "language=eng",
        "-metadata:s:a:1",
        "language=deu",
        "-metadata:s:a:1",
        "title=Kommentar",
    ]
    ffmpeg(*PICTURES, *inputs, *options, "-map", "0:v", "-map", "1:a", "-map", "2:a", *X264, *names, path)
    return path


def test_other_sound_tracks_stay(tmp_path):
    video = two_tracks(tmp_path / "two.mkv")
    with open_audio(video) as reader:
        assert reader.warnings == [
            "two.mkv has 2 sound tracks, of which number 1 (eng) is used: choose another, as sound_track=2"
        ]
    out, _ = remuxed(video, tmp_path, track=2)
    tracks = contents(out).sounds
    assert [(track.language, track.title) for track in tracks] == [("eng", None), ("deu", "voice")]
    with open_audio(out, track=1) as other, open_audio(out, track=2) as separated:
        assert max(np.abs(block).max() for block in other.blocks(1 << 16)) == pytest.approx(0.5, abs=0.1)
        assert max(np.abs(block).max() for block in separated.blocks(1 << 16)) == pytest.approx(0.3, abs=0.1)
        assert other.warnings == separated.warnings == []


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_track_that_is_not_there(tmp_path, number):
    video = two_tracks(tmp_path / "two.mp4")
    with pytest.raises(AudioReadError, match=f"no sound track {number}, but 2 sound tracks: use 1 to 2"):
        open_audio(video, track=number)


def test_files_of_sound_only_have_one_track(tmp_path):
    path = tmp_path / "tone.wav"
    ffmpeg(*sound(), path)
    assert len(beeps_s(path, track=1)) == len(AT_S)
    with pytest.raises(AudioReadError, match="no sound track 2, but one sound track: leave the track out"):
        open_audio(path, track=2)


@pytest.fixture
def extras(tmp_path) -> tuple[list[str | Path], list[str]]:
    """Inputs and options for subtitles, chapters and titles."""
    (tmp_path / "words.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nBeep!\n")
    (tmp_path / "meta.txt").write_text(
        ";FFMETADATA1\ntitle=A film\nartist=Somebody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=3000\ntitle=Two\n"
    )
    inputs = ["-i", tmp_path / "words.srt", "-i", tmp_path / "meta.txt"]
    return inputs, ["-map", "0:v", "-map", "1:a", "-map", "2:s", "-map_metadata", "3", "-map_chapters", "3"]


@pytest.mark.parametrize("name, codec", [("all.mkv", "srt"), ("all.mp4", "mov_text")])
def test_subtitles_chapters_and_titles_stay(tmp_path, extras, name, codec):
    inputs, options = extras
    video = tmp_path / name
    ffmpeg(
        *PICTURES, *sound(), *inputs, *options, *X264, "-c:s", codec, "-metadata:s:s:0", "language=fra", video
    )
    out, report = remuxed(video, tmp_path)
    assert report.warnings == []
    subtitles = [track for track in contents(out).tracks if track.kind == "Subtitle"]
    assert [track.language for track in subtitles] == ["fra"]
    said = subprocess.run([find_ffmpeg(), "-i", out], capture_output=True, text=True, check=False).stderr
    for word in ("A film", "Somebody", "Chapter #0:1: start 1.000000, end 3.000000", "Two"):
        assert word in said
    assert_in_step(out)


def test_what_a_container_cannot_hold_is_told(tmp_path, extras):
    inputs, options = extras
    video = tmp_path / "captions.mp4"
    ffmpeg(*PICTURES, *sound(), *inputs, *options, *X264, "-c:s", "mov_text", video)
    plain = tmp_path / "captions.3gp"  # becomes mkv, which has no place for mov_text
    plain.write_bytes(video.read_bytes())
    out, report = remuxed(plain, tmp_path)
    assert out.suffix == ".mkv"
    assert len(report.warnings) == 1
    assert "cannot hold what captions.3gp has besides: subtitle 2 (mov_text)" in report.warnings[0]
    assert_in_step(out)


def test_the_tag_of_the_pictures_stays(tmp_path):
    video = make_video(tmp_path / "apple.mov", "-c:v", "libx265", "-preset", "ultrafast", "-tag:v", "hvc1")
    out, _ = remuxed(video, tmp_path)
    pictures = contents(out).pictures
    assert pictures is not None and "hvc1" in pictures.details
    assert_in_step(out)


def test_a_cover_is_no_video(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32:d=0.04", "-frames:v", "1", tmp_path / "cover.png")
    song = tmp_path / "song.mp3"
    ffmpeg(*sound(), "-i", tmp_path / "cover.png", "-map", "0", "-map", "1", "-c:v", "copy", song)
    with pytest.raises(AudioReadError, match="song.mp3 has no pictures to keep: leave remux out"):
        Remux().check(str(song))


def test_titles_need_not_be_utf8(tmp_path):
    video = make_video(tmp_path / "titled.mp4", *X264, "-metadata", "title=Cafe music")
    video.write_bytes(video.read_bytes().replace(b"Cafe", b"Caf\xe9"))
    assert_in_step(remuxed(video, tmp_path)[0])


def test_surround_stays_surround(tmp_path):
    channels = "|".join(f"0.3*sin(2*PI*{hz}*t)" for hz in (300, 400, 500, 60, 700, 800))
    video = tmp_path / "cinema.mp4"
    ffmpeg(
        *PICTURES, "-f", "lavfi", "-i", f"aevalsrc={channels}:s=48000:c=5.1:d=3", *X264, "-b:a", "500k", video
    )
    report = report_of(video, tmp_path / "out")
    report.residual = None
    (out,) = Remux().export(report, overwrite=False)
    assert "5.1" in contents(out).sounds[0].details
    with open_audio(out) as reader:
        samples = np.concatenate(list(reader.blocks(1 << 16)), axis=1)[:, 24_000:72_000]
    loudest = np.abs(np.fft.rfft(samples)).argmax(axis=1)  # in Hz: it is one second
    assert loudest.tolist() == [300, 400, 500, 60, 700, 800]


def test_all_videos_or_none(tmp_path):
    video = make_video(tmp_path / "clip.mp4")
    report = report_of(video, tmp_path / "out")
    (tmp_path / "out" / "residual.mp4").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        Remux().export(report, overwrite=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "residual.mp4",
        "residual.wav",
        "voice.wav",
    ]
    Remux().export(report, overwrite=True)
    assert_in_step(tmp_path / "out" / "voice.mp4")


def test_the_video_itself_is_never_replaced(tmp_path):
    video = make_video(tmp_path / "clip.mp4")
    before = video.read_bytes()
    report = report_of(video, tmp_path / "out")
    report.stems[0].path = str(Path(report.stems[0].path).rename(tmp_path / "clip.wav"))
    with pytest.raises(UserError):
        Remux().export(report, overwrite=True)
    assert video.read_bytes() == before


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_short_gaps_are_silence_too(tmp_path, suffix):
    whole, less = make_video(tmp_path / "whole.mkv", *X264, "-c:a", "aac"), tmp_path / "less.mkv"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:a", "noise=drop=between(pts*tb\\,0.9\\,0.96)", less)
    video = tmp_path / f"short{suffix}"
    ffmpeg("-i", less, "-c", "copy", video)
    assert beeps_s(video) == pytest.approx(flashes_s(video)[0], abs=AAC_FRAME_S + 0.002)


def test_sound_that_changes_its_channels(tmp_path):
    """As broadcasts do, between programmes."""
    for n, layout in enumerate(["mono", "stereo"]):
        options = [*X264, "-c:a", "aac", "-ac", str(n + 1), "-output_ts_offset", str(n * LENGTH_S)]
        make_video(tmp_path / f"{layout}.ts", *options)
    video = tmp_path / "both.ts"
    video.write_bytes((tmp_path / "mono.ts").read_bytes() + (tmp_path / "stereo.ts").read_bytes())
    flashes, _ = flashes_s(video)
    assert len(flashes) == 6
    assert beeps_s(video) == pytest.approx(flashes, abs=0.06)  # two encoders begin with a silent frame
