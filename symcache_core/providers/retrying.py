"""Asks a host service again where that helps, and nowhere else.

A request passes several hands that could try again: the loader, this adapter, the host service, its gateway. If each
did, their attempts would multiply. So each kind of question has one place: verdicts are asked for again here, bars by
the loader, which knows the other segments; a host service of ours never tries again by itself, and an older one,
which does, is not asked again.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
    wait_random_exponential,
)

from ..errors import ProviderError, ProviderTimeoutError
from .deadline import Deadline

ATTEMPTS = 3

JITTER = 0.1
"""How much longer a caller waits at most than it was told to, as a share: not all shall come back at once."""

_BACK_OFF = wait_random_exponential(multiplier=0.2, max=2)

Sleep = Callable[[float], Awaitable[None]]

T = TypeVar("T")


async def ask_again(ask: Callable[[], Awaitable[T]], deadline: Deadline, sleep: Sleep) -> T:
    """Ask, and ask again after a failure that may pass, unless the next attempt would come too late for the deadline.

    A host that gives up at the deadline says so shortly before it, which leaves no time for another attempt.

    Args:
        ask: Asks once.
        deadline: Of all attempts together.
        sleep: Waits for a number of seconds.

    Raises:
        ProviderError: What the last attempt raised.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_worth_another_attempt),
        stop=stop_any(stop_after_attempt(ATTEMPTS), stop_before_delay(deadline.left_for_host)),
        wait=_wait,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(ask)


def _is_worth_another_attempt(error: BaseException) -> bool:
    """Whether another attempt may fare better; one that has timed out has used up its time."""
    return (
        isinstance(error, ProviderError)
        and error.passes
        and not (error.was_tried_again or isinstance(error, ProviderTimeoutError))
    )


def _wait(state: RetryCallState) -> float:
    """As long as the host asks for, and a little more; else a little, and longer each time."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked_for = error.retry_after if isinstance(error, ProviderError) else None
    if asked_for is None:
        return _BACK_OFF(state)
    return max(0.0, asked_for) * (1 + random.uniform(0, JITTER))  # noqa: S311  # nothing to guess
