"""One visitor's work without a page: loading, separating, mixing, exporting, saving."""

from __future__ import annotations

import io
import json
import stat
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_audio.app import controller, media, mixdown, project, views
from sam_audio.app.controller import MIXTURE, Editor, Settings, Shared
from sam_audio.app.listen import Found, Label, _distinct, labels, what_is_in
from sam_audio.app.presets import applied, can_apply_effects, prepare, presets
from sam_audio.app.project import Ask
from sam_audio.app.sounds import Sound
from sam_audio.app.work import CANCELLED, DONE, FAILED, Queue, Task
from sam_audio.errors import UserError
from sam_audio.export.workstation import session_exporters
from sam_audio.host.files import find_rack, load_rack
from sam_audio.io import AudioWriter, open_audio
from sam_audio.io.tags import Metadata, read_metadata
from sam_audio.separator.base import Sounding
from sam_audio.session import Fader
from sam_audio.types import Span

RATE = 16_000
TAGS = Metadata({"title": ("Song",), "artist": ("Somebody",)})


@pytest.fixture
def shared(separator, tmp_path):
    made = Shared(Settings(models={"tiny": "tiny"}, sessions=str(tmp_path / "sessions"), most_bytes=10**6))
    made._separators["tiny"] = separator
    yield made
    made.close()
    assert not made.root.exists()


def recording(path: Path, seed: int = 0, seconds: float = 2.0, channels: int = 2) -> Path:
    sound = np.random.default_rng(seed).normal(0, 0.1, (int(seconds * RATE), channels))
    soundfile.write(path, sound, RATE)
    return path


@pytest.fixture
def editor(shared, tmp_path):
    return loaded(Editor(shared), recording(tmp_path / "mix.wav"))


def loaded(editor: Editor, path: Path) -> Editor:
    task = editor.open_file(path).wait(20)
    assert task.state == DONE, task.problem
    editor.loaded(task)
    return editor


def separated(editor: Editor, *texts: str) -> Editor:
    for text in texts:
        editor.do(project.ask_for, Ask(text))
    task = editor.separation()
    assert task is None or task.wait(30).state == DONE, task.problem
    assert editor.stems is not None
    return editor


def read(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


# ---- loading ---------------------------------------------------------------------------------------------


def test_a_recording_is_looked_at(editor):
    found = editor.project.media
    assert (found.sample_rate, found.channels, found.frames, found.picture) == (RATE, 2, 2 * RATE, None)
    assert editor.sounds()[MIXTURE].is_drawn
    assert views.about(found) == "0:02.0 · 16 kHz · stereo"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.wav", b"dear diary " * 99, "notes.wav is a text file"),
        ("nothing.wav", b"", "nothing.wav is empty"),
        ("noise.mp3", bytes(range(256)) * 20, "noise.mp3"),
        ("stuff.zip", b"PK\x03\x04" + bytes(99), "neither a recording nor a saved session"),
        ("big.wav", bytes(1_000_001), "larger than 1 MB"),
        ("../../evil.wav", b"", "evil.wav is empty"),
    ],
)
def test_bad_uploads_are_one_sentence(shared, name, content, says):
    editor = Editor(shared)
    task = editor.upload(io.BytesIO(content), name).wait(20)
    assert task.state == FAILED and says in task.problem and "\n" not in task.problem
    assert str(editor.folder) not in task.problem
    assert editor.project.media is None


