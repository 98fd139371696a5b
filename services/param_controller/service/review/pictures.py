"""Pictures of a report as inline SVG: what is believed of each preset, and what its rewards have come to."""

import math
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

WIDTH = 760
COLOURS = 8  #: classes `c0` to `c7` that the page's style colours; the ninth preset is the first's again
_LEFT, _RIGHT, _TOP, _BOTTOM = 150, 20, 14, 44
_ROW = 54
_REACH = 3.2  #: standard deviations that a curve is drawn to
_STEPS = 80


def densities(beliefs: Mapping[str, tuple[float, float]], unit: str) -> Element:
    """A curve a preset, one below the other on one axis: preset id -> (mean, standard deviation), reward units."""
    low = min(mean - _REACH * deviation for mean, deviation in beliefs.values())
    high = max(mean + _REACH * deviation for mean, deviation in beliefs.values())
    axis = _Axis(low, high, _LEFT, WIDTH - _RIGHT)
    height = _TOP + _ROW * len(beliefs) + _BOTTOM
    picture = _picture(height, f"expected reward of {len(beliefs)} presets, in {unit}")
    _ticks(picture, axis, height - _BOTTOM, unit)
    for row, (name, (mean, deviation)) in enumerate(beliefs.items()):
        base = _TOP + _ROW * (row + 1)
        colour = f"c{row % COLOURS}"
        _text(picture, _LEFT - 10, base - 8, name, "end", short=18)
        if deviation > 0:
            places = [(step / _STEPS * 2 - 1) * _REACH for step in range(_STEPS + 1)]
            curve = [(axis.at(mean + z * deviation), base - 40 * math.exp(-z * z / 2)) for z in places]
            SubElement(picture, "path", {"class": f"area {colour}", "d": _path(curve)})
        _line(picture, axis.at(mean), base - 42, axis.at(mean), base, f"mark {colour}")
    return picture


def course(
    total: Sequence[float], by_preset: Mapping[str, Sequence[float] | None], first: int, last: int, unit: str
) -> Element:
    """Cumulated reward over the outcomes numbered `first` to `last`: the whole, and each preset's part."""
    height = 300
    floor = height - _BOTTOM
    values = [0.0, *total, *(value for series in by_preset.values() for value in series or [])]
    across, up = _Axis(first, last, _LEFT, WIDTH - _RIGHT), _Axis(min(values), max(values), floor, _TOP)
    picture = _picture(height, f"cumulated reward of outcomes {first} to {last}, in {unit}")
    for value in up.ticks():
        _line(picture, _LEFT, up.at(value), WIDTH - _RIGHT, up.at(value), "zero" if value == 0 else "grid")
        _text(picture, _LEFT - 10, up.at(value) + 4, _short(value), "end")
    _ticks(picture, across, floor, "outcomes, in the order of learning")
    for row, series in enumerate(by_preset.values()):
        _series(picture, across, up, series or (), f"line c{row % COLOURS}")
    _series(picture, across, up, total, "line total")
    return picture


class _Axis:
    """Values from `low` to `high` laid out between two places of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = (low, high) if high > low else (low - 0.5, high + 0.5)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """About six round values."""
        rough = (self.high - self.low) / 7
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        return [step * count for count in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _picture(height: int, told: str) -> Element:
    return Element("svg", {"viewBox": f"0 0 {WIDTH} {height}", "role": "img", "aria-label": told})


def _ticks(picture: Element, axis: _Axis, floor: float, title: str) -> None:
    for value in axis.ticks():
        _line(picture, axis.at(value), _TOP, axis.at(value), floor, "zero" if value == 0 else "grid")
        _text(picture, axis.at(value), floor + 17, _short(value), "middle")
    _text(picture, (_LEFT + WIDTH - _RIGHT) / 2, floor + 36, title, "middle")


def _series(picture: Element, across: _Axis, up: _Axis, values: Sequence[float], style: str) -> None:
    if not values:
        return
    gaps = max(len(values) - 1, 1)
    places = [across.low + (across.high - across.low) * step / gaps for step in range(len(values))]
    drawn = [(across.at(place), up.at(value)) for place, value in zip(places, values, strict=True)]
    SubElement(picture, "path", {"class": style, "d": _path(drawn)})


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _line(picture: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    SubElement(picture, "line", {"class": style, **{name: f"{value:.1f}" for name, value in ends.items()}})


def _text(picture: Element, x: float, y: float, words: str, anchor: str, short: int | None = None) -> None:
    placed = SubElement(picture, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    placed.text = words if short is None or len(words) <= short else f"{words[: short - 1]}…"


def _short(value: float) -> str:
    return f"{value:g}" if abs(value) >= 1e-12 else "0"
