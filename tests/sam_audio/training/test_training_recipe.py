from __future__ import annotations

import pytest

from sam_audio.errors import UserError
from sam_audio.training import recipe
from sam_audio.training.tasks.flow import Settings


def test_every_recipe_is_whole():
    found = recipe.names()
    assert "flow/toy" in found
    for name, about in found.items():
        assert about.endswith("."), name
        assert recipe.load(name).task in recipe.TASKS


def test_single_keys_can_be_changed():
    chosen = recipe.load(
        "flow/toy", ["steps=7", "model.layers=3", "codec=/some where/x.pth", 'data=["a", "b"]']
    )
    assert isinstance(chosen, Settings)
    assert (chosen.steps, chosen.model.layers, chosen.model.dim) == (7, 3, 64)
    assert (chosen.codec, chosen.data) == ("/some where/x.pth", ["a", "b"])


def test_a_stage_changes_what_its_table_says(tmp_path):
    path = tmp_path / "mine.toml"
    text = (recipe.FOLDER / "flow/toy.toml").read_text()
    path.write_text(text + "[stages.second]\nsteps = 3\nmodel.layers = 1\n")
    assert recipe.load(str(path)).steps == 1500
    second = recipe.load(str(path), ["stage=second", "model.dim=32"])
    assert (second.steps, second.model.layers, second.model.dim, second.stage) == (3, 1, 32, "second")
    with pytest.raises(UserError, match="no stage 'third': it has second"):
        recipe.load(str(path), ["stage=third"])


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("flow/toys", [], "no recipe called flow/toys: use .*flow/toy"),
        ("../recipes/flow/toy", [], "no recipe called"),
        ("/no/such.toml", [], "such.toml"),
        ("flow/toy", ["steps"], "write key=value"),
        ("flow/toy", ["step=3"], "unknown key 'step': did you mean steps"),
        ("flow/toy", ["steps=many"], "steps"),
        ("flow/toy", ["batch=0"], "give 1 or more"),
        ("flow/toy", ["model.size=3"], "size"),
        ("flow/toy", ["task=sing"], "no task that is known"),
    ],
)
def test_what_is_wrong_is_said(name, changes, message):
    with pytest.raises(UserError, match=message):
        recipe.load(name, changes)


def test_from_the_command_line(cli, tmp_path):
    listed = cli("train", "list")
    assert listed.code == 0 and "flow/toy" in listed.out
    tiny = (
        "seconds=0.04",
        "model.dim=16",
        "model.layers=1",
        "batch=2",
        "steps=1",
        "examples=1",
        "device=cpu",
    )
    dry = cli("train", "--recipe", "flow/toy", "--dry-run", *tiny)
    assert dry.code == 0 and "parameters" in dry.out and "memory" in dry.out and "cost" in dry.out
    done = cli("train", "--recipe", "flow/toy", "--run", tmp_path / "run", *tiny)
    assert done.code == 0 and "flow.safetensors" in done.out
    wrong = cli("train", "--recipe", "nothing")
    assert wrong.code == 2 and wrong.err.endswith("or name a .toml file\n")
