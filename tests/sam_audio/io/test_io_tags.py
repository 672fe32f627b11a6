"""Tags and covers: taken over from any kind of file to any other, and never in the way of the sound."""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_audio.io import AudioWriter, open_audio
from sam_audio.io import tags as tags_module
from sam_audio.io.chunks import Chunk, info_chunk, packed
from sam_audio.io.tags import Cover, Metadata, read_metadata, write_tags

mutagen = pytest.importorskip("mutagen")

RATE = 48_000
FORMATS = ("wav", "flac", "mp3", "ogg", "opus")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(2000)
TAGS = {
    "title": ("Song",),
    "artist": ("Zoë", "吉他"),
    "album": ("First",),
    "albumartist": ("Band",),
    "composer": ("Bach",),
    "date": ("2026-11-28",),
    "tracknumber": ("3/12",),
    "discnumber": ("1",),
    "genre": ("Rock",),
    "comment": ("by hand",),
    "copyright": ("2026 us",),
    "bpm": ("120",),
    "initialkey": ("Am",),
    "compilation": ("1",),
}
WHOLE = Metadata(TAGS, Cover("image/png", PNG))


def write(path: Path, format: str, metadata: Metadata | None = WHOLE) -> Path:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (2, RATE // 4)).astype(np.float32)
    with AudioWriter(path, sample_rate=RATE, channels=2, format=format, metadata=metadata) as writer:
        writer.write(samples)
    return path


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FORMATS, FORMATS)))
def test_tags_go_from_every_format_to_every_other(tmp_path, first, second):
    source = write(tmp_path / f"a.{first}", first)
    found, warnings = read_metadata(source, "a")
    assert (found, warnings) == (WHOLE, [])
    path = write(tmp_path / f"b.{second}", second, found.of_stem("guitar", "a"))
    again, warnings = read_metadata(path, "b")
    assert again == Metadata({**TAGS, "title": ("Song (guitar)",)}, WHOLE.cover) and not warnings


@pytest.mark.parametrize("format", FORMATS)
def test_the_sound_is_the_same_with_tags(tmp_path, format):
    with (
        open_audio(write(tmp_path / "a", format)) as tagged,
        open_audio(write(tmp_path / "b", format, None)) as plain,
    ):
        for one, other in zip(tagged.blocks(RATE), plain.blocks(RATE), strict=True):
            assert np.array_equal(one, other)
        assert tagged.frames == plain.frames


def test_what_libsndfile_and_players_see(tmp_path):
    for format in ("flac", "ogg", "opus", "mp3", "wav"):
        with soundfile.SoundFile(write(tmp_path / f"a.{format}", format)) as file:
            assert (file.title, file.album) == ("Song", "First")


def test_of_mp4(tmp_path):
    av = pytest.importorskip("av")
    from mutagen.mp4 import MP4, MP4Cover

    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    audio = MP4(path)
    audio.update({"\xa9nam": "Song", "\xa9ART": "Zoë", "trkn": [(3, 12)], "disk": [(1, 0)], "tmpo": [120]})
    audio.update({"cpil": True, "\xa9lyr": "la la", "----:com.apple.iTunes:ACOUSTID_ID": b"x"})
    audio["covr"] = [MP4Cover(PNG, MP4Cover.FORMAT_PNG)]
    audio.save()
    found, warnings = read_metadata(path, "a")
    assert not warnings and found.cover == WHOLE.cover
    assert found.tags == {
        "title": ("Song",),
        "artist": ("Zoë",),
        "tracknumber": ("3/12",),
        "discnumber": ("1",),
        "bpm": ("120",),
        "compilation": ("1",),
    }


def id3(*frames, version: int = 4) -> bytes:
    from mutagen.id3 import ID3

    tags, out = ID3(), BytesIO()
    for frame in frames:
        tags.add(frame)
    if version == 3:
        tags.update_to_v23()
    tags.save(out, v2_version=version)
    return out.getvalue()


