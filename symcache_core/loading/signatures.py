"""Lets methods take the same arguments, written down once, for type checkers, completion and ``help()`` alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def takes_arguments_of(
    model: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Give a method that passes its arguments on the signature of the method that they end up in.

    Args:
        model: The method in which the arguments are written down.
    """

    def decorate(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        own = inspect.signature(method)
        vars(method)["__signature__"] = inspect.signature(model).replace(return_annotation=own.return_annotation)
        return method

    return decorate
