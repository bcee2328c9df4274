"""Whether what a plug-in hands over has the shape that the core calls: tried once, when a backend is opened.

What it finds is a sentence for the backend's author: what is wrong, and what to do about it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import BaseModel

from .messages import shown
from .plugin import API_VERSION, Backend
from .protocols import (
    CanBatch,
    CanBeReadOnly,
    CanBeWatched,
    CanCompact,
    CanLock,
    CanSeeOthers,
    CanSize,
    CanTellHolder,
    CanUpdate,
    StorageBackend,
)

CAPABILITIES: tuple[type, ...] = (
    CanUpdate,
    CanSeeOthers,
    CanBeWatched,
    CanLock,
    CanTellHolder,
    CanBatch,
    CanCompact,
    CanSize,
    CanBeReadOnly,
)
"""The protocols of what only some storage can do."""

_NEAR = 0.88
"""How alike two names are of which one is probably a slip: ``sizes`` and ``size``, not ``resize``."""


def faults_of_record(backend: Backend) -> Iterator[str]:
    """What is wrong with a plug-in's record; nothing of it is called."""
    told: Any = backend  # its fields are whatever a plug-in gave
    if type(told.api) is not int:
        yield f"its 'api' is {_kind(told.api)}: leave it out, or give the number {API_VERSION}"
    elif told.api != API_VERSION:
        newer = "symcache" if told.api > API_VERSION else "version of the plug-in"
        yield f"it is for plug-in interface {told.api}, and this is {API_VERSION}: install a newer {newer}"
    if not isinstance(told.persistent, bool):
        yield f"its 'persistent' is {_kind(told.persistent)}: give True or False"
    if told.settings is BaseModel:
        yield "its 'settings' is pydantic.BaseModel itself: give a class derived from it, if only an empty one"
    elif not (isinstance(told.settings, type) and issubclass(told.settings, BaseModel)):
        yield f"its 'settings' is {_kind(told.settings)}: give a class derived from pydantic.BaseModel"
    if callable(told.open):
        yield from _faults_of_call(told.open, "open", ["settings"])
    else:
        yield f"its 'open' is {_kind(told.open)}: give the backend's class, or a function that makes one"


def faults_of_store(store: object) -> Iterator[str]:
    """What is wrong with what ``open`` gave, as far as it shows without calling it."""
    required = _methods(StorageBackend)
    if store is None:
        yield "its 'open' gave None: let it return the backend"
    elif inspect.iscoroutine(store):
        store.close()  # else Python warns that nobody awaited it
        yield "its 'open' is async: make it a plain 'def'"
    elif isinstance(store, type):
        yield f"its 'open' gave the class {store.__name__}: let it return an object of that class"
    elif not any(map(functools.partial(_has, store), required)):
        yield f"its 'open' gave a {type(store).__name__}, which has none of {', '.join(required)}: return the backend"
    else:
        yield from _faults_of_methods(store, required)


def capabilities_of(backend: Backend) -> list[str] | None:
    """The names of the capabilities that a backend will have, without opening it.

    Returns:
        ``None`` if nobody can tell: ``open`` is a function that does not say which class it gives.
    """
    made = _class_made_by(backend.open)
    return None if made is None else [protocol.__name__ for protocol in CAPABILITIES if issubclass(made, protocol)]


def _class_made_by(function: Callable[..., object]) -> type | None:
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        return function
    try:
        made = get_type_hints(function).get("return")
    except Exception:  # noqa: BLE001  # a foreign annotation may be anything, and name what is not there
        return None
    return made if isinstance(made, type) and made is not StorageBackend else None


def _faults_of_methods(store: object, required: Mapping[str, Sequence[str]]) -> Iterator[str]:
    optional = {name: parameters for protocol in CAPABILITIES for name, parameters in _methods(protocol).items()}
    others = _other_methods(store, {**required, **optional})
    for name, parameters in {**required, **optional}.items():
        if _has(store, name):
            yield from _faults_of_method(store, name, parameters)
        elif name in required:
            meant = difflib.get_close_matches(name, others, n=1)
            hint = f", unless {meant[0]!r} is meant to be that" if meant else ""
            yield f"it has no {name!r}{hint}: define {_call(name, parameters)}"
        elif slip := _slip(name, others):
            yield f"its {slip!r} is no capability, {name!r} is one: name it so, or begin its name with '_'"
    yield from _faults_of_parts(store)


def _faults_of_parts(store: object) -> Iterator[str]:
    """Capabilities of which a part is there: the core would not find them, and say nothing."""
    for protocol in CAPABILITIES:
        own = [name for name in vars(protocol) if name in _methods(protocol)]
        there = [name for name in own if _has(store, name)]
        lacking = [name for name in _methods(protocol) if not _has(store, name)]
        if there and lacking:
            yield f"its {there[0]!r} is of no use without {lacking[0]!r}: define both ({protocol.__name__}), or neither"


def _faults_of_method(store: object, name: str, parameters: Sequence[str]) -> Iterator[str]:
    method = getattr(store, name)
    if not callable(method):
        yield f"its {name!r} is {_kind(method)}, not a method: define {_call(name, parameters)}, or name it otherwise"
    elif inspect.isgeneratorfunction(method) and name != "keys":
        yield f"its {name!r} is a generator, so that calling it does nothing: take the 'yield' out"
    else:
        yield from _faults_of_call(method, name, parameters)


def _faults_of_call(function: Callable[..., object], name: str, parameters: Sequence[str]) -> Iterator[str]:
    if any(is_async(function) for is_async in (inspect.iscoroutinefunction, inspect.isasyncgenfunction)):
        yield f"its {name!r} is async: make it a plain 'def'"
        return
    try:
        # What a decorator wraps may take other arguments than the decorated function does.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # one written in C need not tell
        if inspect.ismethod(function) and inspect.isfunction(function.__func__):
            yield f"its {name!r} takes no 'self', and is called as {_call(name, parameters)}: let it take that"
        return
    try:
        signature.bind(*parameters)
    except TypeError:
        takes = signature.replace(return_annotation=inspect.Signature.empty)  # with the * that marks names
        yield f"its {name!r} takes {takes}, and is called as {_call(name, parameters)}: let it take that"


@functools.cache
def _methods(protocol: type) -> Mapping[str, Sequence[str]]:
    """The methods that a protocol asks for, those of its bases first, and the names of their parameters."""
    declared = {name: value for base in reversed(protocol.__mro__) for name, value in vars(base).items()}
    return {
        name: list(inspect.signature(value).parameters)[1:]
        for name, value in declared.items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def _has(store: object, name: str) -> bool:
    return getattr(store, name, None) is not None  # a class says by None that it has not what its base has


def _other_methods(store: object, known: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        name
        for name in dir(type(store))
        if not name.startswith("_") and name not in known and callable(inspect.getattr_static(store, name, None))
    ]


def _slip(name: str, others: Sequence[str]) -> str | None:
    """The method that is probably a slip of the pen for this name."""
    return next((other for other in others if _is_near(_letters(other), _letters(name))), None)


def _is_near(one: str, other: str) -> bool:
    matcher = difflib.SequenceMatcher(None, one, other)
    return sorted(one) == sorted(other) or (matcher.real_quick_ratio() >= _NEAR and matcher.ratio() >= _NEAR)


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def _call(name: str, parameters: Sequence[str]) -> str:
    return f"{name}({', '.join(parameters)})"


def _kind(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"the {type(value).__name__} {value!r}" if type(value) in (str, int, float) else shown(value)
