"""Clients on the service: is a job lost, does memory grow, does everybody get a turn, what does a kill cost?

    python benchmarks/service.py RECORDING WORK --clients 24 --minutes 5

Starts ``sam-audio serve``; every client has a token of its own, and a job at a time. In the middle the service is
killed with SIGKILL and started again; at the end it is told to stop, with jobs queued. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sam_audio.service.client import Client, ServiceError
from sam_audio.service.jobs import Queue


@dataclass
class Crowd:
    """What the clients have seen."""

    accepted: set[str] = field(default_factory=set)
    done: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def start(work: Path, port: int, tokens: Path, workers: int) -> subprocess.Popen[str]:
    code = "import sam_audio.cli as cli; cli.main()"
    own = ["--data", work / "data", "--port", port, "--tokens", tokens, "--workers", workers, "--threads", 1]
    return subprocess.Popen([sys.executable, "-c", code, "serve", *map(str, own), "--grace", "20"])


def use(number: int, client: Client, recording: Path, crowd: Crowd, until: float) -> None:
    """One client: a job after the other."""
    while time.monotonic() < until:
        try:
            job = client.separate(recording, ["person speaking"])
        except ServiceError as error:
            if error.status not in (0, 503):
                crowd.wrong.append(str(error))
            time.sleep(0.5)  # it restarts
            continue
        with crowd.lock:
            crowd.accepted.add(job.id)
        try:
            client.wait(job, patience_s=120)
            with tempfile.TemporaryDirectory() as folder:
                client.download(client.job(job.id), folder)
            with crowd.lock:
                crowd.done[number] = crowd.done.get(number, 0) + 1
        except ServiceError as error:
            if error.status != 0:
                crowd.wrong.append(str(error))


def memory_bytes(pid: int) -> int:
    """Of a process and those below it."""
    total = 0
    with suppress(OSError):
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(memory_bytes(int(child)) for child in (task / "children").read_text().split())
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    print(
        json.dumps(
            measure(given.recording, given.work, given.clients, given.minutes * 60, given.workers), indent=2
        )
    )


def measure(recording: Path, work: Path, n_clients: int, seconds: float, workers: int) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    names = {secrets.token_urlsafe(16): f"client{n}" for n in range(n_clients)}
    tokens = work / "tokens"
    tokens.write_text("".join(f"{name}:{token}\n" for token, name in names.items()))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    crowd, service = Crowd(), start(work, port, tokens, workers)
    begun = time.monotonic()
    until = begun + seconds
    clients = [Client(f"http://127.0.0.1:{port}", token) for token in names]
    threads = [
        threading.Thread(target=use, args=(n, client, recording, crowd, until))
        for n, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    memory: list[int] = []
    killed = False
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        memory.append(memory_bytes(service.pid))
        if not killed and time.monotonic() > begun + seconds / 2:
            service.kill()
            service.wait()
            service = start(work, port, tokens, workers)
            killed = True
    last = [clients[n % n_clients].separate(recording, ["music"]).id for n in range(2 * workers + 4)]
    crowd.accepted.update(last)
    time.sleep(1)
    stopping = time.monotonic()
    service.send_signal(signal.SIGTERM)
    code = service.wait()
    stopped_s = time.monotonic() - stopping
    queue = Queue(work / "data" / "queue.sqlite3")
    states: dict[str, int] = {}
    for job_id in crowd.accepted:
        job = queue.get(job_id)
        state = "lost" if job is None else job.state
        states[state] = states.get(state, 0) + 1
    third = max(1, len(memory) // 3)
    done = [crowd.done.get(n, 0) for n in range(n_clients)]
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "clients": n_clients,
        "seconds": round(seconds),
        "accepted": len(crowd.accepted),
        "states_after_stop": states,
        "jobs_each_least_most": [min(done), max(done)],
        "memory_mb_before_kill": round(max(memory[:third], default=0) / 1e6),
        "memory_mb_last_third": round(max(memory[-third:], default=0) / 1e6),
        "stopped_s": round(stopped_s, 1),
        "exit_code": code,
        "wrong": crowd.wrong[:5],
    }


if __name__ == "__main__":
    main()
