"""The one loop: resumes exactly, and several processes are as one."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sam_audio.errors import UserError
from sam_audio.training import recipe
from sam_audio.training.estimate import estimate
from sam_audio.training.tasks import flow
from sam_audio.training.trainer import LOG, STATE, Share, checkpoint_blocks, rate_at, train

TINY = (
    *(
        "seconds=0.04",
        "model.dim=16",
        "model.heads=2",
        "model.layers=1",
        "batch=4",
        "steps=6",
        "warmup_steps=2",
    ),
    *("log_every=1", "validate_every=1000", "examples=2", "solver_steps=2", "device=cpu", "clip=0.5"),
)


def settings(*changes: str):
    return recipe.load("flow/toy", (*TINY, *changes))


def run(folder: Path, *changes: str, until: int | None = None):
    chosen = settings(*changes)
    return train(recipe.task_of(chosen), chosen, folder, until)


def losses(folder: Path) -> list[str]:
    with (folder / LOG).open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{flow.NAME}.safetensors")


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path):
    run(tmp_path / "whole")
    first = run(tmp_path / "parts", until=2)
    assert (first.step, first.files) == (2, [])
    run(tmp_path / "parts", until=4)
    with (tmp_path / "parts" / LOG).open("a") as file:
        file.write("5,0.1\r\n6,")  # killed after its last state was saved, in the middle of a row
    run(tmp_path / "parts")
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 6
    torch.testing.assert_close(weights(tmp_path / "parts"), weights(tmp_path / "whole"), rtol=0, atol=0)
    assert any(path.name.startswith("events") for path in (tmp_path / "whole").iterdir())


def test_a_finished_run_has_nothing_to_do(tmp_path):
    run(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    assert run(tmp_path).step == 6
    assert (tmp_path / STATE).read_bytes() == before


def test_accumulated_parts_are_one_step(tmp_path):
    run(tmp_path / "one")
    run(tmp_path / "four", "accumulate=4")
    torch.testing.assert_close(weights(tmp_path / "four"), weights(tmp_path / "one"), rtol=1e-3, atol=1e-4)


def test_checkpointing_changes_no_gradient(tmp_path):
    chosen = settings("model.layers=3")
    plain, again = recipe.task_of(chosen), recipe.task_of(chosen)
    assert checkpoint_blocks(again) == 3
    batch, _ = next(plain.batches(Share(), 4, {}))
    for task in (plain, again):
        task.network(batch)["loss"].backward()
    for one, other in zip(plain.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert again.network.state_dict().keys() == plain.network.state_dict().keys()
    run(tmp_path, "checkpointing=true")
    assert flow.load_flow(tmp_path)


MEMBER = """
import sys
from pathlib import Path
from sam_audio.training import recipe
from sam_audio.training.trainer import train
settings = recipe.load("flow/toy", sys.argv[2:])
train(recipe.task_of(settings), settings, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_are_one(strategy, tmp_path):
    """Of the same global batch; and what both have left is read by one."""
    (tmp_path / "member.py").write_text(MEMBER)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(tmp_path / "member.py", tmp_path / "two", *TINY, f"strategy={strategy}"),
        ],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run(tmp_path / "one")
    torch.testing.assert_close(weights(tmp_path / "two"), weights(tmp_path / "one"), rtol=1e-3, atol=1e-4)
    for two, one in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        assert float(two) == pytest.approx(float(one), abs=1e-5)
    with pytest.raises(UserError, match="left by 2 processes"):
        run(tmp_path / "two", f"strategy={strategy}", "steps=7")


def test_bf16_learns(tmp_path):
    run(tmp_path, "precision=bf16")
    assert all(float(loss) < 5 for loss in losses(tmp_path))


def test_states_of_other_recipes_are_refused(tmp_path):
    run(tmp_path, until=1)
    with pytest.raises(UserError, match="another recipe"):
        run(tmp_path, "learning_rate=0.1")
    with pytest.raises(UserError, match="cannot be divided in 3"):
        run(tmp_path / "other", "accumulate=3")


def test_the_rate_rises_and_falls():
    chosen = settings("steps=100", "warmup_steps=10", "learning_rate=1.0")
    rates = [rate_at(step, chosen) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] < 0.001


def test_an_estimate_takes_no_memory():
    small, large = (estimate(settings(f"model.dim={dim}", "model.layers=4")) for dim in (64, 128))
    assert 3 < large.parameters / small.parameters < 5
    assert large.step_flops > 3 * small.step_flops
    assert large.optimizer_bytes == 16 * large.learning
    assert estimate(settings("strategy=fsdp"), processes=2).optimizer_bytes * 2 == pytest.approx(
        estimate(settings()).optimizer_bytes, abs=2
    )
    huge = estimate(settings("model.dim=2816", "model.heads=22", "model.layers=22"))
    assert huge.parameters > 2.5e9
    assert "hours of an H100" in str(huge)


def test_the_toy_learns(tmp_path):
    """Held-out mixtures are improved; the whole recipe does more, see docs/training.md."""
    changes = ("seconds=0.08", "model.dim=48", "steps=150", "batch=32", "learning_rate=4e-3", "examples=12")
    done = run(tmp_path, *changes, "warmup_steps=20", "ema=0.95", "clip=1.0", "solver_steps=6")
    curve = [float(loss) for loss in losses(tmp_path)]
    assert sum(curve[-20:]) < 0.5 * sum(curve[:20])
    network, task = flow.load_flow(tmp_path)
    assert task.validate(network) == task.validate(done.network)
