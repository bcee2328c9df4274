"""Makes values that nobody can change: of JSON-like values, and of what other programs' objects say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Annotated, Any, NoReturn, Self

from pydantic import AfterValidator, BaseModel


class FrozenDict(dict[str, Any]):
    """A dict that refuses to change; equal to, and serialised as, a plain one."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a cached value is immutable: make a changed copy with dict(value)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)


def freeze(value: Any) -> Any:  # noqa: PLR0911  # one for each kind of value
    """Copy a JSON-like value into one that nobody can change.

    Dates become ISO 8601 text, lists become tuples, dicts become :class:`FrozenDict`, and so do dataclasses, named
    tuples and pydantic models.

    Raises:
        ValueError: The value has no JSON form (an object, a set, NaN), so it could not be cached.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{value} is not JSON; leave it out or use null")
            return value
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError("text with lone surrogates is not JSON") from None
            return str(value)
        case date():
            return value.isoformat()
        case Mapping():
            return FrozenDict((str(name), freeze(item)) for name, item in value.items())
        case list() | tuple() if not hasattr(value, "_fields"):
            return tuple(freeze(item) for item in value)
        case _:
            if declared := _declared(value):
                return freeze(declared)
            raise ValueError(f"a {type(value).__name__} is not JSON and cannot be cached; convert it first")


FrozenJson = Annotated[Mapping[str, Any], AfterValidator(freeze)]
"""A mapping of JSON values that cannot be changed."""


def attributes_of(value: object) -> dict[str, Any]:
    """What an object says of itself by its public attributes; a plain value has none."""
    if (declared := _declared(value)) or isinstance(value, type):
        return declared
    slots = [name for kind in type(value).__mro__ for name in _names(getattr(kind, "__slots__", ()))]
    told = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {name: each for name, each in told.items() if not name.startswith("_")}


def fields_of(value: object, names: Iterable[str]) -> dict[str, Any]:
    """Those of these fields that a mapping has, or an object as its attributes."""
    if isinstance(value, Mapping):
        return {name: value[name] for name in names if name in value}
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


def _declared(value: object) -> dict[str, Any]:
    """The fields of a dataclass, a pydantic model or a named tuple."""
    if isinstance(value, BaseModel):
        names = [*type(value).model_fields, *(value.model_extra or ())]
    elif is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
    else:
        names = list(getattr(value, "_fields", ())) if isinstance(value, tuple) else []
    return {name: getattr(value, name) for name in names}