def test_of_older_id3(tmp_path):
    from mutagen.id3 import COMM, TCON, TDRC, TIT2

    made = id3(
        TIT2(3, ["Song"]),
        TCON(3, ["(17)"]),
        TDRC(3, ["2020"]),
        COMM(3, "eng", "", ["fine"]),
        COMM(3, "eng", "iTunNORM", ["0000"]),
        version=3,
    )
    mp3 = write(tmp_path / "a.mp3", "mp3", None).read_bytes()
    (tmp_path / "b.mp3").write_bytes(made + mp3)
    expected = {"title": ("Song",), "genre": ("Rock",), "date": ("2020",), "comment": ("fine",)}
    assert read_metadata(tmp_path / "b.mp3", "b")[0].tags == expected
    frames = b"TT2\0\0\x06\0Song\0" + b"TYE\0\0\x05\x002020"
    (tmp_path / "c.mp3").write_bytes(b"ID3\2\0\0\0\0\0" + bytes([len(frames)]) + frames + mp3)
    assert read_metadata(tmp_path / "c.mp3", "c")[0].tags == {"title": ("Song",), "date": ("2020",)}
    v1 = struct.pack("3s30s30s30s4s30sB", b"TAG", b"Song", b"Zoe", b"First", b"1999", b"", 17)
    (tmp_path / "d.mp3").write_bytes(mp3 + v1)
    expected = {
        "title": ("Song",),
        "artist": ("Zoe",),
        "album": ("First",),
        "date": ("1999",),
        "genre": ("Rock",),
    }
    assert read_metadata(tmp_path / "d.mp3", "d")[0].tags == expected


def test_of_apev2_and_of_a_flac_behind_id3(tmp_path):
    from mutagen.apev2 import APEv2
    from mutagen.id3 import TIT2

    path = write(tmp_path / "a.mp3", "mp3", None)
    ape = APEv2()
    ape.update({"Title": "Song", "Year": "2020", "Track": "3/12", "Album Artist": "Band"})
    ape.save(str(path))
    expected = {"title": ("Song",), "date": ("2020",), "tracknumber": ("3/12",), "albumartist": ("Band",)}
    assert read_metadata(path, "a")[0].tags == expected
    flac = write(tmp_path / "a.flac", "flac").read_bytes()
    (tmp_path / "b.flac").write_bytes(id3(TIT2(3, ["other"])) + flac)
    assert read_metadata(tmp_path / "b.flac", "b")[0] == WHOLE


def test_what_would_be_wrong_for_a_stem_is_left_out(tmp_path):
    path = write(tmp_path / "a.flac", "flac", Metadata({"title": ("Song",)}))
    audio = mutagen.File(path)
    audio.update(
        {
            "replaygain_track_gain": "-8 dB",
            "acoustid_id": "x",
            "musicbrainz_trackid": "x",
            "isrc": "x",
            "lyrics": "[00:01.00]la",
            "encoder": "x",
        }
    )
    audio.save()
    assert read_metadata(path, "a")[0].tags == {"title": ("Song",)}


def test_titles_of_stems():
    assert Metadata().of_stem("guitar", "a") == Metadata()
    assert Metadata({"artist": ("Zoë",)}).of_stem("guitar", "take 3").tags["title"] == ("take 3 (guitar)",)
    assert Metadata({}, WHOLE.cover).of_stem("guitar", "a").tags == {"title": ("a (guitar)",)}


def id3_tag(name: bytes, body: bytes, flags: int = 0) -> bytes:
    def size(n: int) -> bytes:
        return bytes(n >> shift & 0x7F for shift in (21, 14, 7, 0))

    frame = name + size(len(body)) + struct.pack(">H", flags) + body
    return b"ID3\4\0\0" + size(len(frame)) + frame


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    bomb = struct.pack(">I", 1 << 27) + zlib.compress(b"\3" + b"a" * (1 << 24), 9)
    path = tmp_path / "a.mp3"
    path.write_bytes(id3_tag(b"TIT2", bomb, flags=0x0009) + b"\xff\xfb" + bytes(100))

    def refuse(*_):
        raise AssertionError("it was unpacked")

    monkeypatch.setattr(zlib, "decompress", refuse)
    assert read_metadata(path, "a") == (Metadata(), [])


def test_tags_that_are_too_large_are_left_out_with_a_word(tmp_path):
    path = tmp_path / "a.mp3"
    path.write_bytes(id3_tag(b"TIT2", b"\3" + b"a" * 70_000))
    metadata, (warning,) = read_metadata(path, "a.mp3")
    assert metadata == Metadata() and "the tag title of a.mp3 is too large" in warning
    path.write_bytes(id3_tag(b"APIC", b"\3image/png\0\3\0" + b"\x89PNG" + bytes(11 << 20)))
    metadata, (warning,) = read_metadata(path, "a.mp3")
    assert metadata == Metadata() and "the cover of a.mp3 is too large" in warning
    path.write_bytes(id3_tag(b"PRIV", bytes(17 << 20)))
    metadata, (warning,) = read_metadata(path, "a.mp3")
    assert metadata == Metadata() and "16 MB" in warning and warning.startswith("tags of a.mp3")


