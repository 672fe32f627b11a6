"""The editor without its page: one `Editor` for each visitor, and what they all share.

An editor holds the history of one project and a private folder. What a project needs is worked out beside the page
and kept by its content: stems by `Project.key`, what is heard and drawn by the recording or the stem. Asking twice, or
undoing and redoing, does no work twice.
"""

from __future__ import annotations

import atexit
import math
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from weakref import WeakSet

import numpy as np

from sam_audio.app import listen, media, mixdown, project
from sam_audio.app.presets import applied, presets
from sam_audio.app.project import Ask, History, Media, Project
from sam_audio.app.sounds import HEARD, Sound
from sam_audio.app.work import CANCELLED, FAILED, Queue, Task
from sam_audio.errors import UserError
from sam_audio.extending.registry import registry
from sam_audio.finding.spans import find_spans
from sam_audio.naming import RESIDUAL, slug
from sam_audio.options import OptionField, options_of
from sam_audio.separator import family_of
from sam_audio.separator.base import Sounding
from sam_audio.session import (
    FILE,
    SavedSession,
    pack_session,
    read_session,
    recover_sessions,
    unpack_session,
    write_session,
)
from sam_audio.types import Span

if TYPE_CHECKING:
    from sam_audio.api import Separator
    from sam_audio.conditioning.embedding import FrameEncoder

MIXTURE = "mixture"  # the track of the recording itself
BESIDE = "|B"  # ends the names of tracks of the take that is compared
MOST_RESULTS = 8  # of a visitor, on disk; older ones are made again when they are asked for
MOST_MODELS = 2
LEFT_S = 75.0  # a visitor whose connection was lost is expected back: streamlit keeps their page for 60 s
PAUSED_S = 3.0  # and meanwhile others' work goes first
SWEEP_S = 1.0
PACE_S = 0.1  # between two looks at how far that is
LOOK_S = 2.0  # a recording that is drawn that soon is shown when it is


@dataclass(frozen=True)
class Settings:
    """What ``sam-audio app`` was started with.

    Args:
        file: a recording or session folder to open for every visitor.
        sessions: folder of named sessions; None where visitors must not see each other's.
        most_bytes: of an upload.
        at_once: how many separations run at a time.
        models: that visitors may choose from: what is loaded, by what it is called. The first is chosen at first.
        device: see `sam_audio.devices.choose_device`.
    """

    file: str | None = None
    sessions: str | None = None
    most_bytes: int = 500_000_000
    at_once: int = 1
    models: Mapping[str, str] = field(default_factory=lambda: {"nano": "nano"})
    device: str = "auto"


def example_key() -> str | None:
    """Of the clue that takes an example sound, None if no such prompt type is installed."""
    return next((option.key for _, option in registry().options() if option.media == "sound"), None)


def options_of_model(name: str) -> list[OptionField]:
    """The options that can be changed of a model that is loaded already, by what it is loaded by."""
    return [one for one in options_of(family_of(name).options) if not one.declared.loading]


