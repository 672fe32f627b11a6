"""Finds plugins and what they add. Nothing of a third party is imported before :func:`registry` is called.

A plugin that cannot be used is named in one warning and left out; two that use one name are an error, since
either of them could be meant.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import GROUP, HOOKS, Exporter, Hooks, Option, PromptType, SeparatorType

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_OWN = "separate-by-prompt"  # the distribution of the package itself
_METHODS = {
    "prompt_types": ("parse", "encode"),
    "separators": ("load",),
    "rankers": ("load",),
    "exporters": ("export",),
    "post_processors": ("wrap",),
    "text_normalisers": ("normalise",),
    "captioners": ("caption",),
}
_BASES: dict[str, type] = {"separators": SeparatorType, "exporters": Exporter}


class PluginWarning(UserWarning):
    """A plugin that is left out."""


@dataclass
class Plugin:
    """An installed plugin: what it provides by hook, or why it is disabled."""

    name: str
    distribution: str
    version: str
    provides: dict[str, list[Any]]
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For ``sam-audio plugins --json``."""
        names = {hook: [thing.name for thing in things] for hook, things in self.provides.items()}
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "provides": names,
            "options": [o.flag for kind in self.provides.get("prompt_types", ()) for o in kind.options],
            "problem": self.problem,
        }


class Registry:
    """All that the package and its plugins provide.

    Args:
        entry_points: of the plugins and of the package itself, whose things come first.
        warn: told in one sentence of a plugin that is left out.

    Raises:
        UserError: two plugins provide things of one name, or options of one flag; the package's own plugin is not
            installed or cannot be used.
    """

    def __init__(self, entry_points: Iterable[EntryPoint], warn: Callable[[str], None]) -> None:
        found = [self._load(point) for point in entry_points]
        own = [plugin for plugin in found if plugin.distribution == _OWN]
        if not own:
            raise UserError("the installation of sam-audio lacks its own plugin: reinstall it")
        self.plugins = own + [plugin for plugin in found if plugin.distribution != _OWN]
        for plugin in self.plugins:
            if plugin.problem is None:
                continue
            if plugin.distribution == _OWN:
                raise UserError(f"the installation of sam-audio is broken ({plugin.problem}): reinstall it")
            warn(f"the plugin {plugin.name} is disabled: {plugin.problem}")
        self._by_name = {hook: self._named(hook) for hook in HOOKS}
        self._check_options()

    def all(self, hook: str) -> list[Any]:
        """Everything that a hook provides, the package's own first."""
        return list(self._by_name[hook].values())

    def get(self, hook: str, name: str) -> Any:
        """The one of that name.

        Raises:
            UserError: there is none.
        """
        things = self._by_name[hook]
        if name not in things:
            known = f"use {', '.join(things)}" if things else "a plugin has to bring one"
            raise UserError(f"there is no {_singular(hook)} {name!r}: {known}; see sam-audio plugins")
        return things[name]

    def options(self) -> list[tuple[PromptType, Option]]:
        """The options of all prompt types."""
        return [(kind, option) for kind in self.all("prompt_types") for option in kind.options]

    def clues(self) -> dict[str, str | None]:
        """The options by key: whether their values name a file to "read" or to "write"; None for no file."""
        return {option.key: option.file for _, option in self.options()}

    def _load(self, point: EntryPoint) -> Plugin:
        """Imports one plugin; what is wrong with it is in its ``problem``."""
        distribution = point.dist
        name, version = (distribution.name, distribution.version) if distribution else (point.name, "")
        plugin = Plugin(point.name, name, version, {})
        try:
            plugin.provides = _collect(point.load())
        except Exception as error:  # third-party code: anything may go wrong, and none of it is ours
            plugin.problem = " ".join(f"{type(error).__name__}: {error}".split())
        return plugin

    def _named(self, hook: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        owners: dict[str, str] = {}
        for plugin in self.plugins:
            for thing in plugin.provides.get(hook, ()):
                if thing.name in found:
                    what = f"the {_singular(hook)} {thing.name!r}"
                    raise _twice(what, owners[thing.name], plugin.distribution)
                found[thing.name], owners[thing.name] = thing, plugin.distribution
        return found

    def _check_options(self) -> None:
        owners: dict[str, str] = {}
        for plugin in self.plugins:
            for kind in plugin.provides.get("prompt_types", ()):
                for option in kind.options:
                    for name in (option.flag, option.key):
                        if name in owners:
                            raise _twice(f"the option {name}", owners[name], plugin.distribution)
                        owners[name] = plugin.distribution


def _singular(hook: str) -> str:
    """A hook's things, one of them, in words."""
    return hook.removesuffix("s").replace("_", " ")


def _twice(what: str, one: str, other: str) -> UserError:
    if one == other:
        return UserError(f"the plugin {one} brings {what} twice: uninstall it or correct it")
    return UserError(f"the plugins {one} and {other} both bring {what}: uninstall one of them")


def _collect(module: Any) -> dict[str, list[Any]]:
    """What a plugin module provides, by hook.

    Raises:
        ValueError: it has hooks that do not exist, or that return the wrong things.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(module)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ValueError(f"{error}; the hooks are {', '.join(HOOKS)}") from None
    provides = {}
    for hook in HOOKS:
        found = getattr(manager.hook, hook)()
        things = [thing for returned in found for thing in returned]
        for thing in things:
            _check(hook, thing)
        if things:
            provides[hook] = things
    if not provides:
        raise ValueError("it provides nothing; are its functions marked with @hookimpl?")
    return provides


def _check(hook: str, thing: Any) -> None:
    if not isinstance(getattr(thing, "name", None), str) or not thing.name:
        raise ValueError(f"what its hook {hook} returns has no name")
    missing = [method for method in _METHODS[hook] if not callable(getattr(thing, method, None))]
    if missing:
        raise ValueError(f"{thing.name}, of its hook {hook}, has no method {missing[0]}")
    if (base := _BASES.get(hook)) is not None and not isinstance(thing, base):
        raise ValueError(f"the {_singular(hook)} {thing.name} is not derived from {base.__name__}")
    if hook == "prompt_types":
        options = getattr(thing, "options", None)
        if not options or not all(isinstance(option, Option) for option in options):
            raise ValueError(f"the prompt type {thing.name} has no options")
        if not all(option.flag.startswith("--") for option in options):
            raise ValueError(f"the prompt type {thing.name} has an option that does not begin with --")
        for option in options:
            if re.search(r"FILE|PATH|FOLDER|DIR|\.\w", option.metavar) and option.file is None:
                raise ValueError(
                    f"{option.flag} takes {option.metavar}: its Option has to say file='read' or file='write'"
                )


_lock = threading.Lock()
_registry: Registry | None = None


def registry(warn: Callable[[str], None] | None = None) -> Registry:
    """What there is, looked for once a process.

    Args:
        warn: told of plugins that are left out; Python warnings by default.
    """
    global _registry
    with _lock:
        if _registry is None:
            from importlib.metadata import entry_points

            found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
            _registry = Registry(found, warn or (lambda text: warnings.warn(text, PluginWarning, 3)))
        return _registry


def reset() -> None:
    """Looks again when next asked; for tests and notebooks that install plugins."""
    global _registry
    with _lock:
        _registry = None