def test_many_small_pieces_come_to_an_end(tmp_path):
    atom = struct.pack(">I4s", 8, b"free")
    path = tmp_path / "a.m4a"
    path.write_bytes(struct.pack(">I4s8s", 16, b"ftyp", b"M4A \0\0\0\0") + atom * 200_000)
    metadata, (warning,) = read_metadata(path, "a")
    assert metadata == Metadata() and "damaged or too large" in warning


HOSTILE = {
    "flac": lambda: b"fLaC",
    "ogg": lambda: b"OggS",
    "mp4": lambda: (
        struct.pack(">I4s8s", 16, b"ftyp", b"M4A \0\0\0\0") + struct.pack(">I4s", 8, b"moov") * 2000
    ),
    "asf": lambda: b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c" + b"\xff" * 30,
    "ape": lambda: b"MAC " + b"APETAGEX" + b"\xff" * 24,
    "id3": lambda: b"ID3\4\0\0\x7f\x7f\x7f\x7fTIT2",
    "id3 in wav": lambda: b"RIFF\x18\0\0\0WAVEid3 \x0c\0\0\0ID3\4\0\x40\0\0\0\x7fAA",
    "deep mp4": lambda: (
        b"\0\0\0\x10ftypM4A \0\0\0\0"
        + b"".join(struct.pack(">I4s", 8 * n, b"moov") for n in range(3000, 0, -1))
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tags_are_told_and_left_out(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(HOSTILE[kind]())
    metadata, warnings = read_metadata(path, "a")
    assert metadata == Metadata() and all(w.endswith("left out of the stems") for w in warnings)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    small = Metadata(TAGS, Cover("image/png", PNG[:50]))
    return {format: write(folder / f"a.{format}", format, small).read_bytes()[:3000] for format in FORMATS}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=8)), max_size=5),
    st.integers(0, 3000),
)
def test_no_damage_breaks_reading_and_what_is_read_can_be_written(
    tmp_path_factory, originals, format, damages, end
):
    content = bytearray(originals[format])
    for at, damage in damages:
        content[at : at + len(damage)] = damage
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[:end])
    metadata, warnings = read_metadata(path, "a")
    assert len(warnings) <= 5
    metadata.of_stem("guitar", "a").wav_chunks()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["flac", "ogg", "opus", "mp3"]),
    st.dictionaries(st.sampled_from(list(tags_module._FIELDS)), st.text(max_size=50), max_size=8),
    st.none() | st.binary(min_size=1, max_size=100),
)
def test_any_text_can_be_written(tmp_path_factory, plain, format, texts, picture):
    found = tags_module._Found()
    for key, text in texts.items():
        found.add(key, [text])
    cover = None if picture is None else Cover("image/png", picture)
    file = BytesIO(plain[format])
    write_tags(file, format, Metadata(found.tags, cover))
    Metadata(found.tags, cover).wav_chunks()
    assert file.getvalue().startswith((b"fLaC", b"OggS", b"ID3", b"\xff"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return {format: write(folder / f"a.{format}", format, None).read_bytes() for format in FORMATS}


def test_a_damaged_cover_is_told(tmp_path):
    path = write(tmp_path / "a.ogg", "ogg", Metadata({"title": ("Song",)}))
    audio = mutagen.File(path)
    audio["metadata_block_picture"] = base64.b64encode(b"x").decode()
    audio.save()
    metadata, (warning,) = read_metadata(path, "a.ogg")
    assert metadata == Metadata({"title": ("Song",)}) and "tags of a.ogg are damaged" in warning


def test_a_full_disk_is_a_full_disk(plain):
    class Full(BytesIO):
        def write(self, data):
            if data:
                raise OSError(28, "No space left on device")
            return 0

    with pytest.raises(OSError, match="No space left"):
        write_tags(Full(plain["mp3"]), "mp3", WHOLE)


def test_without_mutagen_it_is_told_what_brings_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac", "flac")
    wav = tmp_path / "a.wav"
    wav.write_bytes(b"RIFF\0\0\0\0WAVE" + packed([info_chunk({"INAM": "Song"}), Chunk(b"iXML", b"<x/>")]))
    monkeypatch.setitem(__import__("sys").modules, "mutagen", None)
    metadata, (warning,) = read_metadata(path, "a.flac")
    assert metadata == Metadata() and "separate-by-prompt[tags]" in warning and "tags=False" in warning
    metadata, warnings = read_metadata(wav, "a.wav")
    assert metadata.tags == {"title": ("Song",)} and len(metadata.chunks) == 1 and not warnings
    for format in ("wav", "flac"):
        write(tmp_path / f"stem.{format}", format, metadata)