def test_loading_says_how_far_it_is(shared, tmp_path, monkeypatch):
    """By bytes while a file is taken in and read, by samples while it is drawn."""
    told, gate = [], threading.Event()
    progress, draw = Task.progress, Sound.draw

    def tell(task, done, total):
        progress(task, done, total)
        told.append((task.stage, task.share))

    def draw_slowly(sound, task):
        task.progress(1, 4)
        gate.wait(20)
        return draw(sound, task)

    monkeypatch.setattr(media, "_CHUNK", 1 << 15)
    monkeypatch.setattr(controller, "LOOK_S", 20.0)
    monkeypatch.setattr(Task, "progress", tell)
    monkeypatch.setattr(Sound, "draw", draw_slowly)
    content = recording(tmp_path / "mix.wav").read_bytes()
    task = Editor(shared).upload(io.BytesIO(content), "mix.wav")
    end_s = time.monotonic() + 20
    while (task.stage, task.share) != ("Drawing the waveform", 0.25):
        assert time.monotonic() < end_s, (task.stage, task.share, task.problem)
        time.sleep(0.01)
    gate.set()
    assert task.wait(20).state == DONE, task.problem
    for stage in ("Taking in the file", "Reading the file"):
        shares = [share for name, share in told if name == stage]
        assert shares == sorted(shares) and 0 < shares[0] < 0.3 and shares[-1] == 1


@pytest.mark.parametrize(
    "name",
    [
        "../../x.wav",
        "/etc/x.wav",
        "..\\..\\x.wav",
        "C:/x.wav",
        "x\0.wav",
        "é" * 200 + ".wav",
        "..",
        "",
        "a/b",
        "CON.wav",
    ],
)
def test_names_of_uploads_are_no_paths(shared, tmp_path, name):
    editor = Editor(shared)
    sound = recording(tmp_path / "sound.wav").read_bytes()
    task = editor.upload(io.BytesIO(sound), name).wait(20)
    assert task.state == DONE, task.problem
    editor.loaded(task)
    assert editor.project.media.name == name  # it is shown, and that is all
    (kept,) = (path for path in editor.folder.rglob("*") if path.is_file())
    assert kept == kept.parent / f"{kept.parent.name}{'.wav' if name.endswith('.wav') else ''}"
    example = editor.keep_example("like", io.BytesIO(sound), name).clues[0][1]
    assert Path(example).is_relative_to(editor.folder)
    assert [path.name for path in tmp_path.iterdir() if path != shared.root] == ["sound.wav"]


def test_what_is_refused_is_not_kept(shared, tmp_path):
    editor = Editor(shared)
    for name, content in [
        ("a.wav", b"no sound"),
        ("a.zip", packed(tmp_path, {"format": "other"})),
        ("a.wav", bytes(2 * 10**6)),
    ]:
        task = editor.upload(io.BytesIO(content), name).wait(20)
        assert task.state == FAILED and name in task.problem and "upload" not in task.problem
        with pytest.raises(UserError):
            editor.keep_example("like", io.BytesIO(content), name)
        assert list(editor.folder.iterdir()) == []


def packed(folder: Path, content) -> bytes:
    """A session as a zip, with stems for guitar."""
    sound = recording(folder / "sound.wav").read_bytes()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("session.json", content if isinstance(content, str) else json.dumps(content))
        for name in ("mixture.wav", "stems/guitar.wav", "stems/residual.wav"):
            archive.writestr(name, sound)
    return made.getvalue()


SESSION = {
    "format": "sam-audio session",
    "version": 1,
    "name": "n",
    "mixture": "mixture.wav",
    "title": "t.wav",
    "model": "tiny",
    "strength": 1.0,
    "prompts": ["guitar"],
    "mixer": {},
    "stems": {"guitar": "stems/guitar.wav", "residual": "stems/residual.wav"},
    "report": {"level_db": {"guitar": -3}},
}


@pytest.mark.parametrize(
    "report",
    [
        {"level_db": 5},
        {"level_db": {"guitar": "loud", "stranger": 1}, "scores": {"guitar": {"overall": 1}}},
        {"scores": {"guitar": 3}, "in_mixture": {"guitar": "maybe"}},
        {"scores": {"guitar": dict.fromkeys(views.AXES)}, "in_mixture": []},
        {"spans": {"guitar": [[3, 1]], "stranger": [[0, 1]]}},
        {"spans": {"guitar": [[0, 1, 2]]}},
    ],
)
def test_reports_of_sessions_say_what_they_can(shared, tmp_path, report):
    editor = Editor(shared)
    task = editor.upload(io.BytesIO(packed(tmp_path, {**SESSION, "report": report})), "a.zip").wait(20)
    assert task.state in (DONE, FAILED) and "wrong inside" not in task.problem
    if task.state == DONE:
        editor.loaded(task)
        assert views.verdict("guitar", editor.stems) == ("", "", False) and editor.stems.spans == {}


