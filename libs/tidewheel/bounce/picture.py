"""A backtest as a picture: equity beside buy and hold, and below how far each stands under its peak."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from tidewheel.bounce.performance import drawdown
from tidewheel.contracts.times import DAY, iso
from tidewheel.drawing import Axis, brief, line, path, svg, text
from tidewheel.features.frames import Floats, Ints

WIDTH, HEIGHT = 760, 460
_LEFT, _RIGHT = 80, 28  # half a date on the right
_EQUITY, _DRAWDOWN = (30, 270), (310, 420)  #: top and floor of either panel
_LABELS = 9  #: dates along the bottom, at most
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)  #: between two of them
_STYLE = (
    "text{font:12px sans-serif;fill:#444}line.grid{stroke:#ddd}line.zero{stroke:#999}"
    "path{fill:none;stroke-width:1.5}path.strategy{stroke:#0b62a4}path.benchmark{stroke:#b35c00;stroke-dasharray:4 3}"
    "path.under{fill:#0b62a4;fill-opacity:.15;stroke:none}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}line.grid{stroke:#333}line.zero{stroke:#777}"
    "path.strategy{stroke:#5ab0f0}path.benchmark{stroke:#f0a050}path.under{fill:#5ab0f0}}"
)


def picture(time: Ints, equity: Floats, benchmark: Floats, capital: float) -> str:
    """SVG text of the equities [n] at the closes of these sessions (open times, UTC ms), which began with `capital`."""
    drawn = svg(WIDTH, HEIGHT, f"equity of the strategy and of buy and hold, {_day(time[0])} to {_day(time[-1])}")
    drawn.set("xmlns", "http://www.w3.org/2000/svg")
    SubElement(drawn, "style").text = _STYLE
    across = Axis(int(time[0]), int(time[-1]) + DAY, _LEFT, WIDTH - _RIGHT)
    both = {"strategy": equity, "benchmark": benchmark}
    every = np.concatenate([[capital], *both.values()])
    up = Axis(float(every.min()), float(every.max()), _EQUITY[1], _EQUITY[0])
    _values(drawn, up, [f"{value:,.10g}" if abs(value) < 1e9 else brief(value) for value in up.ticks()])
    under = {name: drawdown(series, capital) for name, series in both.items()}
    down = Axis(min(float(np.concatenate([*under.values()]).min()), -0.01), 0.0, _DRAWDOWN[1], _DRAWDOWN[0])
    _values(drawn, down, [f"{100 * value:g} %" for value in down.ticks(3)], 3)
    _dates(drawn, across, time)
    closes = [across.at(each + DAY) for each in time.tolist()]
    fall = [down.at(value) for value in under["strategy"].tolist()]
    shape = [(closes[0], down.at(0.0)), *zip(closes, fall, strict=True), (closes[-1], down.at(0.0))]
    SubElement(drawn, "path", {"class": "under", "d": path(shape)})
    for name, series in both.items():
        begins = (across.at(across.low), up.at(capital))
        course = [begins, *zip(closes, (up.at(value) for value in series.tolist()), strict=True)]
        SubElement(drawn, "path", {"class": name, "d": path(course)})
        SubElement(
            drawn, "path", {"class": name, "d": path([*zip(closes, map(down.at, under[name].tolist()), strict=True)])}
        )
    for place, (name, words) in enumerate((("strategy", "strategy"), ("benchmark", "buy and hold"))):
        x = _LEFT + 130.0 * place
        SubElement(drawn, "path", {"class": name, "d": path([(x, 14), (x + 24, 14)])})
        text(drawn, x + 30, 18, words, "start")
    text(drawn, _LEFT, _DRAWDOWN[0] - 12, "below the highest equity so far", "start")
    return tostring(drawn, encoding="unicode")


def _values(drawn: Element, axis: Axis, words: Sequence[str], count: int = 7) -> None:
    for value, word in zip(axis.ticks(count), words, strict=True):
        place = axis.at(value)
        line(drawn, _LEFT, place, WIDTH - _RIGHT, place, "zero" if value == 0 else "grid")
        text(drawn, _LEFT - 8, place + 4, word, "end")


def _dates(drawn: Element, across: Axis, time: Ints) -> None:
    """The first days of months, as many as there is room for."""
    first, last = np.array([time[0] - 1, time[-1] + DAY]).astype("datetime64[ms]").astype("datetime64[M]").astype(int)
    months = np.arange(first + 1, last + 1)
    step = next((each for each in _MONTHS if (months % each == 0).sum() <= _LABELS), _MONTHS[-1])
    for month in months[months % step == 0].tolist():
        day = np.datetime64(month, "M")
        place = across.at(float(day.astype("datetime64[ms]").astype(int)))
        line(drawn, place, _EQUITY[0], place, _EQUITY[1], "grid")
        line(drawn, place, _DRAWDOWN[0], place, _DRAWDOWN[1], "grid")
        text(drawn, place, _DRAWDOWN[1] + 20, str(day)[: 4 if step >= 12 else 7], "middle")


def _day(time: int) -> str:
    return iso(int(time))[:10]
