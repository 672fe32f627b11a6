"""The options of all prompt types, the package's and its plugins', on the command line of ``separate``."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from typer.core import TyperCommand
from typer.main import get_command

from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.extending.hookspecs import Option, PromptType

_GIVEN = "sam_audio.clues"
_PREFIX = "clue_"  # keeps parameters of plugins apart from those of the command
PANEL = "Prompts beside text"


class PromptCommand(TyperCommand):
    """A command whose options grow by those of the prompt types, found when they are first needed."""

    _clues: list[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:
        if self._clues is None:
            self._clues = _parameters(
                {name for param in self.params for name in [*param.opts, *param.secondary_opts]}
            )
        params = super().get_params(ctx)
        return [*params[:-1], *self._clues, params[-1]]  # --help stays the last

    def invoke(self, ctx: Any) -> Any:
        clues = {}
        for name in [name for name in ctx.params if name.startswith(_PREFIX)]:
            value = ctx.params.pop(name)
            if value:
                clues[name.removeprefix(_PREFIX)] = list(value) if isinstance(value, (list, tuple)) else value
        ctx.meta[_GIVEN] = clues
        return super().invoke(ctx)


def given(context: typer.Context) -> dict[str, Any]:
    """What was given of these options, by key."""
    return dict(context.meta.get(_GIVEN, {}))


def _parameters(taken: set[str]) -> list[Any]:
    from sam_audio.cli.shared import complain
    from sam_audio.extending.registry import registry

    app = typer.Typer(add_completion=False)
    app.command()(_function(registry(lambda text: complain(text, "warning")).options(), taken))
    return list(get_command(app).params)


def _function(options: list[tuple[PromptType, Option]], taken: set[str]) -> Any:
    """A function with these options as its parameters: all that typer needs to know of them."""
    parameters = []
    for kind, option in options:
        if option.flag in taken:
            raise UserError(
                f"the plugin of {kind.name} brings {option.flag}, which separate has: uninstall it"
            )
        info = typer.Option(
            option.flag, metavar=option.metavar, help=option.help, rich_help_panel=PANEL, show_default=False
        )
        wanted: Any = list[str] if option.many else str
        annotation = Annotated[Optional[wanted], info]
        name = _PREFIX + option.key
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation))

    def function(**values: Any) -> None:
        """Never called."""

    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    function.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return function