def test_a_model_that_is_not_offered_gives_way(shared, tmp_path):
    """And is not looked for: the answer is the same whether it is a folder, a file or nothing."""
    told = set()
    for model in (
        "gone",
        "/",
        "/etc/passwd",
        str(tmp_path),
        str(tmp_path / "gone"),
        "facebook/sam-audio-small",
    ):
        editor = Editor(shared)
        task = editor.upload(io.BytesIO(packed(tmp_path, {**SESSION, "model": model})), "a.zip").wait(20)
        assert task.state == DONE, task.problem
        told.add(editor.loaded(task))
        assert (
            editor.project.model == "tiny" and editor.stems is None
        )  # those of the session are another model's
    assert told == {"The session was saved with a model that this editor does not offer: tiny separates it"}
    editor = Editor(shared)
    editor.upload(io.BytesIO(packed(tmp_path, SESSION)), "a.zip").wait(20)
    same = editor.upload(io.BytesIO(packed(tmp_path, SESSION)), "a.zip").wait(20)
    assert editor.loaded(same) == "" and editor.stems.level_db == {"guitar": -3}


def test_the_recording_before_is_let_go(shared, tmp_path):
    editor = Editor(shared)
    for _ in range(3):
        task = editor.upload(io.BytesIO(recording(tmp_path / "a.wav").read_bytes()), "a.wav").wait(20)
        editor.loaded(task)
        assert len(list(editor.folder.glob("upload-*"))) == 1
    assert editor.project.media.path.is_file()


def test_visitors_who_left_are_cleaned_up_after(shared, tmp_path):
    here = {"a": True, "b": True}
    a, b = (Editor(shared, lambda name=name: here[name]) for name in here)
    start_s = a.seen_s
    here["a"] = False
    shared.close_left(start_s + controller.LEFT_S - 1)
    assert not a.closed  # they may come back
    shared.close_left(start_s)
    here["a"] = True
    shared.close_left(start_s + controller.LEFT_S + 1)
    here["a"] = False
    shared.close_left(start_s + controller.LEFT_S + 2)
    assert not a.closed and not b.closed
    shared.close_left(start_s + 2 * controller.LEFT_S + 2)
    assert a.closed and not a.folder.exists() and not b.closed
    assert list(shared.root.iterdir()) == [b.folder]
    assert stat.S_IMODE(shared.root.stat().st_mode) == stat.S_IMODE(b.folder.stat().st_mode) == 0o700


def test_who_leaves_frees_the_queue(shared, tmp_path):
    """Within seconds; who comes back goes on from the end of the queue."""
    here = {"a": True, "b": True}
    a, b = (Editor(shared, lambda name=name: here[name]) for name in here)
    gate, begun = threading.Event(), threading.Event()
    shared.separations.put(lambda task: begun.set() or gate.wait(20))
    for editor in (a, b):
        loaded(editor, recording(tmp_path / "a.wav"))
        editor.do(project.ask_for, Ask("guitar"))
    waits, task = a.separation(), b.separation()
    assert begun.wait(20) and (a.position(waits), b.position(task)) == (1, 2)
    here["a"] = False
    shared.close_left(a.seen_s + controller.PAUSED_S + 0.1)
    assert waits.state == CANCELLED and b.position(task) == 1 and not a.closed
    again = a.separation()
    assert again is not waits and a.position(again) == 2
    gate.set()
    assert task.wait(20).state == again.wait(20).state == DONE


