"""Hidden files of dead processes go, those of living ones stay; sets of files are replaced whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sam_audio.errors import AudioWriteError
from sam_audio.io import parts
from sam_audio.io.signals import uninterrupted
from sam_audio.io.target import FileTarget, publish_together

pytestmark = pytest.mark.skipif(parts.fcntl is None, reason="these locks are of POSIX")

HOLDER = """
import sys
from pathlib import Path
from sam_audio.io.target import FileTarget
target = FileTarget(Path(sys.argv[1]), False)
print("ready", flush=True)
sys.stdin.read()
"""


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith("."))


@pytest.fixture
def holder(tmp_path):
    """Another process that is writing tmp_path/other.wav."""
    arguments = [sys.executable, "-c", HOLDER, tmp_path / "other.wav"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_parts_stay_while_their_process_lives_and_go_after_it_was_killed(tmp_path, holder):
    (part,) = hidden(tmp_path)
    FileTarget(tmp_path / "mine.wav", False).discard()
    assert hidden(tmp_path) == [part]
    holder.kill()
    holder.wait()
    FileTarget(tmp_path / "mine.wav", False).discard()
    assert hidden(tmp_path) == []


def test_own_parts_and_what_only_looks_like_parts_stay(tmp_path):
    for name in (".a.part", ".a.wav.1234.part", "a.wav.0123456789abcdef.part"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".a.wav.0123456789abcdef.part").mkdir()
    os.mkfifo(tmp_path / f".b.wav.{parts._HOST}89abcdef.part")
    first = FileTarget(tmp_path / "a.wav", False)
    before = set(os.listdir(tmp_path))
    FileTarget(tmp_path / "b.wav", False).discard()
    assert set(os.listdir(tmp_path)) == before
    first.discard()


def test_parts_of_another_machine_stay_for_a_day(tmp_path):
    foreign = tmp_path / ".a.wav.0000000089abcdef.part"
    foreign.touch()
    parts.remove_dead_parts(tmp_path)
    assert foreign.exists()
    yesterday = time.time() - 25 * 3600
    os.utime(foreign, (yesterday, yesterday))
    parts.remove_dead_parts(tmp_path)
    assert not foreign.exists()


def test_without_locks_nobody_knows_so_parts_stay(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(parts.fcntl, "flock", unsupported)
    FileTarget(tmp_path / "a.wav", False).discard()
    part = parts.part_name(tmp_path / "a.wav")
    part.touch()
    parts.remove_dead_parts(tmp_path)
    assert part.exists()


def test_a_part_that_was_taken_for_dead_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, taken = parts._lock, []

    def late(descriptor):
        if not taken:
            taken.extend(tmp_path.iterdir())
            taken[0].unlink()
        return lock(descriptor)

    monkeypatch.setattr(parts, "_lock", late)
    part, file = parts.open_part(tmp_path / "a.wav")
    with file:
        assert taken and part not in taken and part.exists()


# ---- sets ---------------------------------------------------------------------------------------------------


def written(folder: Path, text: str, names: str = "abc", overwrite: bool = True) -> list[FileTarget]:
    targets = [FileTarget(folder / name, overwrite) for name in names]
    for target in targets:
        target.file.write(text.encode())
        target.sync()
    return targets


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in sorted(os.listdir(folder))}


def test_a_set_is_replaced_as_a_whole(tmp_path):
    publish_together(written(tmp_path, "old"))
    publish_together(written(tmp_path, "new"))
    assert contents(tmp_path) == dict.fromkeys("abc", "new")


@pytest.mark.parametrize("broken", range(1, 7))
@pytest.mark.parametrize("there", ["abc", "b", "c"])
def test_a_set_that_cannot_be_published_leaves_the_old_one(tmp_path, monkeypatch, broken, there):
    publish_together(written(tmp_path, "old", there))
    before, targets = contents(tmp_path), written(tmp_path, "new")
    changes = 0

    def failing(change):
        def call(*arguments):
            nonlocal changes
            changes += 1
            if changes == broken:
                raise OSError("broken")
            return change(*arguments)

        return call

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    if broken > len(there) + 3:
        publish_together(targets)
        assert contents(tmp_path) == dict.fromkeys("abc", "new")
    else:
        with pytest.raises(AudioWriteError, match="could not be written"):
            publish_together(targets)
        assert contents(tmp_path) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_until_the_set_is_whole(tmp_path, monkeypatch, number):
    def stop(*_):
        raise InterruptedError

    before = signal.signal(number, stop)
    link = os.link
    monkeypatch.setattr(os, "link", lambda *names: (link(*names), signal.raise_signal(number)))
    try:
        with pytest.raises(InterruptedError):
            publish_together(written(tmp_path, "new", overwrite=False))
        assert signal.getsignal(number) == stop
    finally:
        signal.signal(number, before)
    assert contents(tmp_path) == dict.fromkeys("abc", "new")


def test_ignored_signals_stay_ignored_and_nested_blocks_wait_for_the_outermost():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    steps = []
    # which is ignored where tests run in the background
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                steps.append("inner")
            steps.append("outer")
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == ["inner", "outer"]
