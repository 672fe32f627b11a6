"""``sam-audio plugins``: what is installed, and how to begin one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="List plugins, or begin a new one.", invoke_without_command=True)


@app.callback()
def plugins(
    context: typer.Context,
    json_summary: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List installed plugins and what they add, or begin a new one."""
    if context.invoked_subcommand is None:
        _list(json_summary)


def _list(as_json: bool) -> None:
    from sam_audio.cli.shared import complain, show, show_json
    from sam_audio.extending.registry import registry

    found = [plugin.as_dict() for plugin in registry(lambda text: complain(text, "warning")).plugins]
    if as_json:
        show_json({"plugins": found})
        return
    for plugin in found:
        show(
            f"{plugin['distribution']} {plugin['version']}".strip()
            + ("  (disabled)" if plugin["problem"] else "")
        )
        for hook, names in plugin["provides"].items():
            flags = f"  ({', '.join(plugin['options'])})" if hook == "prompt_types" else ""
            show(f"  {hook.replace('_', ' ')}: {', '.join(names)}{flags}")


@app.command("new")
def new(
    name: Annotated[
        str, typer.Argument(help="Of the prompt type, like loudest; also of its option --loudest.")
    ],
    folder: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where its folder is made.", show_default="here"),
    ] = Path("."),
) -> None:
    """Begin a plugin: a distribution with a prompt type, an entry point, a README and tests that pass."""
    from sam_audio.cli.shared import show
    from sam_audio.extending.scaffold import new_plugin

    for path in new_plugin(name, folder):
        show(str(path))
