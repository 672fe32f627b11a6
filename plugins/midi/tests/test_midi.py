import mido
import numpy as np
import pytest
from sam_audio_midi import Midi, Note, read_score

from sam_audio.errors import PromptError
from sam_audio.types import Condition, Grid


@pytest.fixture
def score(tmp_path):
    """Two tracks; the tempo doubles after one beat of 0.5 s."""
    tempo = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    tempo.append(mido.MetaMessage("set_tempo", tempo=250_000, time=480))
    tracks = [tempo]
    for name, note in (("Bass", 45), ("Lead", 69)):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        track.append(mido.Message("note_on", note=note, velocity=80, time=480))
        track.append(mido.Message("note_on", note=note, velocity=0, time=480))
        track.append(mido.Message("note_on", note=36, velocity=80, channel=9))
        tracks.append(track)
    path = tmp_path / "score.mid"
    mido.MidiFile(ticks_per_beat=480, tracks=tracks).save(path)
    return path


def test_notes_have_times_and_pitches(score):
    notes = read_score(score).notes
    assert [note.hz for note in notes] == pytest.approx([110, 440])
    assert [(note.start_s, note.end_s) for note in notes] == [(0.5, 0.75)] * 2


@pytest.mark.parametrize("track", ["lead", "3"])
def test_a_track_by_name_or_number(score, track):
    kind = Midi()
    value = kind.parse({"midi": score, "midi_track": track})
    assert value.notes == (Note(0.5, 0.75, 440.0),)
    (mask,) = kind.encode(value, Condition("x", None), None).masks
    gains = mask.gains(np.zeros((1, 1025, 50), np.complex64), Grid(48_000, 960, 1025, 0, 50))[0]
    a, between = (np.abs(np.linspace(0, 24_000, 1025) - hz).argmin() for hz in (440, 660))
    assert gains[a, 30] > 0.7 > 0.2 > gains[between, 30]
    assert gains[:, 5].max() < 0.1


def test_scores_that_cannot_be_used(score, tmp_path):
    (tmp_path / "text.mid").write_text("no score")
    with pytest.raises(PromptError, match="cannot|not a midi file"):
        read_score(tmp_path / "text.mid")
    with pytest.raises(PromptError, match="no track 'flute': it has 1, Bass, Lead"):
        read_score(score, "flute")
    with pytest.raises(PromptError, match="no notes"):
        read_score(score, "1")
    with pytest.raises(PromptError, match="not a file"):
        Midi().parse({"midi": tmp_path / "gone.mid"})
    with pytest.raises(PromptError, match="add --midi"):
        Midi().parse({"midi_track": "lead"})
