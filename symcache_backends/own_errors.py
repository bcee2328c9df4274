"""Keeps what a caller's function raises apart from what the storage around it raises."""

from __future__ import annotations

from collections.abc import Callable

Change = Callable[[bytes | None], tuple[bytes, float] | None]


def updated_by(change: Change, update: Callable[[Change], object]) -> None:
    """Run an update; what its change raises goes out as it is, whatever the storage takes it for.

    Args:
        change: The caller's.
        update: Gets what to call in its place.

    Raises:
        Exception: The change raised it, or the update.
    """
    raised: list[Exception] = []

    def watched(entry: bytes | None) -> tuple[bytes, float] | None:
        try:
            return change(entry)
        except Exception as error:
            raised.append(error)
            raise

    try:
        update(watched)
    except Exception:
        if not raised:
            raise
    else:
        return
    # Out here nothing of the storage's becomes its context.
    raise raised[0]
