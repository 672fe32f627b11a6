"""The editor, really started: a server in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


class Server:
    """``sam-audio app`` in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.sessions = folder / "sessions"
        command = [sys.executable, "-c", "from sam_audio.cli import main; main()", "app", "--no-browser"]
        command += ["--port", str(self.port), "--sessions", str(self.sessions), *options]
        with (folder / "log.txt").open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(self.temporary)}
            )
        self.url = f"http://127.0.0.1:{self.port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1)
                return
            except OSError:
                assert self.process.poll() is None, self.log()
                time.sleep(0.1)
        raise AssertionError(self.log())

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def memory_mb(self) -> float:
        """Resident memory of the server."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def visitors(self) -> list[Path]:
        """Private folders that exist."""
        return sorted(self.temporary.glob("sam-audio-app-*/visitor-*"))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
