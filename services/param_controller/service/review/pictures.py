"""Pictures of a report as inline SVG: what is believed of each preset, and what its rewards have come to."""

import math
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement

from tidewheel.drawing import Axis, brief, line, path, svg, text

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
    axis = Axis(low, high, _LEFT, WIDTH - _RIGHT)
    height = _TOP + _ROW * len(beliefs) + _BOTTOM
    picture = svg(WIDTH, height, f"expected reward of {len(beliefs)} presets, in {unit}")
    _ticks(picture, axis, height - _BOTTOM, unit)
    for row, (name, (mean, deviation)) in enumerate(beliefs.items()):
        base = _TOP + _ROW * (row + 1)
        colour = f"c{row % COLOURS}"
        text(picture, _LEFT - 10, base - 8, name, "end", short=18)
        if deviation > 0:
            places = [(step / _STEPS * 2 - 1) * _REACH for step in range(_STEPS + 1)]
            curve = [(axis.at(mean + z * deviation), base - 40 * math.exp(-z * z / 2)) for z in places]
            SubElement(picture, "path", {"class": f"area {colour}", "d": path(curve)})
        line(picture, axis.at(mean), base - 42, axis.at(mean), base, f"mark {colour}")
    return picture


def course(
    total: Sequence[float], by_preset: Mapping[str, Sequence[float] | None], first: int, last: int, unit: str
) -> Element:
    """Cumulated reward over the outcomes numbered `first` to `last`: the whole, and each preset's part."""
    height = 300
    floor = height - _BOTTOM
    values = [0.0, *total, *(value for series in by_preset.values() for value in series or [])]
    across, up = Axis(first, last, _LEFT, WIDTH - _RIGHT), Axis(min(values), max(values), floor, _TOP)
    picture = svg(WIDTH, height, f"cumulated reward of outcomes {first} to {last}, in {unit}")
    for value in up.ticks():
        line(picture, _LEFT, up.at(value), WIDTH - _RIGHT, up.at(value), "zero" if value == 0 else "grid")
        text(picture, _LEFT - 10, up.at(value) + 4, brief(value), "end")
    _ticks(picture, across, floor, "outcomes, in the order of learning")
    for row, series in enumerate(by_preset.values()):
        _series(picture, across, up, series or (), f"line c{row % COLOURS}")
    _series(picture, across, up, total, "line total")
    return picture


def _ticks(picture: Element, axis: Axis, floor: float, title: str) -> None:
    for value in axis.ticks():
        line(picture, axis.at(value), _TOP, axis.at(value), floor, "zero" if value == 0 else "grid")
        text(picture, axis.at(value), floor + 17, brief(value), "middle")
    text(picture, (_LEFT + WIDTH - _RIGHT) / 2, floor + 36, title, "middle")


def _series(picture: Element, across: Axis, up: Axis, values: Sequence[float], style: str) -> None:
    if not values:
        return
    gaps = max(len(values) - 1, 1)
    places = [across.low + (across.high - across.low) * step / gaps for step in range(len(values))]
    drawn = [(across.at(place), up.at(value)) for place, value in zip(places, values, strict=True)]
    SubElement(picture, "path", {"class": style, "d": path(drawn)})
