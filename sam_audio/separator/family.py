"""What a family of separation models is: the names it answers to, its options, and how one of its models is loaded.

Nothing heavy is imported before a model is loaded: ``separate --help`` lists the options of all families.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sam_audio.options import NoOptions

if TYPE_CHECKING:
    from sam_audio.separator.base import SeparationModel


class SeparatorType(ABC):
    """A family of separation models, for ``--model NAME``.

    Attributes:
        name: of the family, and of its model if there is just one.
        options: a dataclass whose fields are declared with :func:`sam_audio.options.option`; the command line, job
            files and the editor ask for them.
    """

    name: str
    options: type = NoOptions

    def answers(self, name: str) -> bool:
        """Whether a model of this name, or at this path, is of this family."""
        return name == self.name

    @abstractmethod
    def load(self, name: str, device: str, options: Any) -> SeparationModel:
        """Loads a model, with ``options`` of this family's kind.

        Raises:
            ModelError: there is no such model, or its file is damaged or of another kind.
        """
