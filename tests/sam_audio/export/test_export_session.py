"""Sessions read back by independent readers: every position, fader and name as it was."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import tiny
from typer.testing import CliRunner

from sam_audio.errors import AudioWriteError, OutputExistsError, UserError
from sam_audio.export.stem_mp4 import _atoms, _top_atoms
from sam_audio.export.timeline import MarkedSpan, Session, Track, prompts_of_report, session_of
from sam_audio.export.workstation import session_exporter
from sam_audio.io import read_audio
from sam_audio.io.ffmpeg import find_ffmpeg
from sam_audio.types import Span

RATE = 44_100
SPANS = (MarkedSpan("dog barking", Span(0.1, 1 / 3)), MarkedSpan('a "bang" & <more>', Span(0.7, 0.9123456)))
STARTS = (0, 0, 0, 12_345)


@pytest.fixture
def session(tmp_path):
    """A mixture and three stems, one of them placed in the middle of nowhere."""
    mixture = tiny.noise(2, 1.1, RATE)
    parts = {"mix": mixture, "guitar": mixture * 0.5, "dog-barking": mixture * 0.2, "residual": mixture * 0.3}
    (tmp_path / "stems").mkdir()
    tracks = []
    faders = {"guitar": (-3.7, -0.25), "dog-barking": (2.0, 1.0)}
    for (name, samples), start in zip(parts.items(), STARTS, strict=True):
        path = tmp_path / ("mix.wav" if name == "mix" else f"stems/{name}.wav")
        soundfile.write(path, samples.T, RATE, subtype="FLOAT")
        gain, pan = faders.get(name, (0.0, 0.0))
        title = name.replace("-", " ")
        tracks.append(
            Track(title, path, samples.shape[1], 2, gain, pan, name == "mix", name == "guitar", start)
        )
    return Session("mix", tuple(tracks), RATE, SPANS, 97.5)


def export(session, path, format):
    return session_exporter(format).save(session, path)


def samples_of(text):
    """A position in seconds as a sample; exact, or the test fails."""
    position = float(text) * RATE
    assert abs(position - round(position)) < 1e-6
    return round(position)


# ---- DAWproject ------------------------------------------------------------------------------------------


def dawproject(session, folder):
    with zipfile.ZipFile(export(session, folder / "x.dawproject", "dawproject")) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("content", ['{"files": [5]}', '{"files": [{"stems": [{"prompt": "dog"}]}]}'])
def test_what_is_no_report_is_one_sentence(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(UserError, match="r.json is not what separate --report wrote: it "):
        prompts_of_report(path)


def test_dawproject_gives_everything_back(session, tmp_path):
    files = dawproject(session, tmp_path)
    root = ElementTree.fromstring(files["project.xml"])
    assert float(root.find("Transport/Tempo").get("value")) == 97.5
    lanes = {lane.get("track"): lane for lane in root.findall("Arrangement/Lanes/Lanes")}
    assert root.find("Arrangement/Lanes").get("timeUnit") == "seconds"
    tracks = [t for t in root.findall("Structure/Track") if t.find("Channel").get("role") == "regular"]
    assert len(tracks) == len(session.tracks)
    for element, track in zip(tracks, session.tracks, strict=True):
        channel = element.find("Channel")
        assert element.get("name") == track.name
        assert 20 * np.log10(float(channel.find("Volume").get("value"))) == pytest.approx(track.gain_db)
        assert float(channel.find("Pan").get("value")) * 2 - 1 == pytest.approx(track.pan)
        assert channel.find("Mute").get("value") == str(track.mute).lower()
        assert channel.get("solo") == str(track.solo).lower()
        clip = lanes[element.get("id")].find("Clips/Clip")
        assert samples_of(clip.get("time")) == track.start_frame
        assert samples_of(clip.get("duration")) == track.frames
        audio = clip.find("Audio")
        assert (audio.get("sampleRate"), audio.get("channels")) == (str(RATE), "2")
        assert files[audio.find("File").get("path")] == track.path.read_bytes()
    markers = [(m.get("name"), float(m.get("time"))) for m in root.findall("Arrangement/Markers/Marker")]
    expected = [
        place for s in SPANS for place in ((s.name, s.span.start_s), (f"{s.name} (end)", s.span.end_s))
    ]
    assert markers == expected


def test_dawproject_ids_are_unique_and_every_reference_has_its_aim(session, tmp_path):
    root = ElementTree.fromstring(dawproject(session, tmp_path)["project.xml"])
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(set(ids)) == len(ids)
    references = [e.get(key) for e in root.iter() for key in ("track", "destination") if e.get(key)]
    assert references and set(references) <= set(ids)


def schema(name):
    """The published schema: in tests/assets/dawproject, or in the folder that DAWPROJECT_SCHEMA names."""
    folder = Path(os.environ.get("DAWPROJECT_SCHEMA", Path(__file__).parents[2] / "assets" / "dawproject"))
    if not (folder / name).is_file():
        pytest.skip(f"no {name}: set DAWPROJECT_SCHEMA to a checkout of github.com/bitwig/dawproject")
    return pytest.importorskip("xmlschema").XMLSchema(folder / name)


@pytest.mark.parametrize(("name", "part"), [("Project.xsd", "project.xml"), ("MetaData.xsd", "metadata.xml")])
@pytest.mark.parametrize("spans", [(), SPANS])
def test_dawproject_is_valid_by_the_published_schema(session, tmp_path, name, part, spans):
    one = Session(session.name, session.tracks, session.sample_rate, spans)
    schema(name).validate(dawproject(one, tmp_path)[part].decode())


# ---- REAPER ----------------------------------------------------------------------------------------------


def test_reaper_gives_everything_back(session, tmp_path):
    rpp = pytest.importorskip("rpp")
    folder = tmp_path / "project"
    text = export(session, folder / "x.rpp", "reaper").read_text()
    root = rpp.loads(text)
    assert root.tag == "REAPER_PROJECT"
    assert float(root.find("TEMPO")[1]) == 97.5
    assert int(root.find("SAMPLERATE")[1]) == RATE
    for element, track in zip(root.findall("TRACK"), session.tracks, strict=True):
        assert element.find("NAME")[1] == track.name
        assert 20 * np.log10(float(element.find("VOLPAN")[1])) == pytest.approx(track.gain_db)
        assert float(element.find("VOLPAN")[2]) == track.pan
        assert element.find("MUTESOLO")[1:3] == [str(int(track.mute)), str(int(track.solo))]
        item = element.find("ITEM")
        assert samples_of(item.find("POSITION")[1]) == track.start_frame
        assert samples_of(item.find("LENGTH")[1]) == track.frames
        source = item.find("SOURCE")
        assert source.attrib[0] == "WAVE"
        assert (folder / source.find("FILE")[1]).resolve() == track.path.resolve()
    markers = root.findall("MARKER")
    assert [float(m[2]) for m in markers] == [t for s in SPANS for t in (s.span.start_s, s.span.end_s)]
    assert [m[3] for m in markers[::2]] == [s.name for s in SPANS]


def test_reaper_refuses_what_it_cannot_play(session, tmp_path):
    odd = Session("x", (Track("x", tmp_path / "x.m4a", 1, 1),), RATE)
    with pytest.raises(UserError, match="wav or flac"):
        export(odd, tmp_path / "x.rpp", "reaper")
    assert not (tmp_path / "x.rpp").exists()


# ---- Audacity, OTIO --------------------------------------------------------------------------------------


def test_audacity_labels(session, tmp_path):
    rows = [
        line.split("\t") for line in export(session, tmp_path / "x.txt", "audacity").read_text().splitlines()
    ]
    assert [row[2] for row in rows] == [s.name for s in SPANS]
    np.testing.assert_allclose(
        [[float(row[0]), float(row[1])] for row in rows],
        [[s.span.start_s, s.span.end_s] for s in SPANS],
        atol=1e-9,
    )
    plain = Session("x", session.tracks, RATE)
    rows = [
        line.split("\t") for line in export(plain, tmp_path / "y.txt", "audacity").read_text().splitlines()
    ]
    assert [round(float(row[0]) * RATE) for row in rows] == list(STARTS)


def test_a_list_of_files_names_all_sounds_and_where_they_begin(session, tmp_path):
    listed = export(session, tmp_path / "x.lof", "lof")
    found = re.findall(r'^file "(.+)" offset ([\d.]+)$', listed.read_text(), re.MULTILINE)
    assert [(tmp_path / path).resolve() for path, _ in found] == [
        track.path.resolve() for track in session.tracks
    ]
    assert [round(float(begin) * RATE) for _, begin in found] == list(STARTS)


def test_otio_gives_everything_back(session, tmp_path):
    otio = pytest.importorskip("opentimelineio")
    line = otio.adapters.read_from_file(str(export(session, tmp_path / "x.otio", "otio")))
    assert line.name == "mix"
    for row, track in zip(line.tracks, session.tracks, strict=True):
        assert (row.name, row.kind, row.enabled) == (track.name, "Audio", not track.mute)
        clip = next(iter(row.find_clips()))
        place = row.range_of_child(clip)
        assert (place.start_time.value, place.duration.value) == (track.start_frame, track.frames)
        assert place.start_time.rate == RATE
        assert clip.media_reference.target_url == track.path.as_uri()
        assert row.metadata["sam_audio"]["gain_db"] == track.gain_db
        assert row.metadata["sam_audio"]["pan"] == track.pan
    for marker, marked in zip(line.tracks.markers, SPANS, strict=True):
        assert marker.name == marked.name
        assert marker.marked_range.start_time.value == round(marked.span.start_s * RATE)
        end = marker.marked_range.end_time_exclusive()
        assert end.value == round(marked.span.end_s * RATE)


# ---- stem.mp4 --------------------------------------------------------------------------------------------


needs_ffmpeg = pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg")


def read_stem_atom(path):
    """The description in a stem.mp4 file."""
    with path.open("rb") as source:
        ((_, start, end),) = [atom for atom in _top_atoms(source) if atom[0] == b"moov"]
        source.seek(start)
        data = source.read(end - start)
    start, end = 0, len(data)
    for wanted in (b"moov", b"udta", b"stem"):
        ((start, end),) = [(a + 8, b) for kind, a, b in _atoms(data, start, end) if kind == wanted]
    return json.loads(data[start:end])


@needs_ffmpeg
def test_stem_mp4_has_five_streams_in_step(session, tmp_path):
    import subprocess

    tracks = [Track(t.name, t.path, t.frames, 2, t.gain_db, t.pan, t.mute) for t in session.tracks]
    path = export(Session("mix", tuple(tracks), RATE), tmp_path / "x.stem.mp4", "stem.mp4")
    description = read_stem_atom(path)
    assert [s["name"] for s in description["stems"]] == ["guitar", "dog barking", "residual", "(empty)"]
    for number, track in enumerate(tracks):
        wav = tmp_path / f"{number}.wav"
        command = [
            find_ffmpeg(),
            "-v",
            "error",
            "-i",
            path,
            "-map",
            f"0:a:{number}",
            "-c:a",
            "pcm_f32le",
            wav,
        ]
        subprocess.run(command, check=True)
        samples, rate = soundfile.read(wav, always_2d=True)
        assert rate == RATE
        gain = 1.0 if number == 0 else track.gain
        expected = soundfile.read(track.path)[0] * gain
        expected *= [min(1, 1 - track.pan), min(1, 1 + track.pan)]
        np.testing.assert_allclose(samples, np.clip(expected, -1, 1), atol=1e-6)
    listing = subprocess.run([find_ffmpeg(), "-i", path], capture_output=True, text=True, check=False).stderr
    assert listing.count("Audio: alac") == 5
    assert listing.count("(default)") == 1


@needs_ffmpeg
def test_stem_mp4_holds_four_stems(session, tmp_path):
    many = Session("x", session.tracks * 2, RATE)
    with pytest.raises(UserError, match="4 stems, not 7"):
        export(many, tmp_path / "x.stem.mp4", "stem.mp4")
    assert list(tmp_path.glob("*.mp4*")) == []


@needs_ffmpeg
def test_stem_mp4_says_when_it_cannot(session, tmp_path):
    lost = Session("x", (Track("x", tmp_path / "none.wav", 1, 2),), RATE)
    with pytest.raises(AudioWriteError, match="ffmpeg could not"):
        export(lost, tmp_path / "x.stem.mp4", "stem.mp4")


# ---- sessions from folders -------------------------------------------------------------------------------


def test_a_folder_of_stems_is_a_session(session, tmp_path):
    found = session_of(
        tmp_path / "mix.wav",
        tmp_path / "stems",
        names={"dog-barking": "Dog barking!"},
        gains_db={"guitar": -3.0},
        pans={"guitar": 0.5},
    )
    assert [t.name for t in found.tracks] == ["mix (mixture)", "Dog barking!", "guitar", "residual"]
    assert [t.mute for t in found.tracks] == [True, False, False, False]
    assert (found.tracks[2].gain_db, found.tracks[2].pan) == (-3.0, 0.5)
    assert {t.frames for t in found.tracks} == {session.frames - 12_345}
    assert (found.sample_rate, found.name) == (RATE, "mix")


def test_stems_of_another_mixture_are_refused(session, tmp_path):
    soundfile.write(tmp_path / "stems" / "odd.wav", np.zeros((100, 2)), RATE)
    with pytest.raises(UserError, match="odd.wav has 100 samples"):
        session_of(tmp_path / "mix.wav", tmp_path / "stems")


def test_what_cannot_work_is_said(session, tmp_path):
    mix = tmp_path / "mix.wav"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no folder"):
        session_of(mix, tmp_path / "none")
    with pytest.raises(UserError, match="holds no stems"):
        session_of(mix, tmp_path / "empty")
    with pytest.raises(UserError, match="no stem piano"):
        session_of(mix, tmp_path / "stems", gains_db={"piano": 1})
    with pytest.raises(UserError, match="at least one track"):
        Session("x", (), RATE)
    with pytest.raises(UserError, match="tempo"):
        Session("x", session.tracks, RATE, tempo=0)
    with pytest.raises(UserError, match="not a session format"):
        export(session, tmp_path / "x", "aaf")
    export(session, tmp_path / "x.txt", "audacity")
    with pytest.raises(OutputExistsError):
        export(session, tmp_path / "x.txt", "audacity")


# ---- the command -----------------------------------------------------------------------------------------


def invoke(*arguments):
    from sam_audio.cli.session import app

    return CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("format", ["dawproject", "reaper", "audacity", "otio"])
def test_the_command_writes_every_format(session, tmp_path, format):
    if format == "otio":
        pytest.importorskip("opentimelineio")
    events = {"events": [{"prompt": "dog", "start_s": 0.1, "end_s": 0.4, "score": 1.0}]}
    (tmp_path / "events.json").write_text(json.dumps(events))
    report = {"files": [{"stems": [{"path": str(tmp_path / "stems/guitar.wav"), "prompt": "Guitar, loud"}]}]}
    (tmp_path / "report.json").write_text(json.dumps(report))
    options = [
        "--spans",
        tmp_path / "events.json",
        "--report",
        tmp_path / "report.json",
        "--gain",
        "guitar=-3",
    ]
    done = invoke(tmp_path / "mix.wav", tmp_path / "stems", "--format", format, *options)
    assert done.exit_code == 0, done.output
    written = tmp_path / "stems" / f"mix{session_exporter(format).suffix}"
    assert done.stdout.strip() == str(written)
    content = written.read_bytes() if format != "dawproject" else zipfile.ZipFile(written).read("project.xml")
    assert b"dog" in content
    if format != "audacity":
        assert b"Guitar, loud" in content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gain", "guitar"], "guitar=-3"),
        (["--spans", "none.json"], "cannot be read"),
        (["--pan", "guitar=9"], "fader"),
    ],
)
def test_the_command_says_what_is_wrong(session, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        invoke(tmp_path / "mix.wav", tmp_path / "stems", "--format", "reaper", *options)


def test_read_audio_agrees(session):
    """The fixture's sounds are what the package reads."""
    result = read_audio(session.tracks[1].path)
    samples = result[0] if isinstance(result, tuple) else result
    assert samples.shape == (2, session.tracks[1].frames)
