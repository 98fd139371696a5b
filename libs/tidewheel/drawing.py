"""The pieces that our pictures are made of: inline SVG, whose colours are classes that a style gives."""

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement


class Axis:
    """Values from `low` to `high` laid out between two places of the picture."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = (low, high) if high > low else (low - 0.5, high + 0.5)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Where a value lies."""
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self, count: int = 7) -> list[float]:
        """About so many round values."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
        return [step * each for each in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def svg(width: int, height: int, told: str) -> Element:
    """An empty picture, and what it shows in words."""
    return Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": told})


def path(points: Sequence[tuple[float, float]]) -> str:
    """A line through the points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def line(picture: Element, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
    """Draw a straight line of a class."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    SubElement(picture, "line", {"class": style, **{name: f"{value:.1f}" for name, value in ends.items()}})


def text(picture: Element, x: float, y: float, words: str, anchor: str, short: int | None = None) -> None:
    """Write words, at most `short` letters of them; `anchor` is start, middle or end."""
    placed = SubElement(picture, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    placed.text = words if short is None or len(words) <= short else f"{words[: short - 1]}…"


def brief(value: float) -> str:
    """A tick's value."""
    return f"{value:g}" if abs(value) >= 1e-12 else "0"
