"""Runs code in forked processes that end themselves before a change of the disk; a script of `test_kill`.

Reads lines of JSON from standard input and answers each with one: the exit status of the code, negative for a signal.
    code: Python, run in a new process.
    cwd: its working folder, and where the changes are that count; a cache beside it may have changes, too.
    before: number of the change before which the process gets the signal, from 1; 0 for never.
    signal: its number.
    shots: folder for copies of both, taken before each change: what SIGKILL there would leave, all in one run.

Python's audit events come before each change: files opened for writing, names given, changed and taken away; and
before each program that is started, such as ffmpeg.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from typing import Any

CHANGES = {
    "os.link",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.symlink",
    "os.chmod",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def watch(root: str, at_change: Callable[[int], None]) -> None:
    """Calls with the number of each change before it happens at a path that begins with ``root``."""
    seen = 0
    busy = False  # what is changed at a change is ours

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen, busy
        if busy:
            return
        if event == "open":
            if not isinstance(arguments[0], (str, bytes)) or not (arguments[2] or 0) & WRITING:
                return
            arguments = arguments[:1]
        elif event == "subprocess.Popen":
            arguments = (root,)
        elif event in CHANGES:
            arguments = arguments[:2]
        else:
            return
        names = [os.path.abspath(os.fsdecode(one)) for one in arguments if isinstance(one, (str, bytes))]
        if any(name.startswith(root) for name in names):
            seen += 1
            busy = True
            at_change(seen)
            busy = False

    sys.addaudithook(hook)


def run(job: dict[str, Any]) -> int:
    os.chdir(job["cwd"])
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{job['cwd']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.environ["SAM_AUDIO_CACHE"] = f"{job['cwd']}-cache"

    def at_change(number: int) -> None:
        if number == job["before"]:
            os.kill(os.getpid(), job["signal"])
        for name in (job["cwd"], f"{job['cwd']}-cache") if job["shots"] else ():
            if os.path.exists(name):
                shutil.copytree(name, f"{job['shots']}/{number}/{os.path.basename(name)}", symlinks=True)

    if job["before"] or job["shots"]:
        watch(job["cwd"], at_change)
    try:
        exec(job["code"], {"__name__": "__main__"})
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def main() -> None:
    # what takes longest to load; no thread may be started before the fork
    import av  # noqa: F401
    import soundfile  # noqa: F401
    import torch

    import sam_audio.api
    import sam_audio.cli
    import sam_audio.separator.nano  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        there = set(sys.modules)
        told, tell = os.pipe()
        child = os.fork()
        if not child:
            status = run(json.loads(line))
            new = set(sys.modules) - there
            if "huggingface_hub" not in new:  # which reads the environment of each process when it loads
                os.write(tell, " ".join(new).encode()[:60_000])  # what a pipe holds unread
            os._exit(status)
        os.close(tell)
        _, status = os.waitpid(child, 0)
        with os.fdopen(told) as names:
            for name in names.read().split():  # the next process finds them loaded
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    main()