def test_listening_gives_way_to_what_was_asked_for(editor, monkeypatch):
    monkeypatch.setattr(editor.shared, "_locator", Fake())
    gate = threading.Event()
    editor.shared.separations.put(lambda task: gate.wait(20))
    task = editor.listening(start=True)
    assert not task.wait(0.3).over
    gate.set()
    assert [one.name for one in task.wait(20).result] == ["dog barking"]


def test_folders_are_private_and_removed(shared, editor, tmp_path):
    assert stat.S_IMODE(shared.root.stat().st_mode) == 0o700
    assert stat.S_IMODE(editor.folder.stat().st_mode) == 0o700
    separated(editor, "guitar")
    editor.close()
    assert not editor.folder.exists()
    assert (tmp_path / "mix.wav").exists()  # what was opened where it lay stays


# ---- separating ------------------------------------------------------------------------------------------


def test_stems_are_those_of_the_api(editor, separator):
    separated(editor, "guitar", "drums")
    result = separator.separate(editor.project.media.path, ["guitar", "drums"])
    for name, stem in {**result.stems, "residual": result.residual}.items():
        np.testing.assert_array_equal(read(editor.stems.files[name]), stem.samples)


def test_finished_work_is_not_done_again(editor, separator, monkeypatch):
    runs = []
    render = type(separator).render
    monkeypatch.setattr(type(separator), "render", lambda *a, **k: runs.append(1) or render(*a, **k))
    separated(editor, "guitar")
    separated(editor, "drums")
    first = editor.stems
    editor.undo()
    assert editor.separation() is None and editor.stems is not None
    editor.redo()
    assert editor.stems is first
    editor.do(project.set_faders, {"guitar": {"gain_db": -6}})
    assert editor.separation() is None and len(runs) == 2


def test_lanes_follow_the_opinion_of_the_model(editor, monkeypatch):
    """And not how loud the stem is; it is kept in sessions. What the model says nothing of goes by its level."""
    activity = np.full((2, 50), 0.01, np.float32)
    activity[0, 10:20], activity[1] = 0.9, np.nan
    model = type(editor.shared.separator("tiny").model)
    monkeypatch.setattr(model, "sounding", lambda *_: Sounding(activity, 25.0))
    separated(editor, "guitar", "drums")
    sounds = editor.sounds()
    for _, drawing in editor._sounds.values():
        drawing.wait(20)
    assert sounds["guitar"].spans() == editor.stems.spans["guitar"] == (Span(0.4, 0.8),)
    assert sounds["drums"].known_spans is None and sounds["residual"].known_spans is None
    assert sounds["residual"].spans()  # noise all through
    saved = editor.save("Lanes")
    other = loaded(Editor(editor.shared), saved)
    assert other.stems.spans == editor.stems.spans


def test_another_strength_needs_no_network(editor, separator, monkeypatch):
    separated(editor, "guitar")
    plain = separator.separate(editor.project.media.path, ["guitar"], strength=1.5)
    monkeypatch.setattr(separator.model.engine.network, "analyse", None)  # would raise if it ran
    editor.do(project.set_strength, 1.5)
    assert editor.separation().wait(20).state == DONE, editor.separation().problem
    np.testing.assert_array_equal(read(editor.stems.files["guitar"]), plain.stems["guitar"].samples)


def test_cancel_and_try_again(editor):
    shared = editor.shared
    gate = threading.Event()
    shared.separations.put(lambda task: gate.wait(20))
    editor.do(project.ask_for, Ask("guitar"))
    task = editor.separation()
    assert editor.position(task) == 1
    task.cancel()
    gate.set()
    assert task.wait(20).state == CANCELLED
    assert editor.separation() is task and editor.stems is None
    assert editor.separation(again=True).wait(20).state == DONE
    assert editor.stems is not None


def test_what_fails_says_why(editor):
    editor.do(project.ask_for, Ask("", (("point", "3,4"),)))
    task = editor.separation().wait(20)
    assert task.state == FAILED and "picture" in task.problem


