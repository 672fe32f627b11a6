"""What is shipped beside the package: that it names what there is."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from sam_audio.cli import app

ROOT = Path(__file__).parent.parent


def test_pages_of_commands_are_those_of_the_commands():
    for path, text in runpy.run_path(str(ROOT / "docs/reference.py"))["pages"]().items():
        assert path.read_text() == text, f"{path.name} is old: run python docs/reference.py"


def test_the_service_s_options_in_the_container_are_the_command_s():
    serve = get_command(app).commands["serve"]
    known = {flag for parameter in serve.params for flag in parameter.opts}
    service = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["service"]
    commands, service_ = (ROOT / "deploy/Dockerfile").read_text().split(" AS service\n")
    assert 'ENTRYPOINT ["separate"]' in commands
    entry = next(line for line in service_.splitlines() if line.startswith("ENTRYPOINT"))
    given = [*yaml.safe_load(entry.removeprefix("ENTRYPOINT ")), *service["command"]]
    assert given[:2] == ["sam-audio", "serve"]
    assert {word for word in given if word.startswith("--")} <= known


def test_the_container_installs_extras_that_there_are():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (ROOT / "deploy/Dockerfile").read_text()
    wanted = [extra for some in re.findall(r'"\.\[([\w,]+)\]"', text) for extra in some.split(",")]
    assert len(wanted) > 3 and set(wanted) <= extras.keys()


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


def test_the_base_installation_is_light():
    heavy = {"torch", "transformers", "scipy", "pytorch-lightning", "tokenizers", "huggingface-hub"}
    assert not names(project()["dependencies"]) & heavy
    for extra in ("torch", "official", "train"):
        wanted = project()["optional-dependencies"][extra]
        assert extra == "torch" or any("separate-by-prompt[torch" in one for one in wanted)


def test_on_the_package_index_no_link_leads_to_a_file_that_is_not_there():
    hooks = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    text = (ROOT / "README.md").read_text()
    assert "](docs/" in text and "![" in text
    for one in hooks["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    assert not re.search(r"\]\((?!https?:|#)", text)
    assert "prompts (`docs/prompts.md`)" in text and "![" not in text


@pytest.mark.network
@pytest.mark.parametrize("extra", [None, *project()["optional-dependencies"]])
def test_the_extras_resolve(extra):
    """By themselves, as pip would resolve them: without the overrides of this repository."""
    command = [
        "uv",
        "pip",
        "compile",
        "--no-config",
        "--no-header",
        "--no-annotate",
        "--quiet",
        "pyproject.toml",
    ]
    done = subprocess.run(
        [*command, *(["--extra", extra] if extra else [])], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if extra is None:
        assert len(done.stdout.splitlines()) <= 24


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/workflows").glob("*.yaml")), ids=lambda path: path.name
)
def test_workflows_have_limits(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    assert jobs and all("timeout-minutes" in job for job in jobs.values())
