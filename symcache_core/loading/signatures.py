"""Signatures: lets methods take the same arguments, written down once, and tells what a function takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def takes_arguments_of(
    model: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Give a method that passes its arguments on the signature of the method that they end up in.

    What does not fit that signature is a ``TypeError`` before the method does anything.

    Args:
        model: The method in which the arguments are written down.
    """

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        signature = inspect.signature(model).replace(return_annotation=inspect.signature(method).return_annotation)

        @functools.wraps(method)
        def checked(*args: Any, **options: Any) -> Any:
            signature.bind(*args, **options)
            return method(*args, **options)

        @functools.wraps(method)
        async def acheck(*args: Any, **options: Any) -> Any:
            return await checked(*args, **options)

        shown = acheck if inspect.iscoroutinefunction(method) else checked
        vars(shown)["__signature__"] = signature
        return cast("Callable[Concatenate[S, P], R]", shown)

    return decorate


def takes_keyword(function: Callable[..., object], name: str) -> bool:
    """Whether a function takes a keyword argument of a name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
