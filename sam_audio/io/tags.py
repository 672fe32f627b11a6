"""What is known of a recording beside its sound - tags, a cover, time code, markers - carried over to its stems.

Tags go by the names of Vorbis comments. Only those of `_FIELDS` are taken over: they say what the recording is, and are
as true of a stem. What was measured or made for the whole is not, and is left out: ReplayGain and loudness, lyrics and
their timing, encoders and their settings, gapless playback, ISRC, AcoustID and MusicBrainz numbers, play counts.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sam_audio.io.chunks import MOST_BYTES, Chunk, info_chunk, packed, part_of, read_chunks, texts_of

_MOST_READS = 100_000  # of hostile files; each can become an object in memory
_MOST_LETTERS = 1 << 16  # of one text
_MOST_TEXTS = 32  # of one name
_MOST_COVER_BYTES = 10 << 20  # the formats end at 16 MB


class _Names(NamedTuple):
    """Of one tag in each kind of file; None where it has no place."""

    id3: str
    mp4: str | None = None
    info: tuple[str, ...] = ()  # the first one is written
    asf: str | None = None
    aliases: tuple[str, ...] = ()  # in Vorbis comments and APEv2, whose names are theirs else


_FIELDS = {
    "title": _Names("TIT2", "\xa9nam", ("INAM",), "Title"),
    "artist": _Names("TPE1", "\xa9ART", ("IART",), "Author"),
    "album": _Names("TALB", "\xa9alb", ("IPRD",), "WM/AlbumTitle"),
    "albumartist": _Names("TPE2", "aART", (), "WM/AlbumArtist", ("album artist", "album_artist")),
    "composer": _Names("TCOM", "\xa9wrt", ("IMUS",), "WM/Composer"),
    "conductor": _Names("TPE3", None, (), "WM/Conductor"),
    "lyricist": _Names("TEXT", None, (), "WM/Writer"),
    "date": _Names("TDRC", "\xa9day", ("ICRD",), "WM/Year", ("year",)),
    "tracknumber": _Names("TRCK", "trkn", ("ITRK", "IPRT"), "WM/TrackNumber", ("track",)),
    "discnumber": _Names("TPOS", "disk", (), "WM/PartOfSet", ("disc",)),
    "genre": _Names("TCON", "\xa9gen", ("IGNR",), "WM/Genre"),
    "comment": _Names("COMM", "\xa9cmt", ("ICMT",), "Description", ("description",)),
    "grouping": _Names("TIT1", "\xa9grp", (), "WM/ContentGroupDescription"),
    "organization": _Names("TPUB", None, (), "WM/Publisher", ("publisher", "label")),
    "copyright": _Names("TCOP", "cprt", ("ICOP",), "Copyright"),
    "language": _Names("TLAN", None, ("ILNG",), "WM/Language"),
    "bpm": _Names("TBPM", "tmpo", (), "WM/BeatsPerMinute"),
    "initialkey": _Names("TKEY", None, (), "WM/InitialKey", ("key",)),
    "compilation": _Names("TCMP", "cpil", (), "WM/IsCompilation"),
}
_TOTALS = {"tracknumber": ("tracktotal", "totaltracks"), "discnumber": ("disctotal", "totaldiscs")}


@dataclass(frozen=True)
class Cover:
    """A picture as a file holds it.

    Args:
        mime: such as ``image/png``.
        data: the bytes of a picture file.
    """

    mime: str
    data: bytes


@dataclass(frozen=True)
class Metadata:
    """What a stem takes over.

    Args:
        tags: texts by the names of `_FIELDS`; track and disc numbers as ``3`` or ``3/12``.
        cover: the picture.
        chunks: of wav files: ``bext``, ``iXML``, ``cue``, ``smpl`` and ``LIST adtl``.
    """

    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cover: Cover | None = None
    chunks: tuple[Chunk, ...] = ()

    def of_stem(self, stem: str, track: str) -> Metadata:
        """The title says which stem it is: ``Song (guitar)``, with the track for a title where there is none."""
        if not self.tags and self.cover is None:
            return self
        title = self.tags.get("title", (track,))[0]
        return replace(self, tags={**self.tags, "title": (_text(f"{title} ({stem})"),)})

    def of_part(self, start_frame: int, frames: int | None) -> Metadata:
        """What is true of a part of the recording, see `sam_audio.io.chunks.part_of`."""
        return replace(self, chunks=tuple(part_of(self.chunks, start_frame, frames)))

    def wav_chunks(self) -> bytes:
        """All of it as chunks of a wav file; INFO holds the common texts, id3 everything where that is not enough."""
        chunks = list(self.chunks)
        texts = {_FIELDS[key].info[0]: values[0] for key, values in self.tags.items() if _FIELDS[key].info}
        if texts:
            chunks.append(info_chunk(texts))
        if self.cover or any(len(values) > 1 or not _FIELDS[key].info for key, values in self.tags.items()):
            id3 = BytesIO()
            _write_id3(id3, self)
            chunks.append(Chunk(b"id3 ", id3.getvalue()))
        return packed(map(_of_even_length, chunks))


def _of_even_length(chunk: Chunk) -> Chunk:
    """Padded within, since libsndfile does not look for a pad between the chunks of RF64."""
    pad = b" " if chunk.name == b"iXML" else b"\0"
    return Chunk(chunk.name, chunk.body + pad * (len(chunk.body) % 2))


class MutagenMissingError(Exception):
    """There may be tags, but nothing that reads them."""


def read_metadata(path: Path, name: str) -> tuple[Metadata, list[str]]:
    """What is known of a recording, and sentences about what of it cannot be taken over.

    However damaged or large it is, it takes a bounded time and memory, and never keeps the sound from being read.

    Args:
        path: of the recording.
        name: of the recording, for the sentences.
    """
    found, chunks, warnings = _Found(), list[Chunk](), list[str]()
    try:
        chunks = read_chunks(path)
        _read_file(path, found, chunks)
    except MutagenMissingError:
        why = 'reading them needs mutagen: run pip install "separate-by-prompt[tags]", or say tags=False'
        warnings.append(f"the tags of {name} are not taken over, for {why}")
    except Exception as error:  # mutagen lets through whatever damaged tags do to it
        what = str(error) if isinstance(error, ValueError) else type(error).__name__
        warnings.append(
            f"tags of {name} are damaged or too large ({what}): what cannot be read is left out of the stems"
        )
    for key, text in texts_of(chunks).items():  # after id3, which can say more
        found.add(_BY_INFO.get(key), [text])
    kept = tuple(c for c in chunks if c.name in (b"bext", b"iXML", b"cue ", b"smpl") or c.body[:4] == b"adtl")
    warnings += [f"{what} of {name} is too large and left out of the stems" for what in found.too_large]
    return Metadata(found.tags, found.cover, kept), warnings


def write_tags(file: BinaryIO, format: str, metadata: Metadata) -> None:
    """Adds tags and the cover to a finished file, open for reading and writing; wav has its chunks instead.

    Raises:
        OSError: the disk refuses.
    """
    write = {"flac": _write_flac, "ogg": _write_ogg, "opus": _write_opus, "mp3": _write_id3}.get(format)
    if write is None or not (metadata.tags or metadata.cover):
        return
    try:
        from mutagen import MutagenError
    except ImportError:  # so the recording is a wav, whose texts have gone as far as they can
        return
    file.seek(0)
    try:
        write(file, metadata)
    except MutagenError as error:
        if error.args and isinstance(error.args[0], OSError):
            raise error.args[0] from None
        raise


class _Found:
    """Tags as they come in; the first of a kind counts."""

    def __init__(self) -> None:
        self.tags: dict[str, tuple[str, ...]] = {}
        self.cover: Cover | None = None
        self.too_large: list[str] = []

    def add(self, key: str | None, values: Iterable[Any]) -> None:
        if key is None or key in self.tags:
            return
        texts = [text for value in values if (text := _text(str(value)))]
        if any(len(text) > _MOST_LETTERS for text in texts) or len(texts) > _MOST_TEXTS:
            self.too_large.append(f"the tag {key}")
        elif texts:
            self.tags[key] = tuple(dict.fromkeys(texts))

    def add_cover(self, mime: str, data: bytes) -> None:
        if self.cover is not None or not data:
            return
        if len(data) > _MOST_COVER_BYTES:
            self.too_large.append("the cover")
            return
        # what they are said to be is often wrong, and players go by it
        for start, known in ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif")):
            mime = known if data.startswith(start) else mime
        if (
            mime.isascii() and mime.startswith("image/") and len(mime) < 40
        ):  # else a link, or nobody knows what
            self.cover = Cover(mime, data)


def _text(text: str) -> str:
    """Without what no tag can hold: NULs, half characters, space around it."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode().strip()


