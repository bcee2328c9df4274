"""The hits and stores of a run as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from .figures import Figure, Figures
from .report import seconds

_OURS, _PEERS = "#1f6f8b", "#b8b8b8"


def draw(figures: Figures, path: Path) -> None:
    """Write the picture as SVG; a run without hits or stores has none.

    Args:
        figures: Of a run.
        path: Where.
    """
    panels = [
        (title, sorted(figures.at(measure, size), key=lambda figure: figure.values["median"], reverse=True))
        for measure, title in (("hit", "a hit"), ("store", "a store into {size:,}"))
        for size in figures.sizes(measure)[-1:]
        for title in (title.format(size=size),)
    ]
    if not panels:
        return
    heights = [len(bars) for _, bars in panels]
    # Text stays text, and the same figures make the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "symcache", "font.family": "sans-serif"}):
        picture = Picture(figsize=(9, 0.32 * sum(heights) + 1.2), layout="constrained")
        axes = picture.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
        for axis, (title, bars) in zip(axes, panels, strict=True):
            _panel(axis, title, bars)
        picture.savefig(path, format="svg", metadata={"Date": None})


def _panel(axis: Axes, title: str, figures: Sequence[Figure]) -> None:
    names = [figure.contender for figure in figures]
    medians = [figure.values["median"] for figure in figures]
    colours = [_OURS if name.startswith(("symcache", "json")) else _PEERS for name in names]
    bars = axis.barh(names, medians, color=colours, height=0.7)
    axis.bar_label(bars, [seconds(value) for value in medians], padding=3, fontsize=8)
    axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.set_title(f"{title} (median, logarithmic)", loc="left", fontsize=10)
    axis.xaxis.set_visible(False)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
