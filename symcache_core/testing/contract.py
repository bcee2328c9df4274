"""What makes a suite a contract: its tests cannot be dropped or replaced, only declared to fail, with a reason."""

from __future__ import annotations

from typing import Any

from .harness import Harness

_SHIPPED = __name__.rpartition(".")[0]


class Contract(Harness):
    """The base of both suites.

    Raises:
        TypeError: A subclass names no backend, or overrides a test other than as an xfail with a reason.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if _is_shipped(cls):
            return
        if not isinstance(getattr(cls, "backend", None), str):
            raise TypeError(f"{cls.__qualname__} does not say which backend it is about: set 'backend' to its name")
        for name in dir(cls):
            if name.startswith("test") and _is_replaced(cls, name) and not _is_expected_to_fail(getattr(cls, name)):
                raise TypeError(
                    f"{cls.__qualname__}.{name} overrides a test of the contract; that is only possible with "
                    "@pytest.mark.xfail(reason=...), the reason being why the backend cannot keep this promise"
                )


def _is_shipped(cls: type) -> bool:
    return cls.__module__.rpartition(".")[0] == _SHIPPED


def _is_replaced(cls: type, name: str) -> bool:
    owners = [base for base in cls.__mro__ if name in vars(base)]
    return not _is_shipped(owners[0]) and any(map(_is_shipped, owners))


def _is_expected_to_fail(test: object) -> bool:
    marks = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
