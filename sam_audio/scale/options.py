"""How a batch is run. Imports nothing heavy: ``sam-audio batch --help`` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sam_audio.errors import UserError
from sam_audio.options import option


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is run.

    Args:
        task: what is done with each recording.
        engine: ``local`` are processes on this machine, ``ray`` is a cluster.
        workers: how many; None for as many as there is room for.
        threads, gpus: of each.
        address: of a Ray cluster; None starts one on this machine.
        retries: how often an item that fails is tried again.
        timeout_s: without a byte, after which a store is asked again.
        overwrite: replace what was made with other prompts or settings.
    """

    task: Literal["separate", "embed", "locate", "caption"] = option(
        "separate",
        "What is done with each recording.",
        choices=("separate", "embed", "locate", "caption"),
    )
    engine: Literal["local", "ray"] = option(
        "local", "local: processes on this machine; ray: a cluster.", choices=("local", "ray")
    )
    workers: int | None = option(
        None, "Each has a model.", metavar="N", least=1, shown="one for two processors"
    )
    threads: int = option(1, "CPU threads of a worker.", metavar="N", least=1)
    gpus: float = option(0.0, "Of a worker, with --engine ray; 0.5 for two on one.", metavar="N", least=0)
    address: str | None = option(
        None, "A Ray cluster to join.", metavar="HOST:PORT", shown="one is started on this machine"
    )
    retries: int = option(2, "How often an item that fails is tried again.", metavar="N", least=0)
    timeout_s: float = option(
        60.0, "Without a byte, after which a store is asked again.", key="timeout", metavar="S", least=1
    )
    overwrite: bool = option(False, "Replace what was made with other prompts or settings.")

    def check(self) -> None:
        """Raises UserError for what cannot work together."""
        if self.engine == "local" and (self.address is not None or self.gpus):
            raise UserError("--address and --gpus are for a cluster: add --engine ray")