class Shared:
    """What all visitors of a server use together: loaded models, the queue, and the root of private folders."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.separations = Queue(settings.at_once)
        self.reading = Queue(2)  # looks and exports: short, and never behind a separation
        self.drawing = Queue(2)  # long recordings take a while
        self.listening = Queue(1)
        self.root = Path(tempfile.mkdtemp(prefix="sam-audio-app-"))  # 0700
        self._visitors: WeakSet[Editor] = WeakSet()
        self._closed = threading.Event()
        atexit.register(self.close)  # the server may end while visitors are there
        self._lock = threading.Lock()
        self._separators: OrderedDict[str, Separator] = OrderedDict()
        self._locator: FrameEncoder | None = None
        self._sweeper: threading.Thread | None = None

    def separator(self, model: str) -> Separator:
        """One of the models of the settings, loaded once for everybody.

        The least recently used of more than MOST_MODELS is let go.
        """
        from sam_audio.api import Separator

        with self._lock:
            if model not in self._separators:
                while len(self._separators) >= MOST_MODELS:
                    self._separators.popitem(last=False)
                self._separators[model] = Separator(self.settings.models[model], self.settings.device)
            self._separators.move_to_end(model)
            return self._separators[model]

    def loaded(self, model: str) -> Separator | None:
        """One of the models, if it is loaded already."""
        with self._lock:
            return self._separators.get(model)

    def locator(self) -> FrameEncoder:
        from sam_audio.conditioning.embedding import load_frame_encoder

        with self._lock:
            self._locator = self._locator or load_frame_encoder("nano")
            return self._locator

    def welcome(self, visitor: Editor) -> None:
        """From now on looks after a visitor, and closes their editor some time after they have left."""
        with self._lock:
            self._visitors.add(visitor)
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, daemon=True, name="sam-audio-sweep")
                self._sweeper.start()

    def _sweep(self) -> None:
        while not self._closed.wait(SWEEP_S):
            self.close_left(time.monotonic())

    def close_left(self, now_s: float) -> None:
        """Pauses the work of visitors who are away since PAUSED_S, and closes their editors after LEFT_S.

        Args:
            now_s: by the monotonic clock.
        """
        with self._lock:
            visitors = list(self._visitors)
        for visitor in visitors:
            if visitor.is_here():
                visitor.seen_s = now_s
            elif now_s - visitor.seen_s > LEFT_S:
                visitor.close()
            elif now_s - visitor.seen_s > PAUSED_S:
                visitor.pause()

    def close(self) -> None:
        self._closed.set()
        shutil.rmtree(self.root, ignore_errors=True)


@dataclass(frozen=True)
class Stems:
    """What a separation made.

    Args:
        files: float32 wav by the name of the stem, the residual last.
        level_db: against the mixture.
        scores: of the judge by stem: overall, recall, precision, faithfulness (1..5); empty without one.
        in_mixture: whether the sound is there at all; None where nobody can tell.
        spans: when it sounds by the model's own opinion; only of stems of which it has one.
        warnings: sentences for people.
        seconds: how long it took.
    """

    files: Mapping[str, Path]
    level_db: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    in_mixture: Mapping[str, bool | None] = field(default_factory=dict)
    spans: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Take:
    """A separation that was made, by what it was made from."""

    name: str
    project: Project


@dataclass(frozen=True)
class Opened:
    """A session that was opened: where it goes on, its name, and whether its model is offered here."""

    project: Project
    name: str
    same_model: bool


class Editor:
    """One visitor's work. Its methods return at once; what takes longer is a `Task`.

    Args:
        shared: by all visitors.
        is_here: whether the visitor is; some time after they have left the editor is closed.
    """

    def __init__(self, shared: Shared, is_here: Callable[[], bool] = lambda: True) -> None:
        self.shared = shared
        self.is_here, self.seen_s = is_here, time.monotonic()
        self.folder = Path(tempfile.mkdtemp(prefix="visitor-", dir=shared.root))
        weakref.finalize(
            self, shutil.rmtree, self.folder, ignore_errors=True
        )  # when the visitor is forgotten
        self.history = History(Project(model=next(iter(shared.settings.models))))
        self.name = ""  # of the session, once it has one
        self.takes: OrderedDict[str, Take] = OrderedDict()  # by `Project.key`, the latest last
        self.compared: str | None = None  # the key of the take that the present one is compared with
        self._stems: OrderedDict[str, Stems] = OrderedDict()
        self._sounds: dict[str, tuple[Sound, Task[Sound]]] = {}
        self._tasks: dict[tuple[Any, ...], Task[Any]] = {}
        shared.welcome(self)

    @property
    def project(self) -> Project:
        return self.history.now

    def do(self, action: Callable[..., Project], *values: Any) -> None:
        """Takes an action of `project` and remembers what was before."""
        self.history = self.history.do(action(self.project, *values))

    def undo(self) -> None:
        self.history = self.history.undo()

    def redo(self) -> None:
        self.history = self.history.redo()

    @property
    def closed(self) -> bool:
        return not self.folder.exists()

    def close(self) -> None:
        """Ends all work and removes everything that belongs to this visitor."""
        self.pause()
        for task in [*self._tasks.values(), *(drawing for _, drawing in self._sounds.values())]:
            task.cancel()
        self._sounds.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self) -> None:
        """Ends separating and listening, as if they had not begun: the page begins again when its visitor is back."""
        for name, task in list(self._tasks.items()):
            if name[0] in ("stems", "heard") and not task.over:
                task.cancel()
                self._tasks.pop(name, None)

    # ---- recordings ----------------------------------------------------------------------------------

    def upload(self, source: BinaryIO, name: str) -> Task[Any]:
        """Takes a recording, or a saved session as a zip file. What is refused is not kept."""
        folder = self._new_folder("upload")

        def work(task: Task[Any]) -> Project | Opened:
            try:
                task.begin("Taking in the file")
                path = media.receive(source, name, folder, self.shared.settings.most_bytes, task.progress)
                with _called(path, name):
                    if media.is_zip(path):
                        return self._opened_zip(path, task)
                    return self._looked_at(path, name, task)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        return self.shared.reading.put(work)

    def open_file(self, path: Path) -> Task[Any]:
        """Looks at a recording, or opens a session folder; a problem with it is the task's."""
        if (path / FILE).is_file():
            return self.shared.reading.put(lambda task: self._opened(path, task))
        return self.shared.reading.put(lambda task: self._looked_at(path, path.name, task))

    def open_example(self) -> Task[Any]:
        """A short recording that comes with the package: a band."""
        return self.open_file(Path(__file__).with_name("example.ogg"))

    def _new_folder(self, kind: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=self.folder))

    def _looked_at(self, path: Path, name: str, task: Task[Any]) -> Project:
        return project.load(self.project, self._look(path, name, task))

    def _look(self, path: Path, name: str, task: Task[Any]) -> Media:
        """What a recording is. A short one is read through before it is shown, a long one while it plays already."""
        task.begin("Reading the file")
        found, sound = media.look(path, name, self._copy(), task.progress)
        task.begin("Drawing the waveform")
        drawing = self.shared.drawing.put(sound.draw)
        end_s = time.monotonic() + LOOK_S if sound.frames else math.inf
        while not drawing.wait(PACE_S).over and time.monotonic() < end_s:
            task.share = drawing.share
        if drawing.state == FAILED:
            raise UserError(drawing.problem)
        self._sounds[found.sha256] = sound, drawing
        return media.measured(found, sound)

    def _copy(self) -> Path:
        """Where a sound may keep what it plays; nothing is written before it does."""
        return self.folder / f"played-{secrets.token_hex(8)}.pcm"

    def _opened_zip(self, archive: Path, task: Task[Any]) -> Opened:
        task.begin("Unpacking the session")
        limit = 8 * self.shared.settings.most_bytes
        folder = unpack_session(archive, archive.with_suffix(""), limit)
        archive.unlink()
        return self._opened(folder, task)

    def _opened(self, folder: Path, task: Task[Any]) -> Opened:
        saved = read_session(folder)
        found = self._look(saved.mixture, saved.title, task)
        opened = project.restore(found, saved, list(self.shared.settings.models), presets())
        # stems of another model, or of other prompts, would pass for what this project gives
        kept = opened.model == saved.model and set(saved.stems) == {*opened.names, RESIDUAL}
        if kept and opened.key is not None:
            self._stems[opened.key] = Stems(dict(saved.stems), **_told(saved.report, opened.names))
        return Opened(opened, saved.name, opened.model == saved.model)

    def loaded(self, task: Task[Any]) -> str:
        """Goes on with what `upload` or `open_file` found; a session brings its name and starts a new history.

        Returns:
            What the visitor has to know about it, a sentence; mostly nothing.
        """
        found = task.result
        if found is None:
            return ""
        opened, self.name = (found, "") if isinstance(found, Project) else (found.project, found.name)
        self.history = History(opened)
        self.takes.clear()
        self.compared = None
        assert opened.media is not None
        for folder in self.folder.glob("upload-*"):  # recordings before this one: nothing leads back to them
            if not opened.media.path.is_relative_to(folder):
                shutil.rmtree(folder, ignore_errors=True)
        if isinstance(found, Opened) and not found.same_model:
            return f"The session was saved with a model that this editor does not offer: {opened.model} separates it"
        return ""

    def keep_example(self, key: str, source: BinaryIO, name: str) -> Ask:
        """An example sound as a clue; ``key`` is `example_key`.

        Raises:
            UserError: it is no sound.
        """
        from sam_audio.io import open_audio

        folder = self._new_folder("example")
        try:
            path = media.receive(source, name, folder, self.shared.settings.most_bytes)
            with _called(path, name), open_audio(path):
                pass
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        kept = path.rename(folder / f"{media.digest(path)[:16]}{path.suffix}")
        return Ask("", ((key, str(kept)),))

    # ---- separation ----------------------------------------------------------------------------------

    @property
    def stems(self) -> Stems | None:
        """What belongs to the project as it is, if it has been separated."""
        key = self.project.key
        if key is None:
            return None
        task = self._tasks.get(("stems", key))
        if task is not None and task.result is not None:
            del self._tasks["stems", key]
            self._keep(key, task.result)
        found = self._kept(key)
        if found is not None and key not in self.takes:
            self.takes[key] = Take(self.project.title, self.project)
        return found

    def _kept(self, key: str | None) -> Stems | None:
        if key is None or (found := self._stems.get(key)) is None:
            return None
        if not all(path.exists() for path in found.files.values()):
            del self._stems[key]  # a session folder that was saved anew, or moved
            return None
        return found

    def rename(self, key: str, name: str) -> None:
        """Gives a take another name.

        Raises:
            UserError: it is empty.
        """
        if not name.strip():
            raise UserError("a separation needs a name: type one")
        self.takes[key] = replace(self.takes[key], name=" ".join(name.split())[:80])

    def go_to(self, key: str) -> None:
        """Goes on with a take; what was before can be undone."""
        self.history = self.history.do(self.takes[key].project)
        self.compared = None if self.compared == key else self.compared

    def compare_with(self, key: str | None) -> None:
        """Another take to be heard beside the present one, or none."""
        self.compared = key if key in self.takes and key != self.project.key else None

    @property
    def other(self) -> Stems | None:
        """The stems that the present ones are compared with; None where they are not, or are gone."""
        return self._kept(self.compared) if self.compared != self.project.key else None

    def separation(self, again: bool = False) -> Task[Stems] | None:
        """The work on the project as it is, started if need be; None if there is nothing to do.

        Args:
            again: whether what failed or was cancelled is tried once more.
        """
        current, key = self.project, self.project.key
        if key is None or self.stems is not None:
            return None
        task = self._tasks.get(("stems", key))
        if task is None or (again and task.state in (FAILED, CANCELLED)):
            for name, other in self._tasks.items():
                if name[0] == "stems":  # of a project that is not looked at any more
                    other.cancel()
            task = self.shared.separations.put(lambda task: self._separate(current, key, task))
            self._tasks["stems", key] = task
        return task

    def _separate(self, current: Project, key: str, task: Task[Stems]) -> Stems:
        from sam_audio.options import RenderOptions

        found = current.media
        assert found is not None
        kept = self.folder / "masks" / f"{replace(current, strength=1.0).key}.f32"
        task.begin("Loading the model")
        separator = self.shared.separator(current.model)
        task.begin("Separating")
        if current.options:
            separator = separator.with_options(dict(current.options))
        separator = separator.remembering(kept)
        options = RenderOptions(
            out=self.folder / "stems" / key[:16],
            filename="{stem}.{ext}",
            depth="float32",
            strength=current.strength,
            overwrite=True,
        )
        report = separator.render(
            found.path, [ask.prompt() for ask in current.asks], options, progress=task.progress
        )
        made = dict(zip(current.names, report.stems, strict=True))
        assert report.residual is not None
        warnings = [media.called(text, found.path, found.name) for text in report.warnings]
        everything = {**made, RESIDUAL: report.residual}
        return Stems(
            {name: Path(stem.path) for name, stem in everything.items()},
            {name: stem.level_db for name, stem in everything.items()},
            {name: asdict(stem.scores) for name, stem in made.items() if stem.scores is not None},
            {name: stem.in_mixture for name, stem in made.items()},
            _spans(current.names, separator.model.sounding(kept, len(made)), report.seconds),
            tuple(text for text in warnings if text not in found.warnings),
            report.elapsed_s,
        )

    def _keep(self, key: str, stems: Stems) -> None:
        self._stems[key] = stems
        while len(self._stems) > MOST_RESULTS:
            _, old = self._stems.popitem(last=False)
            for path in old.files.values():
                if path.is_relative_to(self.folder):
                    path.unlink(missing_ok=True)

    def position(self, task: Task[Any]) -> int:
        """How many separations of all visitors come before this one."""
        return self.shared.separations.before(task)

    # ---- listening and looking -----------------------------------------------------------------------

    def listening(self, start: bool = False) -> Task[list[listen.Found]] | None:
        """What is in the recording; None until it is started."""
        current = self.project.media
        if current is None:
            return None
        name = ("heard", current.sha256)
        if start and (name not in self._tasks or self._tasks[name].state in (FAILED, CANCELLED)):
            self._tasks[name] = self.shared.listening.put(partial(self._listen, current))
        return self._tasks.get(name)

    def _listen(self, current: Media, task: Task[list[listen.Found]]) -> list[listen.Found]:
        def progress(done: int, total: int | None) -> None:
            task.progress(done, total)
            while self.shared.separations.length and not task.unwanted:  # what was asked for comes first
                time.sleep(0.1)

        task.begin("Loading the model")
        locator = self.shared.locator()
        task.begin("Listening")
        return listen.what_is_in(current.path, locator, current.seconds, progress)

    @property
    def corrections(self) -> list[tuple[str, str]]:
        """Prompts with words that the model does not know, and what they may have meant; as far as it is loaded."""
        separator = self.shared.loaded(self.project.model)
        texts = [ask.text for ask in self.project.asks]
        if separator is None:
            return []
        likely = [(text, separator.model.meant(text)) for text in texts if text]
        return [(text, better) for text, better in likely if better is not None and better not in texts]

    def sounds(self) -> dict[str, Sound]:
        """The mixture and all stems, to be played and drawn; of a take that is compared, as ``name|B``."""
        current = self.project.media
        if current is None:
            return {}
        tracks: dict[str, tuple[str, Path, tuple[Span, ...] | None]] = {
            MIXTURE: (current.sha256, current.path, None)
        }
        taken = ((self.project.key, self.stems, ""), (self.compared, self.other, BESIDE))
        for key, stems, mark in taken:
            for name, path in (stems.files if stems is not None else {}).items():
                spans = stems.spans.get(name) if stems is not None else None
                tracks[f"{name}{mark}"] = f"{key}{name}", path, spans
        wanted = {content for content, *_ in tracks.values()}
        for content in [one for one in self._sounds if one not in wanted]:
            self._sounds.pop(content)[1].cancel()
        return {name: self._sound(*track) for name, track in tracks.items()}

    def _sound(self, content: str, path: Path, spans: tuple[Span, ...] | None) -> Sound:
        if content not in self._sounds:
            sound = Sound(path, self._copy(), known_spans=spans)
            self._sounds[content] = sound, self.shared.drawing.put(sound.draw)
        return self._sounds[content][0]

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with the recording as far as it is known by now, sentences for people."""
        current = self.project.media
        if current is None or current.sha256 not in self._sounds:
            return ()
        sound, drawing = self._sounds[current.sha256]
        told = media.measured(current, sound).warnings
        return (*told, media.called(drawing.problem, current.path, current.name)) if drawing.problem else told

    # ---- what leaves ---------------------------------------------------------------------------------

    def export(self, what: str, chosen: list[str], format: str, depth: str | None) -> Task[Path]:
        """Writes files for download.

        Args:
            what: ``mix`` (as it is heard, with the effects of its preset), ``video`` (the same under its pictures),
                ``stems`` (those ``chosen``), or a session's exporter by name.
            format, depth: of the sound; for workstations it is always float32 wav.
        """
        current, stems = self.project, self.stems
        assert current.media is not None and stems is not None
        found, files = current.media, stems.files
        out, rack = self._new_folder("export"), applied(current)

        def work(task: Task[Path]) -> Path:
            if what == "video":
                made = mixdown.write_video(found, files, current.faders, out, rack)
            elif what == "mix":
                made = mixdown.write_mix(found, files, current.faders, out, format, depth, rack)
            elif what == "stems":
                paths = mixdown.write_stems(found, files, chosen, out, format, depth)
                title = slug(Path(found.name).stem)
                made = paths[0] if len(paths) == 1 else mixdown.zipped(paths, out / f"{title}-stems.zip")
            else:
                made = mixdown.write_session(found, files, current.faders, out, what)
            return made

        return self.shared.reading.put(work)

    def saved(self, name: str) -> SavedSession:
        """The project as a session.

        Raises:
            UserError: there is nothing to save, or no name for it.
        """
        current, stems = self.project, self.stems
        if current.media is None:
            raise UserError("there is nothing to save yet: load a recording first")
        if not name.strip():
            raise UserError("the session needs a name: type one")
        report = {key: getattr(stems, key) for key in _TOLD} if stems is not None else {}
        if stems is not None:
            report["spans"] = {n: [(s.start_s, s.end_s) for s in spans] for n, spans in stems.spans.items()}
        return SavedSession(
            name.strip(),
            current.media.path,
            current.media.name,
            tuple(ask.saved() for ask in current.asks),
            current.model,
            current.strength,
            dict(current.faders),
            dict(stems.files) if stems is not None else {},
            report,
            dict(current.options),
            applied(current),
        )

    def save(self, name: str) -> Path:
        """Saves to the folder of named sessions; one that this visitor opened or saved under that name is replaced."""
        if self.shared.settings.sessions is None:
            raise UserError("this server keeps no sessions: download the session instead")
        folder = Path(self.shared.settings.sessions) / slug(name)
        path = write_session(folder, self.saved(name), overwrite=name == self.name)
        self.name = name.strip()
        return path

    def pack(self, name: str) -> Task[Path]:
        """The session as a zip file, without stems: they are separated again when it is opened.

        Raises:
            UserError: there is nothing to save, or no name for it.
        """
        saved, out = self.saved(name), self._new_folder("session")

        def work(task: Task[Path]) -> Path:
            folder = write_session(out / slug(name), saved, with_stems=False)
            made = pack_session(folder, folder.with_suffix(".zip"))
            shutil.rmtree(folder)
            return made

        return self.shared.reading.put(work)

    def sessions(self) -> dict[str, Path]:
        """Named sessions by name."""
        if self.shared.settings.sessions is None:
            return {}
        root = Path(self.shared.settings.sessions)
        recover_sessions(root)
        found = sorted(root.glob(f"*/{FILE}")) if root.is_dir() else []
        return {path.parent.name: path.parent for path in found}


@contextmanager
def _called(path: Path, name: str) -> Iterator[None]:
    """Problems with a file that was sent are told as `media.called` does."""
    try:
        yield
    except UserError as error:
        raise UserError(media.called(str(error), path, name)) from None


def _spans(names: list[str], found: Sounding | None, seconds: float) -> dict[str, tuple[Span, ...]]:
    """When the stems of these names sound, as far as the model has an opinion."""
    if found is None:
        return {}
    rows = zip(names, found.activity, strict=True)
    return {
        name: tuple(find_spans(row, found.frame_rate, HEARD, seconds))
        for name, row in rows
        if not np.isnan(row).any()
    }


def _told(report: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """What a session's report says about stems, as far as it is what `Stems` holds: files may say anything."""

    def number(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def scores(value: Any) -> bool:
        return isinstance(value, Mapping) and all(number(value.get(axis)) for axis in AXES)

    def spans(value: Any) -> bool:
        return all(0 <= start < end for start, end in value)

    right = {
        "level_db": number,
        "scores": scores,
        "in_mixture": lambda value: value in (True, False, None),
        "spans": spans,
    }
    told: dict[str, Any] = {
        key: {
            name: value for name, value in table.items() if name in (*names, RESIDUAL) and right[key](value)
        }
        for key in right
        if isinstance(table := report.get(key), Mapping)
    }
    told["spans"] = {
        name: tuple(Span(*one) for one in spans) for name, spans in told.get("spans", {}).items()
    }
    return told


_TOLD = ("level_db", "scores", "in_mixture")
AXES = ("overall", "recall", "precision", "faithfulness")  # of the judge
