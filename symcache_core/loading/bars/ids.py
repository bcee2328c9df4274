"""The ids by which people and reports name a series: ``ib:107113386``, and ``ib:107113386#1`` for one generation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from ...errors import ConfigurationError

FORMER = 0
"""The number of the generation that stands for what 0.1.0 kept under a symbol."""

_GENERATION = re.compile(r"(?P<identity>.+)#(?P<generation>[0-9]{1,9})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SeriesId:
    """An id, taken apart.

    Args:
        provider: Whose series it is.
        identity: What it is known by to that one.
        generation: The number of a generation; ``None`` stands for the current one.
    """

    provider: str
    identity: str
    generation: int | None = None

    @classmethod
    def parse(cls, text: str, provider: str) -> Self:
        """Read an id of a provider's series.

        Args:
            text: As it is written.
            provider: Whose it has to be.

        Raises:
            ConfigurationError: It is none, or another provider's.
        """
        named, colon, identity = text.partition(":")
        if not colon or named != provider or not identity:
            raise ConfigurationError(
                f"series {text!a}: the provider is {provider!r}; an id begins with that of its own, such as "
                f"'{provider}:265598', and the setting 'provider' chooses whose are meant"
            )
        if match := _GENERATION.fullmatch(identity):
            return cls(provider, match["identity"], int(match["generation"]))
        return cls(provider, identity)

    def __str__(self) -> str:
        return f"{self.provider}:{self.identity}" + ("" if self.generation is None else f"#{self.generation}")


def escaped(text: str) -> str:
    """A symbol or an id such that it can stand in an identity, where ``#`` and ``~`` mean something.

    >>> escaped("A#1"), escaped("BRK B"), escaped("265598")
    ('A%231', 'BRK B', '265598')
    """
    return text.replace("%", "%25").replace("#", "%23").replace("~", "%7E")
