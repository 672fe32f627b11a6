"""Separators. :func:`load` gives a :class:`sam_audio.separator.base.SeparationModel` by name, hub id or path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from sam_audio.errors import ModelError, UserError
from sam_audio.options import OptionField, options_of

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel
    from sam_audio.separator.family import SeparatorType


def load(name: str, device: str = "cpu", options: Any = None) -> SeparationModel:
    """Loads a separation model.

    Args:
        name: ``nano``, the path of a safetensors file with weights of the nano network, an official model: its hub id
            (``facebook/sam-audio-small``) or folder, or what a plugin calls its model.
        device: ``cpu``, ``cuda``, ``mps``.
        options: of the model's family, such as `sam_audio.separator.official.options.OfficialOptions`, or a dict
            of some of them.

    Raises:
        ModelError: there is no such model, or its file is damaged or of another kind.
        UserError: an option that the model does not have.
    """
    from sam_audio.separator.base import SeparationModel

    family = family_of(name)
    model = family.load(name, device, made_options(family, name, options))
    if not isinstance(model, SeparationModel):
        raise ModelError(
            f"the plugin of the model {name} brings no SeparationModel: install its newest release"
        )
    return model


def family_of(name: str) -> SeparatorType:
    """The family that a model of this name belongs to.

    Raises:
        ModelError: none.
    """
    from sam_audio.extending.registry import registry

    families: list[SeparatorType] = registry().all("separators")
    for family in families:
        if family.name == name:
            return family
    own = registry().plugins[0].provides["separators"]
    # those of plugins first: the package's own answer to any path and hub id
    for family in sorted(families, key=own.__contains__):
        if family.answers(name):
            return family
    known = ", ".join(family.name for family in families if family.answers(family.name))
    raise ModelError(
        f"there is no model called {name}: use {known}, a .safetensors file, or one like facebook/sam-audio-small"
    )


def made_options(family: SeparatorType, name: str, options: Any) -> Any:
    """Options of a family's own kind, of a dict of some of them, or of what is of that kind already.

    Raises:
        UserError: the family has no such option.
    """
    if options is None:
        return family.options()
    if is_dataclass(options) and not isinstance(options, type):
        if isinstance(options, family.options):
            return options
        options = {f.name: getattr(options, f.name) for f in fields(options)}
    known = {f.name for f in fields(family.options)}
    for key in options:
        if key not in known:
            raise UserError(
                f"the model {name} has no {_flag(key)}: leave it out, or name a model that has it"
            )
    return family.options(**options)


def model_options() -> dict[str, OptionField]:
    """The options of all families by the names of their fields.

    Raises:
        UserError: two families have different options of one name.
    """
    from sam_audio.extending.registry import registry

    found: dict[str, OptionField] = {}
    for family in registry().all("separators"):
        for one in options_of(family.options):
            before = found.setdefault(one.name, one)
            if (before.flag, before.type) != (one.flag, one.type):
                raise UserError(
                    f"the separator {family.name} has another {one.flag} than others: uninstall it"
                )
    return found


def _flag(name: str) -> str:
    """How the command line calls an option of any family, by the name of its field."""
    known = model_options()
    return known[name].flag if name in known else "--" + name.replace("_", "-")


def given_options(options: Any) -> Mapping[str, Any]:
    """Options as plain values, for what is remembered of outputs; of a dict as it is."""
    if options is None:
        return {}
    if is_dataclass(options) and not isinstance(options, type):
        return {f.name: getattr(options, f.name) for f in fields(options)}
    return dict(options)