def test_old_results_are_let_go(editor, monkeypatch):
    monkeypatch.setattr(controller, "MOST_RESULTS", 2)
    for text in ("a", "b", "c"):
        separated(editor, text)
    assert len(list((editor.folder / "stems").glob("*/a.wav"))) == 2
    editor.undo(), editor.undo()
    assert editor.stems is None and editor.separation().wait(20).state == DONE


def test_nothing_is_left_of_a_visitor_who_is_forgotten(shared):
    import gc

    editor = Editor(shared)
    folder = editor.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    del editor
    gc.collect()
    assert not folder.exists()


def test_visitors_do_not_see_each_other(shared, tmp_path):
    editors = [loaded(Editor(shared), recording(tmp_path / f"{n}.wav", n, seconds=1.0)) for n in range(4)]
    for editor in editors:
        editor.do(project.ask_for, Ask("guitar"))
    tasks = [editor.separation() for editor in editors]
    assert all(task.wait(60).state == DONE for task in tasks)
    for n, editor in enumerate(editors):
        files = editor.stems.files
        assert all(path.is_relative_to(editor.folder) for path in files.values())
        total = sum(read(path) for path in files.values())
        np.testing.assert_allclose(total, read(tmp_path / f"{n}.wav"), atol=1e-6)


# ---- listening and looking -------------------------------------------------------------------------------


def test_sounds_are_those_of_the_project_and_are_kept(editor):
    separated(editor, "guitar")
    sounds = editor.sounds()
    assert list(sounds) == [MIXTURE, "guitar", "residual"]
    assert editor.sounds()["guitar"] is sounds["guitar"]
    rows = views.tracks(editor.project, editor.stems, sounds)
    assert [row["kind"] for row in rows] == ["mixture", "stem", "residual"]
    editor.undo()
    assert list(editor.sounds()) == [MIXTURE] and list(editor._sounds) == [editor.project.media.sha256]


def test_takes_have_names_and_are_compared(editor):
    first = separated(editor, "guitar").project
    editor.do(project.set_strength, 1.5)
    separated(editor)
    assert [take.name for take in editor.takes.values()] == ["guitar", "guitar · strength 1.5"]
    editor.rename(first.key, " mild ")
    with pytest.raises(UserError, match="needs a name"):
        editor.rename(first.key, " ")
    editor.compare_with(first.key)
    sounds = editor.sounds()
    assert list(sounds) == [MIXTURE, "guitar", "residual", "guitar|B", "residual|B"]
    rows = views.tracks(editor.project, editor.stems, sounds)
    assert [row["beside"] for row in rows] == [None, None, None, "guitar", "residual"]
    assert not any(row["says"] or row["figures"] for row in rows[3:])
    editor.go_to(first.key)
    assert editor.project == first and editor.takes[first.key].name == "mild"
    assert editor.compared is None and editor.other is None
    editor.undo()
    assert editor.project.strength == 1.5


def test_presets_prepare_what_racks_say(editor):
    editor.do(project.ask_for, Ask("guitar"))
    editor.do(prepare, presets()["karaoke"])
    assert editor.project.names == ["singing voice"] and editor.project.strength == 1.2
    assert editor.project.fader("singing voice").mute
    editor.do(prepare, presets()["podcast"])
    assert editor.project.fader("residual").gain_db == -18
    for preset in presets().values():
        editor.do(prepare, preset)
        assert preset.does and editor.project.names == list(preset.prompts)


