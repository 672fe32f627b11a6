"""What may be opened by ffmpeg and PyAV, and what containers hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from beeps import ffmpeg, make_video, sound

import sam_audio
from sam_audio.errors import AudioReadError
from sam_audio.io import open_audio
from sam_audio.io.containers import DEMUXERS, Track, UndecodableError, _parse, open_video, probe
from sam_audio.io.ffmpeg import find_ffmpeg

MESSAGES = """\
Input #0, matroska,webm, from 'file:a.mkv':
  Metadata:
    title           : A film
  Duration: 00:00:06.02, start: 1.400000, bitrate: 138 kb/s
  Chapters:
    Chapter #0:0: start 0.000000, end 1.000000
      Metadata:
        title           : Sound of one
  Stream #0:0: Video: h264 (High), yuv420p(tv, progressive), 160x120 [SAR 1:1 DAR 4:3], 30 fps, 1k tbn
  Stream #0:1(eng): Audio: aac (LC), 48000 Hz, stereo, fltp
    Metadata:
      title           : Dialogue
  Stream #0:2[0x102](deu): Audio: ac3, 48000 Hz, 5.1(side), fltp, 384 kb/s (default)
  Stream #0:3: Audio: none, 48000 Hz, stereo
  Stream #0:4: Video: png, rgb24(pc), 300x300, 90k tbr, 90k tbn (attached pic)
  Stream #0:5: Subtitle: subrip
At least one output file must be specified
"""


def test_what_ffmpeg_says_is_understood():
    contents = _parse(MESSAGES)
    assert contents.start_s == 1.4
    assert [track.codec for track in contents.tracks] == ["h264", "aac", "ac3", "none", "png", "subrip"]
    assert [track.index for track in contents.sounds] == [1, 2]
    assert contents.pictures is contents.tracks[0]
    assert contents.sound(None, "a.mkv").index == 2  # the default one
    assert contents.sound(1, "a.mkv").title == "Dialogue"
    assert contents.describe(contents.sounds[0]) == "number 1 (eng, Dialogue)"


def test_no_demuxer_that_reads_other_files():
    reaching = (
        "hls dash concat concatf sdp image2 image2pipe lavfi imf vobsub rtsp rtp applehttp webm_dash_manifest"
    )
    assert not set(DEMUXERS.split(",")) & set(reaching.split())


@pytest.fixture
def secret(tmp_path) -> Path:
    path = tmp_path / "secret.mp3"
    ffmpeg(*sound(), path)
    return path


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.wav", "list.ffconcat", "list"])
@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-VERSION:3\n#\xc3\x28\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\nfile://SECRET\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\n#\xff\xfe\nfile 'SECRET'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=\xff\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        b"<?xml version='1.0'?><!--\xff--><MPD><Period><AdaptationSet><Representation><BaseURL>SECRET</BaseURL>"
        b"</Representation></AdaptationSet></Period></MPD>",
    ],
)
def test_lists_of_other_files_are_refused(tmp_path, secret, name, text):
    path = tmp_path / name
    path.write_bytes(text.replace(b"SECRET", str(secret).encode()))
    with pytest.raises(AudioReadError):
        open_audio(path)
    pytest.importorskip("av")
    with pytest.raises(AudioReadError, match="not a video that can be read"):
        open_video(path)
    with pytest.raises(UndecodableError):
        probe(find_ffmpeg(), path)


def test_names_are_no_addresses_and_no_patterns(tmp_path, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    for name in ("http:clip.mp4", "-clip.mp4", "clip%03d.mp4", "concat:clip.mp4"):
        made = make_video(tmp_path / "made.mp4")
        made.rename(tmp_path / name)
        with open_video(Path(name)) as container:
            assert container.streams.video
        with open_audio(Path(name)) as reader:
            assert reader.channels == 1


def test_ffmpeg_and_pyav_are_opened_in_one_place():
    root = Path(sam_audio.__file__).parent
    opening = re.compile(r"\bav\.open\(|\"-i\"")
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if opening.search(path.read_text(encoding="utf-8")) and "training" not in path.parts
    }
    assert found == {"io/containers.py", "io/ffmpeg.py", "export/video.py", "export/stem_mp4.py"}
    for name in found - {"io/containers.py"}:
        text = (root / name).read_text(encoding="utf-8")
        assert text.count('"-i"') <= text.count("*GUARD_OPTIONS")


@pytest.mark.parametrize(
    "details, layout, n_unnamed",
    [
        ("aac (LC), 48000 Hz, stereo, fltp, 130 kb/s", "stereo", 0),
        ("ac3, 48000 Hz, 5.1(side), fltp, 384 kb/s (default)", "5.1(side)", 0),
        ("opus, 48000 Hz, ambisonic 1, fltp", "ambisonic 1", 0),
        ("pcm_s16le, 48000 Hz, 4 channels (FL+FR+TFL+TFR), s16", "FL+FR+TFL+TFR", 4),
        ("pcm_s16le, 48000 Hz, 10 channels, s16, 7680 kb/s", None, 10),
        ("pcm_s16le, 48000 Hz", None, 0),
    ],
)
def test_layouts_are_told(details, layout, n_unnamed):
    track = Track(0, "Audio", "x", None, details)
    assert (track.layout, track.n_unnamed) == (layout, n_unnamed)


def test_a_full_disk_is_filled_once(tmp_path, monkeypatch):
    """Where a container cannot hold a stream the next choice leaves it out; a full disk is no such reason."""
    from sam_audio.errors import UserError
    from sam_audio.export import video

    ran = []

    def full(command, **_):
        ran.append(command)
        return subprocess.CompletedProcess(command, 1, b"", b"av_write(): No space left on device\n")

    monkeypatch.setattr(video.subprocess, "run", full)
    monkeypatch.setattr(video, "_command", lambda *_: ["ffmpeg"])
    with pytest.raises(UserError, match="No space left"):
        video._mux(tmp_path / "a.mkv", _parse(MESSAGES), None, None, tmp_path / "out")
    assert len(ran) == 1
