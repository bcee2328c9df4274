"""What it means that a provider's bars differ from those that were stored: nothing, a revision, or another basis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from .frames import Floats
from .rows import Rows, RowState

OVERLAP = 5
"""How many final bars of what is stored are asked for again by who fetches next to it, to compare them."""

REVISED_SHARE = 10
"""Of so many compared bars one may differ for it to be a revision; of fewer, one as well."""

NOISE: Mapping[str, float] = MappingProxyType(
    {
        # The middle of two quotes, which the provider samples anew for each answer.
        "CASH": 5e-4,
        "CMDTY": 5e-4,
        "CFD": 5e-4,
        # The last value of an index is indicative until its members' closing auctions are over.
        "IND": 2e-4,
    }
)
"""By asset type, the share of a price by which two answers may differ without meaning anything."""

_WIDEST_DIGIT = 5e-4
"""The share of a price that its last shown digit may stand for: some round figures in a row do not show what it is."""

_CENTS = 2
"""With so many decimals, prices show what their last digit is."""

_LEAST = 1e-6
"""The share of a price by which arithmetic may move it: some providers work prices out for each answer, in 32 bits. No
adjustment is so small."""

_MOST_DECIMALS = 8

Flags = npt.NDArray[np.bool_]


class Agreement(StrEnum):
    """What a comparison came to."""

    NOTHING = "nothing"
    """There was nothing to compare."""
    SAME = "same"
    REVISED = "revised"
    """A few bars are others now, or all are within the noise of their kind."""
    ADJUSTED = "adjusted"
    """The prices, or those before a date, have been multiplied by something."""
    UNCLEAR = "unclear"
    UNSEEN = "unseen"
    """The provider gave none of the bars that had to be compared, which proves nothing yet."""

    @property
    def holds(self) -> bool:
        """Whether the new bars may stand next to the old ones."""
        return self in (Agreement.NOTHING, Agreement.SAME, Agreement.REVISED)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How bars that were given compare with those that were stored.

    Args:
        agreement: What it comes to.
        compared: How many bars were compared.
        differing: How many of them differ.
    """

    agreement: Agreement
    compared: int = 0
    differing: int = 0


def compare(old: Rows, new: Rows, asset_type: str = "") -> Comparison:
    """Compare the prices of the final bars that both have, if there are any; volumes are not compared.

    Args:
        old: What is stored.
        new: What the provider gave.
        asset_type: What kind of instrument it is, for the noise that its prices have.
    """
    before, after = _common(old.of(RowState.BAR), new.of(RowState.BAR))
    if not len(before):
        return _compare_provisional(old, new)
    return _compare(before, after, asset_type)


def _compare_provisional(old: Rows, new: Rows) -> Comparison:
    """Compare bars that were given before they were final: any of them may be another now, but not by one factor."""
    before, after = _common(old[old.has_bar], new[new.has_bar])
    if not len(before):
        return Comparison(Agreement.NOTHING)
    comparison = _compare(before, after, "")
    is_adjusted = comparison.agreement is Agreement.ADJUSTED
    return comparison if is_adjusted else Comparison(Agreement.SAME, comparison.compared)


def _compare(before: Floats, after: Floats, asset_type: str) -> Comparison:
    count = len(before)
    half_before, half_after = _half_digit(before), _half_digit(after)
    distance = np.abs(after - before)
    allowed = np.maximum(half_before, half_after) + _LEAST * np.abs(before)
    differs = np.asarray((distance > allowed).any(axis=1))
    differing = int(differs.sum())
    if not differing:
        return Comparison(Agreement.SAME, count)
    is_noise = bool((distance <= np.maximum(allowed, NOISE.get(asset_type, 0.0) * np.abs(before))).all())
    if is_noise:
        return Comparison(Agreement.REVISED, count, differing)
    lower, upper = _ratios(before, after, half_before, half_after)
    # Of fewer bars than were asked for, one that has nothing left of what it was is no correction.
    is_print = bool((distance <= allowed)[differs].any(axis=1).all())
    is_few = differing <= max(1, count // REVISED_SHARE) and (count >= OVERLAP or is_print)
    agreement = Agreement.REVISED if is_few else Agreement.UNCLEAR
    if _is_adjustment(lower, upper, differs, before, is_few=is_few):
        agreement = Agreement.ADJUSTED
    return Comparison(agreement, count, differing)


def _common(old: Rows, new: Rows) -> tuple[Floats, Floats]:
    """The prices of either, a row for each stamp that both have."""
    _, in_old, in_new = np.intersect1d(old.stamps, new.stamps, assume_unique=True, return_indices=True)
    return _prices(old[in_old]), _prices(new[in_new])


def _prices(rows: Rows) -> Floats:
    return np.stack(rows.columns[:4], axis=1)


def _half_digit(prices: Floats) -> Floats:
    """Half of what the last shown digit of each price stands for; the price that shows most tells it for all."""
    decimals = max(_decimals(price) for price in prices.flat)
    half = np.full(prices.shape, 0.5 * 10.0**-decimals)
    return half if decimals >= _CENTS else np.minimum(half, _WIDEST_DIGIT * np.abs(prices))


def _decimals(price: float) -> int:
    shown = f"{price:.{_MOST_DECIMALS}f}".rstrip("0")
    return len(shown) - shown.index(".") - 1


def _ratios(before: Floats, after: Floats, half_before: Floats, half_after: Floats) -> tuple[Floats, Floats]:
    """Of each bar, the least and the greatest factor that makes all its old prices the new ones.

    The least is above the greatest where no factor does.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = after / before
        doubt = (half_after + half_before * np.abs(factor)) / np.abs(before) + _LEAST
    factor[(before <= 0) | (after <= 0)] = np.nan
    lower, upper = (factor - doubt).max(axis=1), (factor + doubt).min(axis=1)
    unusable = np.isnan(factor).any(axis=1)
    lower[unusable], upper[unusable] = np.inf, -np.inf
    return lower, upper


def _is_adjustment(lower: Floats, upper: Floats, differs: Flags, before: Floats, *, is_few: bool) -> bool:
    """Whether one factor explains all bars, or one those before a date and another one those from it on."""
    count = len(lower)
    for step in range(1, count + 1):
        first, second = slice(0, step), slice(step, count)
        if not _have_one_factor(lower[first], upper[first]):
            return False
        if not _have_one_factor(lower[second], upper[second]):
            continue
        if not differs[first].any():
            return not is_few  # what came before is as it was, so a few that differ are no more than those
        # Of a bar of one price, any other price is a factor.
        return not (is_few and step == 1 and count > 1 and np.ptp(before[0]) == 0)
    return False


def _have_one_factor(lower: Floats, upper: Floats) -> bool:
    return not len(lower) or bool(lower.max() <= upper.min())
