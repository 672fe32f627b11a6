"""The engine on a Ray cluster: Ray Data streams items through a pool of actors, each with one model.

Ray starts an actor anew when it dies, and gives it the blocks that were lost; the ledger, a small actor of the
driver, counts how often an item was begun, so that one that kills every worker is given up, and knows what was
finished of a block that is done again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_audio.errors import MissingExtraError, UserError
from sam_audio.scale.inputs import Item
from sam_audio.scale.work import Assignment, Row, Work

MOST_BLOCKS = 4096  # of a run: each costs the scheduler as much as a second of sound costs a worker
BLOCKS_A_WORKER = 32  # so that none has to wait long for the last ones
POLL_S = 0.5


def load_ray() -> Any:
    """The module, quiet.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves this machine
    os.environ.setdefault(
        "RAY_ENABLE_AUTO_CONNECT", "0"
    )  # a stream that is broken off would start another cluster
    # below `uv run` Ray would have every worker build an environment of its own, from the network
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if "RAY_AUTH_TOKEN" in os.environ or token.is_file():
        os.environ.setdefault(
            "RAY_AUTH_MODE", "token"
        )  # which `ray start` takes by itself, but who joins does not
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--engine ray needs Ray, which is not installed", "scale") from None
    return ray


class Ledger:
    """What has been begun and finished in this run, by track."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._finished: set[str] = set()
        self._fresh: list[Row] = []
        self._refusal: str | None = None

    def begin(self, track: str) -> tuple[int, bool]:
        """How often the item was begun, this time included, and whether it was finished already."""
        is_finished = track in self._finished
        self._begun[track] = self._begun.get(track, 0) + (not is_finished)
        return self._begun[track], is_finished

    def finish(self, row: Row) -> None:
        if row["track"] not in self._finished:
            self._finished.add(row["track"])
            self._fresh.append(row)

    def refuse(self, message: str) -> None:
        """A worker cannot work at all."""
        self._refusal = message

    def take(self) -> tuple[list[Row], str | None]:
        """The rows that nobody has taken yet, and why no worker can work if that is so."""
        fresh, self._fresh = self._fresh, []
        return fresh, self._refusal


class _Actor:
    """A worker of the pool: a callable class, as Ray Data takes them."""

    def __init__(self, work: Work, ledger: Any) -> None:
        import ray

        self.work, self.ledger = work, ledger
        try:
            self.do = work.load()
        except UserError as error:
            ray.get(ledger.refuse.remote(str(error)))
            raise

    def __call__(self, block: dict[str, Any]) -> dict[str, Any]:
        import ray

        for source, track, prompts, content in zip(*(block[name] for name in _COLUMNS), strict=True):
            item = Item(str(source), str(track), tuple(str(prompts).split("\n")) if prompts else ())
            begun, is_finished = ray.get(self.ledger.begin.remote(item.track))
            if is_finished:
                continue
            if begun > self.work.retries + 1:
                died = "its worker died each time, perhaps for lack of memory"
                row = self.work.failed(item, died, begun - 1)
            else:
                row = self.do(Assignment(item, str(content) or None))
            ray.get(self.ledger.finish.remote(row))
        return {"finished": [len(block["track"])]}


_COLUMNS = "source", "track", "prompts", "content"


@dataclass(frozen=True)
class RayEngine:
    """Workers on a Ray cluster.

    Args:
        workers: None for as many as the cluster has room for.
        threads: processors of each.
        gpus: of each.
        address: of the cluster; None starts one on this machine, which ends with the process.
    """

    workers: int | None = None
    threads: int = 1
    gpus: float = 0.0
    address: str | None = None

    def run(self, work: Work, assignments: Iterable[Assignment]) -> Generator[Row, None, None]:
        ray = load_ray()
        listed = list(assignments)
        if not listed:
            return
        self._join(ray)
        try:
            ledger = ray.remote(num_cpus=0)(Ledger).remote()
            outcome: Future[None] = Future()

            def drive() -> None:
                try:
                    self._drive(ray, work, ledger, listed)
                    outcome.set_result(None)
                except BaseException as error:
                    outcome.set_exception(error)

            threading.Thread(target=drive, daemon=True).start()
            is_over = False
            while not is_over:
                is_over = outcome.done()
                rows, refusal = ray.get(ledger.take.remote())
                if refusal is not None:
                    raise UserError(refusal)
                yield from rows or [{}]
                time.sleep(0 if is_over else POLL_S)
            outcome.result()
        finally:
            _end_streams()
            ray.shutdown()

    def _join(self, ray: Any) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        try:
            with _own_handler():
                if self.address is not None:
                    ray.init(address=self.address, **quiet)
                else:
                    # at least as many processors as the workers want, whatever the machine has
                    processors = max(os.cpu_count() or 1, (self.workers or 1) * self.threads)
                    # not one that somebody has started here: without an address Ray would look for it
                    ray.init("local", num_cpus=processors, include_dashboard=False, **quiet)
        except Exception as error:  # each way of not getting there has its own
            told = " ".join(str(error).split())[:300]
            raise UserError(
                f"the Ray cluster cannot be reached ({told}): check --address, and RAY_AUTH_TOKEN"
            ) from None

    def _drive(self, ray: Any, work: Work, ledger: Any, listed: list[Assignment]) -> None:
        """Streams the items through the pool."""
        import pyarrow

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        n_workers = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // self.threads)
        blocks = _blocks(listed, min(MOST_BLOCKS, BLOCKS_A_WORKER * n_workers))
        data = ray.data.from_arrow([pyarrow.table(block) for block in blocks])
        options: dict[str, Any] = {"num_cpus": self.threads}
        if self.gpus:
            options["num_gpus"] = self.gpus
        done = data.map_batches(
            _Actor,
            fn_constructor_args=(work, ledger),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=2),
            **options,
        )
        for _ in done.iter_internal_ref_bundles():
            pass


@contextmanager
def _own_handler() -> Iterator[None]:
    """What SIGTERM does is what it did before: Ray has handlers of its own, which end with other words and codes."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may have handlers
            signal.signal(signal.SIGTERM, handler)


def _end_streams() -> None:
    """Ends streams that were broken off: their threads ask the cluster something all the time, and Ray ends the whole
    process of whoever does that after its shutdown."""
    from ray.data._internal.execution.interfaces import Executor

    for thread in threading.enumerate():
        if isinstance(thread, Executor):
            thread.shutdown(force=True)
            thread.join()


def _blocks(listed: list[Assignment], n_blocks: int) -> Iterator[dict[str, list[str]]]:
    """Items as columns, in blocks of one as long as there are few."""
    size = -(-len(listed) // n_blocks)
    for first in range(0, len(listed), size):
        some = listed[first : first + size]
        yield {
            "source": [one.item.source for one in some],
            "track": [one.item.track for one in some],
            "prompts": ["\n".join(one.item.prompts) for one in some],  # which have no line breaks
            "content": [one.content or "" for one in some],
        }
