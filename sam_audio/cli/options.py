"""Declared options on the command line: those of ``separate`` itself, of models, and of prompt types and their plugins.

Dataclasses say with `sam_audio.options.option` what there is; here each field becomes a parameter that typer
understands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypeVar, get_args

import typer
from typer.core import TyperCommand
from typer.main import get_command

from sam_audio.errors import UserError
from sam_audio.options import OptionField, options_of
from sam_audio.separator import model_options

if TYPE_CHECKING:
    from sam_audio.extending.hookspecs import Option

F = TypeVar("F", bound=Callable[..., Any])
_ALL = "sam_audio.help_all"
_CLUE, _MODEL = "clue_", "model_option_"  # keep parameters of plugins apart from those of the command
CLUES_PANEL, MODEL_PANEL = "Prompts beside text", "Options of models"


# ---- fields of a dataclass in place of one parameter -----------------------------------------------------


def fields_as_options(
    without: Mapping[str, Collection[str]] | None = None, **kinds: type
) -> Callable[[F], F]:
    """Lets a command take the fields of dataclasses as options, and gives it the dataclasses.

    Args:
        without: fields that are left at their defaults, by the names of the same parameters.
        kinds: by the names of the parameters that get them.
    """
    left_out = without or {}
    asked = {
        name: [one for one in options_of(kind) if one.name not in left_out.get(name, ())]
        for name, kind in kinds.items()
    }

    def decorate(command: F) -> F:
        parameters: list[Parameter] = []
        for parameter in signature(command, eval_str=True).parameters.values():
            fields = asked.get(parameter.name)
            parameters += [parameter] if fields is None else _of_fields(fields)

        @wraps(command)
        def taking(**values: Any) -> Any:
            for name, kind in kinds.items():
                values[name] = kind(**_collected(asked[name], values))
            return command(**values)

        return _with_parameters(taking, parameters)  # type: ignore[return-value]

    return decorate


def _of_fields(options: Collection[OptionField]) -> Iterator[Parameter]:
    for one in options:
        for value, text in (one.declared.switches or {}).items():
            info = typer.Option(f"--{value}", help=text, rich_help_panel=one.declared.panel)
            yield _parameter(f"{one.name}_{value}", bool, False, info)
        if not one.declared.switches:
            yield _parameter(one.name, _shown_type(one), one.default, _info(one))


def _info(one: OptionField, default_text: str | None = None, panel: str | None = None) -> Any:
    declared = one.declared
    flags = f"{one.flag}/--{declared.off.replace('_', '-')}" if declared.off else one.flag
    more: dict[str, Any] = {
        "help": declared.help,
        "rich_help_panel": panel or declared.panel,
        "metavar": declared.metavar,
    }
    if declared.least is not None:
        more["min"] = declared.least
    if default_text is not None or declared.shown is not None or one.default is None:
        more["show_default"] = declared.shown or default_text or False
    return typer.Option(flags, *([declared.short] if declared.short else []), **more)


def _parameter(name: str, kind: Any, default: Any, info: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _shown_type(one: OptionField) -> Any:
    """What typer makes of a field: numbers and switches as they are, all others as texts; all may be left out."""
    if one.declared.choices:
        return Optional[Enum(one.name, {choice: choice for choice in one.declared.choices}, type=str)]
    kinds = get_args(one.type) or (one.type,)
    number = next((kind for kind in (bool, int, float) if kind in kinds and not one.declared.parse), str)
    return Optional[number]


def _collected(options: Collection[OptionField], values: dict[str, Any]) -> dict[str, Any]:
    """Takes what belongs to these options out of the values.

    Raises:
        UserError: switches that exclude each other.
    """
    found: dict[str, Any] = {}
    for one in options:
        if one.declared.switches:
            chosen = [value for value in one.declared.switches if values.pop(f"{one.name}_{value}")]
            if len(chosen) > 1:
                raise UserError(f"--{chosen[0]} and --{chosen[1]} exclude each other: choose one")
            found[one.name] = chosen[0] if chosen else one.default
        else:
            found[one.name] = _parsed(one, values.pop(one.name))
    return found


def _parsed(one: OptionField, value: Any) -> Any:
    return one.parsed(value.value if isinstance(value, Enum) else value)


def _with_parameters(function: Any, parameters: list[Parameter]) -> Any:
    """All that typer looks at."""
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    function.__signature__ = Signature(
        [replaced.replace(kind=Parameter.KEYWORD_ONLY) for replaced in parameters]
    )
    return function


# ---- what plugins and models add -----------------------------------------------------------------------


class SeparateCommand(TyperCommand):
    """A command whose options grow by those of models and prompt types, found when they are first needed.

    ``--help`` shows what has no panel of its own, which fits a screen; ``--help-all`` shows all.
    """

    _more: list[Any] | None = None

    def get_params(self, ctx: Any) -> list[Any]:
        if self._more is None:
            self._more = _found(
                {name for param in self.params for name in [*param.opts, *param.secondary_opts]}
            )
        *params, help = super().get_params(ctx)
        return [*params, *self._more, help]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        whole = ctx.meta.get(_ALL, False)
        options = [param for param in self.get_params(ctx) if hasattr(param, "hidden")]
        hidden = {param: param.hidden for param in options}
        for param in options:
            param.hidden = hidden[param] or not (whole or param.rich_help_panel is None)
        try:
            super().format_help(ctx, formatter)
        finally:
            for param in options:
                param.hidden = hidden[param]

    def invoke(self, ctx: Any) -> Any:
        for prefix in (_CLUE, _MODEL):
            ctx.meta[prefix] = {
                name.removeprefix(prefix): ctx.params.pop(name)
                for name in [name for name in ctx.params if name.startswith(prefix)]
            }
        return super().invoke(ctx)


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        context.meta[_ALL] = True
        context.get_help()
        context.exit()


def given_clues(context: typer.Context) -> dict[str, Any]:
    """What was given of the options of prompt types, by key."""
    clues = context.meta.get(_CLUE, {}).items()
    return {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in clues if value}


def given_model_options(context: typer.Context) -> dict[str, Any]:
    """What was given of the options of models, by the names of their fields."""
    given = {name: value for name, value in context.meta.get(_MODEL, {}).items() if value is not None}
    known = model_options()
    return {name: _parsed(known[name], value) for name, value in given.items()}


def _found(taken: set[str]) -> list[Any]:
    from sam_audio.cli.shared import complain
    from sam_audio.extending.registry import registry

    known = registry(lambda text: complain(text, "warning"))
    parameters: list[Parameter] = []
    for one in model_options().values():
        _check_free(one.flag, "a model", taken)
        default = one.default if not isinstance(one.default, bool) else _word(one)
        unsaid = replace(one, default=None)
        parameters.append(
            _parameter(_MODEL + one.name, _shown_type(one), None, _info(unsaid, str(default), MODEL_PANEL))
        )
    for kind, option in known.options():
        _check_free(option.flag, kind.name, taken)
        parameters.append(_clue(option))
    info = typer.Option(
        "--help-all",
        is_eager=True,
        expose_value=False,
        callback=_show_all,
        help="Show all options, those of models and plugins too.",
    )
    parameters.append(_parameter("help_all", bool, False, info))

    def function(**values: Any) -> None:
        """Never called."""

    app = typer.Typer(add_completion=False)
    app.command()(_with_parameters(function, parameters))
    return list(get_command(app).params)


def _word(one: OptionField) -> str:
    """Which of two flags is the default."""
    return one.flag.lstrip("-") if one.default else one.declared.off.replace("_", "-") or "no"


def _check_free(flag: str, whose: str, taken: set[str]) -> None:
    if flag in taken:
        raise UserError(f"the plugin of {whose} brings {flag}, which separate has: uninstall it")
    taken.add(flag)


def _clue(option: Option) -> Parameter:
    info = typer.Option(
        option.flag, metavar=option.metavar, help=option.help, rich_help_panel=CLUES_PANEL, show_default=False
    )
    wanted: Any = list[str] if option.many else str
    name = _CLUE + option.key
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Optional[wanted], info])