# ---- reading -------------------------------------------------------------------------------------------

_BY_INFO = {name: key for key, names in _FIELDS.items() for name in names.info}
_BY_ID3 = {names.id3: key for key, names in _FIELDS.items()}
_BY_MP4 = {names.mp4: key for key, names in _FIELDS.items() if names.mp4}
_BY_ASF = {names.asf: key for key, names in _FIELDS.items() if names.asf}
_BY_VORBIS = {name: key for key, names in _FIELDS.items() for name in (key, *names.aliases)}


class _Limited:
    """A file of which only so much can be read, in so many pieces: all that mutagen can be made to hold."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bytes, self._reads = MOST_BYTES, _MOST_READS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        most = self._bytes + 1
        data = self._file.read(most if size < 0 else min(size, most))
        self._bytes -= len(data)
        self._reads -= 1
        if self._bytes < 0 or self._reads < 0:
            raise ValueError(f"there is more of them than {MOST_BYTES >> 20} MB")
        return data


def _read_file(path: Path, found: _Found, chunks: Iterable[Chunk]) -> None:
    """Tags of any file, by its content."""
    with path.open("rb") as file:
        start = file.read(16)
        if start[:3] == b"ID3":  # some put it before a flac, whose own tags count
            file.seek(10 + _synchsafe(start[6:10]))
            if file.read(4) == b"fLaC":
                start = b"fLaC"
        read = next((read for begin, read in _READERS if start[slice(*begin[0])] == begin[1]), None)
        id3 = [body for name, body in chunks if name.upper() == b"ID3 "]
        if read is None and not id3:
            return
        try:
            import mutagen  # noqa: F401
        except ImportError:
            raise MutagenMissingError from None
        for body in id3:
            _read_id3(BytesIO(body), found)
        if read is not None:
            file.seek(0)
            read(_Limited(file), found)


def _synchsafe(size: bytes) -> int:
    value = 0
    for byte in size:
        value = value << 7 | byte & 0x7F
    return value


def _read_id3(file: Any, found: _Found) -> None:
    from mutagen.id3 import APIC, ID3, Frames, Frames_2_2, ID3NoHeaderError

    known = {
        name: _uncompressed(frame) if len(name) == 4 else frame
        for name, frame in {**Frames, **Frames_2_2}.items()
        if any(base.__name__ in (*_BY_ID3, "APIC", "TYER", "TDAT", "TIME") for base in frame.__mro__)
    }
    try:
        tags = ID3(file, known_frames=known)
    except ID3NoHeaderError:
        return
    for frame in tags.values():
        key = _BY_ID3.get(frame.FrameID)
        if key == "comment":
            # others are notes of programs, such as iTunNORM
            if frame.desc.lower() in ("", "comment", "description"):
                found.add(key, frame.text)
        elif key is not None:
            found.add(key, frame.genres if key == "genre" else frame.text)
    pictures: list[Any] = [frame for frame in tags.values() if isinstance(frame, APIC)]
    for picture in sorted(pictures, key=lambda picture: picture.type != 3):
        found.add_cover(_mime(picture.mime), picture.data)


def _uncompressed(frame: Any) -> Any:
    """A kind of ID3 frame that is not unpacked: a kilobyte could become a megabyte, and nobody packs them."""
    from mutagen.id3 import ID3JunkFrameError

    def from_data(kind: Any, header: Any, flags: int, data: bytes) -> Any:
        if flags & (frame.FLAG24_COMPRESS if header.version >= header._V24 else frame.FLAG23_COMPRESS):
            raise ID3JunkFrameError
        return super(kind, kind)._fromData.__func__(kind, header, flags, data)

    return type(frame.__name__, (frame,), {"_fromData": classmethod(from_data)})


def _mime(mime: str) -> str:
    """ID3 2.2 knows pictures by three letters."""
    return {"PNG": "image/png", "JPG": "image/jpeg"}.get(mime.upper(), mime)


def _read_flac(file: Any, found: _Found) -> None:
    from mutagen.flac import FLAC

    audio = FLAC(file)
    if audio.tags is not None:
        _take_vorbis(audio.tags, found)
    _take_pictures(audio.pictures, found)


def _read_ogg(file: Any, found: _Found) -> None:
    from mutagen import File
    from mutagen.flac import Picture
    from mutagen.oggflac import OggFLAC
    from mutagen.oggopus import OggOpus
    from mutagen.oggspeex import OggSpeex
    from mutagen.oggvorbis import OggVorbis

    audio = File(file, options=[OggVorbis, OggOpus, OggFLAC, OggSpeex])
    if audio is None or audio.tags is None:
        return
    _take_vorbis(audio.tags, found)
    pictures = []
    for text in audio.tags.get("metadata_block_picture", []):
        try:
            pictures.append(Picture(base64.b64decode(text)))
        except (binascii.Error, ValueError, struct.error) as error:
            raise ValueError("its cover cannot be read") from error
    _take_pictures(pictures, found)


def _take_vorbis(tags: Any, found: _Found) -> None:
    texts: dict[str, list[str]] = {}
    for name, value in tags:
        texts.setdefault(name.lower(), []).append(value)
    for name, values in texts.items():
        key = _BY_VORBIS.get(name)
        total = next((texts[t][0] for t in _TOTALS.get(key or "", ()) if t in texts), None)
        if total is not None and "/" not in values[0]:
            values = [f"{values[0]}/{total}"]
        found.add(key, values)


def _take_pictures(pictures: Iterable[Any], found: _Found) -> None:
    for picture in sorted(pictures, key=lambda picture: picture.type != 3):
        found.add_cover(picture.mime, picture.data)


def _read_mp4(file: Any, found: _Found) -> None:
    from mutagen.mp4 import MP4, MP4Cover

    tags: Any = MP4(file).tags or {}
    for name, values in tags.items():
        key = _BY_MP4.get(name)
        if key in _TOTALS:
            values = [f"{n}/{total}" if total else str(n) for n, total in values if n]
        elif key == "compilation":
            values = ["1"] if values else []
        found.add(key, values if isinstance(values, list) else [values])
        for cover in values if name == "covr" else ():
            is_png = cover.imageformat == MP4Cover.FORMAT_PNG
            found.add_cover("image/png" if is_png else "image/jpeg", bytes(cover))


def _read_asf(file: Any, found: _Found) -> None:
    from mutagen.asf import ASF

    tags: Any = ASF(file).tags
    for name, value in tags or ():
        found.add(_BY_ASF.get(name), [value])


def _read_ape(file: Any, found: _Found) -> None:
    from mutagen.apev2 import APENoHeaderError, APEv2

    try:
        tags = APEv2(file)
    except APENoHeaderError:
        return
    for name, value in tags.items():
        if name.lower() == "cover art (front)":
            found.add_cover("", value.value.partition(b"\0")[2])
        elif (key := _BY_VORBIS.get(name.lower())) is not None:
            found.add(key, list(value))


def _read_mp3(file: Any, found: _Found) -> None:
    """ID3, at the beginning or the old kind at the end, and what that lacks of APEv2."""
    _read_id3(file, found)
    file.seek(0)
    _read_ape(file, found)


_READERS: list[tuple[tuple[tuple[int, int], bytes], Callable[[Any, _Found], None]]] = [
    (((0, 3), b"ID3"), _read_mp3),
    (((0, 4), b"fLaC"), _read_flac),
    (((0, 4), b"OggS"), _read_ogg),
    (((4, 8), b"ftyp"), _read_mp4),
    (((0, 4), b"\x30\x26\xb2\x75"), _read_asf),
    *((((0, 4), start), _read_ape) for start in (b"MAC ", b"wvpk", b"MPCK", b"MP+\x07")),
    *((((0, 2), bytes([0xFF, byte])), _read_mp3) for byte in range(0xE0, 0x100)),
]

# ---- writing -------------------------------------------------------------------------------------------


def _write_id3(file: Any, metadata: Metadata) -> None:
    from mutagen.id3 import APIC, COMM, ID3, Frames

    tags = ID3()
    for key, values in metadata.tags.items():
        texts = list(values)
        if key == "comment":
            tags.add(COMM(encoding=3, lang="XXX", desc="", text=texts))
        else:
            tags.add(Frames[_FIELDS[key].id3](encoding=3, text=texts))
    if metadata.cover is not None:
        tags.add(APIC(encoding=3, mime=metadata.cover.mime, type=3, data=metadata.cover.data))
    tags.save(file)


def _write_flac(file: Any, metadata: Metadata) -> None:
    from mutagen.flac import FLAC

    audio: Any = FLAC(file)
    if audio.tags is None:
        audio.add_tags()
    audio.tags.update(_vorbis(metadata.tags))
    if metadata.cover is not None:
        audio.add_picture(_picture(metadata.cover))
    file.seek(0)
    audio.save(file)


def _write_ogg(file: Any, metadata: Metadata) -> None:
    from mutagen.oggvorbis import OggVorbis

    _save_ogg(OggVorbis(file), file, metadata)


def _write_opus(file: Any, metadata: Metadata) -> None:
    from mutagen.oggopus import OggOpus

    _save_ogg(OggOpus(file), file, metadata)


def _save_ogg(audio: Any, file: Any, metadata: Metadata) -> None:
    audio.tags.update(_vorbis(metadata.tags))
    if metadata.cover is not None:
        audio["metadata_block_picture"] = base64.b64encode(_picture(metadata.cover).write()).decode()
    file.seek(0)
    audio.save(file)


def _vorbis(tags: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    out = {key: list(values) for key, values in tags.items()}
    for key, (total, _) in _TOTALS.items():
        if key in tags:
            number, _, of = tags[key][0].partition("/")
            out[key] = [number]
            if of:
                out[total] = [of]
    return out


def _picture(cover: Cover) -> Any:
    from mutagen.flac import Picture

    picture = Picture()
    picture.type, picture.mime, picture.data = 3, cover.mime, cover.data
    return picture