@pytest.mark.parametrize("name", ["podcast", "remix"])
def test_a_preset_exports_what_its_rack_gives(editor, separator, name):
    """The same as `sam-audio rack run`, as long as no fader is moved; without effects it is what the mixer plays."""
    pytest.importorskip("pedalboard")
    editor.do(prepare, presets()[name])
    separated(editor)
    assert "limiter" in presets()[name].about and applied(editor.project) == name
    wet = read(editor.export("mix", [], "wav", "float32").wait(20).result)
    mixture = read(editor.project.media.path)
    rack = load_rack(find_rack(name), model=separator.model)
    np.testing.assert_allclose(wet, rack(mixture, RATE), atol=1e-6)
    editor.do(project.set_effects, False)
    dry = read(editor.export("mix", [], "wav", "float32").wait(20).result)
    stems = {key: read(path) for key, path in editor.stems.files.items()}
    faders = {key: editor.project.fader(key) for key in stems}
    np.testing.assert_allclose(dry, mixdown.mixed(stems, faders, 2), atol=1e-6)
    assert np.abs(wet - dry).max() > 0.01
    editor.undo()
    reopened = loaded(Editor(editor.shared), editor.save("With effects"))
    assert applied(reopened.project) == name
    separated(editor, "guitar")  # a track that the rack knows nothing of
    editor.do(project.set_faders, {"residual": {"mute": True}, "guitar": {"pan": 1.0, "solo": True}})
    alone = read(editor.export("mix", [], "wav", "float32").wait(20).result)
    assert not alone[0].any() and alone[1].any()


def test_mono_through_a_rack_can_be_panned(shared, tmp_path):
    pytest.importorskip("pedalboard")
    editor = loaded(Editor(shared), recording(tmp_path / "mono.wav", channels=1))
    editor.do(prepare, presets()["podcast"])
    editor.do(project.set_faders, {"residual": {"pan": -1.0}})
    separated(editor)
    task = editor.export("mix", [], "wav", "float32").wait(20)
    assert task.state == DONE, task.problem
    assert read(task.result).shape[0] == 2


def test_effects_wait_for_what_they_need(editor, monkeypatch):
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    can_apply_effects.cache_clear()
    editor.do(prepare, presets()["karaoke"])
    assert applied(separated(editor).project) == ""
    assert editor.export("mix", [], "wav", None).wait(20).state == DONE
    can_apply_effects.cache_clear()


def test_other_words_take_the_place_of_a_prompt(editor):
    for text in ("gitar", "drums"):
        editor.do(project.ask_for, Ask(text, (("spans", ("0-1",)),)))
    editor.shared.separator("tiny")
    assert editor.corrections == [("gitar", "guitar")]
    editor.do(project.instead, "gitar", "guitar")
    assert [(ask.text, ask.clues) for ask in editor.project.asks] == [
        ("guitar", (("spans", ("0-1",)),)),
        ("drums", (("spans", ("0-1",)),)),
    ]
    assert editor.corrections == []


class Fake:
    """Hears the second half of everything."""

    frame_rate = 25.0

    def activity_blocks(self, windows, prompts):
        for window in windows:
            rows = np.zeros((len(prompts), len(window) // 1920), np.float32)
            rows[prompts.index("dog barking"), rows.shape[1] // 2 :] = 0.9
            yield rows


def test_what_is_in_here(tmp_path):
    path = recording(tmp_path / "a.wav")
    told = []
    heard = what_is_in(path, Fake(), 2.0, lambda done, total: told.append((done, total)))
    assert [one.name for one in heard] == ["dog barking"] and told == [(50, 50)]
    assert heard[0].spans == ((1.0, 2.0),) and heard[0].score == pytest.approx(0.9, abs=0.01)
    chip = views.chip(heard[0], 2.0, False)
    assert chip["share"] == "50 % of the time" and "dog barking: 0:01.0 to 0:02.0" in chip["about"]
    assert len(labels()) > 100


def test_one_sound_has_one_name():
    piano = Label("piano", "keyboard", frozenset({"harp"}))
    organ, harp = Label("organ", "keyboard", frozenset()), Label("harp", "strings", frozenset())
    early, late = ((0.0, 1.0),), ((1.0, 2.0),)
    found = [(organ, Found("organ", 0.8, early)), (piano, Found("piano", 0.9, early))]
    assert [one.name for one in _distinct([*found, (harp, Found("harp", 0.7, late))])] == ["piano", "harp"]
    assert [one.name for one in _distinct([*found, (harp, Found("harp", 0.7, early))])] == ["piano"]


# ---- what leaves -----------------------------------------------------------------------------------------


def exported(editor: Editor, *what) -> Path:
    task = editor.export(*what).wait(30)
    assert task.state == DONE, task.problem
    return task.result


def test_exported_stems_are_the_stems(editor):
    separated(editor, "guitar", "drums")
    one = exported(editor, "stems", ["guitar"], "wav", "float32")
    np.testing.assert_array_equal(read(one), read(editor.stems.files["guitar"]))
    with zipfile.ZipFile(exported(editor, "stems", list(editor.stems.files), "wav", "int16")) as packed:
        assert sorted(packed.namelist()) == ["drums.wav", "guitar.wav", "residual.wav"]
        parts = [soundfile.read(io.BytesIO(packed.read(n)), dtype="int16")[0] for n in packed.namelist()]
    mixture = soundfile.read(editor.project.media.path, dtype="int16")[0]
    np.testing.assert_array_equal(np.sum(parts, axis=0), mixture)  # to the last bit, though rounded


def test_the_mix_is_what_the_faders_say(editor):
    separated(editor, "guitar", "drums")
    plain = read(exported(editor, "mix", [], "wav", "float32"))
    np.testing.assert_allclose(plain, read(editor.project.media.path), atol=1e-6)
    editor.do(project.set_faders, {"guitar": {"gain_db": -6, "pan": 0.5}, "residual": {"mute": True}})
    stems = {name: read(path) for name, path in editor.stems.files.items()}
    wanted = stems["guitar"] * 10 ** (-6 / 20) * [[0.5], [1]] + stems["drums"]
    np.testing.assert_allclose(read(exported(editor, "mix", [], "wav", "float32")), wanted, atol=1e-6)
    editor.do(project.set_faders, {"drums": {"solo": True}})
    np.testing.assert_array_equal(read(exported(editor, "mix", [], "wav", "float32")), stems["drums"])
    editor.do(project.set_faders, {"drums": {"solo": True, "mute": True}})
    task = editor.export("mix", [], "wav", None).wait(20)
    assert task.state == FAILED and "muted" in task.problem


def test_exports_keep_channels_and_tags(shared, tmp_path):
    path = tmp_path / "quad.wav"
    tone = 0.1 * np.sin(np.arange(4 * RATE).reshape(RATE, 4) / 9)
    with AudioWriter(path, sample_rate=RATE, channels=4, layout="quad", metadata=TAGS) as writer:
        writer.write(np.ascontiguousarray(tone.T, np.float32))
    editor = separated(loaded(Editor(shared), path), "guitar")
    for what, title in (("stems", "Song (guitar)"), ("mix", "Song (mix)")):
        made = exported(editor, what, ["guitar"], "wav", "int16")
        with open_audio(made) as reader:
            assert reader.layout == "quad"
        assert read_metadata(made, made.name)[0].tags == {"title": (title,), "artist": ("Somebody",)}


def test_what_the_reader_warns_of_is_told_once_by_the_senders_name(shared, tmp_path):
    content = recording(tmp_path / "mix.wav").read_bytes()[:-4001]  # cut
    editor = Editor(shared)
    task = editor.upload(io.BytesIO(content), "my song.wav").wait(20)
    assert task.state == DONE, task.problem
    editor.loaded(task)
    (warning,) = editor.project.media.warnings
    assert warning.startswith("my song.wav ") and "upload" not in warning
    assert separated(editor, "guitar").stems.warnings == ()


def test_mono_can_be_panned():
    parts = {"a": np.ones((1, 3), np.float32)}
    out = mixdown.mixed(parts, {"a": Fader(pan=-1)}, 2)
    np.testing.assert_array_equal(out, [[1, 1, 1], [0, 0, 0]])


def test_a_session_that_holds_its_sounds_is_one_file(editor):
    separated(editor, "guitar")
    editor.do(project.set_faders, {"guitar": {"gain_db": -20, "mute": True}})
    made = exported(editor, "dawproject", [], "wav", None)
    assert made.name == "mix.dawproject"
    with zipfile.ZipFile(made) as packed:
        assert {"audio/guitar.wav", "audio/residual.wav"} <= set(packed.namelist())
        assert b'value="0.1"' in packed.read("project.xml")


@pytest.mark.parametrize("format", sorted(session_exporters()))
def test_downloads_hold_each_stem_once(editor, format):
    """Of any workstation, and of the session itself."""
    separated(editor, "guitar", "drums")
    stems = {path.read_bytes() for path in editor.stems.files.values()}
    for made in (exported(editor, format, [], "wav", None), editor.pack("x").wait(20).result):
        if not zipfile.is_zipfile(made):
            continue
        with zipfile.ZipFile(made) as packed:
            contents = [packed.read(name) for name in packed.namelist() if name.endswith(".wav")]
        assert len(contents) == len(set(contents)) and sum(one in stems for one in contents) <= len(stems)


@pytest.mark.parametrize("format", ["reaper", "audacity"])
def test_workstations_get_sounds_and_faders(editor, format):
    separated(editor, "guitar")
    editor.do(project.set_faders, {"guitar": {"gain_db": -3, "mute": True}})
    with zipfile.ZipFile(exported(editor, format, [], "wav", None)) as packed:
        names = packed.namelist()
    assert {"mix/mix.wav", "mix/stems/guitar.wav", "mix/stems/residual.wav"} <= set(names)
    assert len(names) == 4


def test_sessions_are_saved_and_reopened(editor, shared):
    separated(editor, "guitar")
    editor.do(project.set_faders, {"guitar": {"gain_db": -3}})
    before, stems = editor.project, editor.stems
    editor.save("Take 3")
    editor.save("Take 3")  # its own may be replaced
    assert list(editor.sessions()) == ["take-3"]
    other = Editor(shared)
    with pytest.raises(UserError, match="load a recording"):
        other.save("x")
    loaded(other, other.sessions()["take-3"])
    assert other.name == "Take 3" and other.project.asks == before.asks
    assert other.project.faders == before.faders and other.separation() is None
    np.testing.assert_array_equal(read(other.stems.files["guitar"]), read(stems.files["guitar"]))
    with pytest.raises(UserError, match="already exists"):
        loaded(Editor(shared), before.media.path).save("Take 3")


def test_sessions_travel_as_zips(editor, shared):
    separated(editor, "guitar")
    packed = editor.pack("Take 3").wait(20).result
    other = Editor(shared)
    task = other.upload(io.BytesIO(packed.read_bytes()), packed.name).wait(20)
    other.loaded(task)
    assert other.project.key == editor.project.key
    assert other.project.media.path.is_relative_to(other.folder)
    assert other.separation().wait(20).state == DONE


def test_servers_for_many_keep_no_sessions(tmp_path):
    shared = Shared(Settings())
    editor = loaded(Editor(shared), recording(tmp_path / "mix.wav"))
    assert editor.sessions() == {}
    with pytest.raises(UserError, match="download the session"):
        editor.save("x")
    shared.close()


# ---- work ------------------------------------------------------------------------------------------------


def test_tasks_say_how_they_end(capsys):
    def broken(task):
        raise RuntimeError("boom")

    def refused(task):
        raise UserError("no")

    def halfway(task):
        task.progress(1, 2)
        return task.share

    ends = [Task(work) for work in (broken, refused, halfway)]
    for task in ends:
        task.run()
    assert [task.state for task in ends] == [FAILED, FAILED, DONE]
    assert "RuntimeError" in ends[0].problem and ends[1].problem == "no" and ends[2].result == 0.5
    assert "boom" in capsys.readouterr().err


def test_the_queue_works_in_order_and_no_more_than_allowed():
    queue, lock, running, most = Queue(2), threading.Lock(), [0], [0]

    def work(task):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.02)
        with lock:
            running[0] -= 1

    tasks = [queue.put(work) for _ in range(8)]
    assert all(task.wait(10).state == DONE for task in tasks)
    assert most[0] <= 2 and queue.before(tasks[0]) == 0
