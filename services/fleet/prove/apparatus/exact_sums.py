"""A linear model's discounted sums in sixty decimal digits: what every float64 form of them is measured against."""

from collections.abc import Iterable
from decimal import Decimal, localcontext

import numpy as np

from tidewheel.features.frames import Floats

_DIGITS = 60
Row = tuple[Floats, float, int]  #: context [d], reward, time in ms


def exact_theta(rows: Iterable[Row], dimensions: int, ridge: float, half_life_ms: int | None) -> tuple[Floats, float]:
    """θ̂ [d] after all rows, as of the last one's time, and the condition of its equilibrated matrix.

    Schoolbook sums and Gaussian elimination on decimals, which share nothing with the code under proof.
    """
    places = [(i, j) for i in range(dimensions) for j in range(i + 1)]
    with localcontext(prec=_DIGITS):
        squares = [Decimal(0)] * len(places)
        moment = [Decimal(0)] * dimensions
        before, known = None, {0: Decimal(1)}
        for x, reward, at in rows:
            passed = 0 if before is None or half_life_ms is None else at - before
            weight = known.setdefault(passed, Decimal(2) ** (Decimal(-passed) / Decimal(half_life_ms or 1)))
            row, gained, before = [Decimal(value) for value in x.tolist()], Decimal(reward), at
            if weight != 1:
                squares = [value * weight for value in squares]
                moment = [value * weight for value in moment]
            squares = [value + row[i] * row[j] for value, (i, j) in zip(squares, places, strict=True)]
            moment = [value + one * gained for value, one in zip(moment, row, strict=True)]
        matrix = [[Decimal(0)] * dimensions for _ in range(dimensions)]
        for (i, j), value in zip(places, squares, strict=True):
            matrix[i][j] = matrix[j][i] = value
        for i in range(dimensions):
            matrix[i][i] += Decimal(ridge)
        return np.array([float(value) for value in _solved(matrix, moment)]), _condition(matrix)


def _solved(matrix: list[list[Decimal]], right: list[Decimal]) -> list[Decimal]:
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for column in range(len(rows)):
        for below in rows[column + 1 :]:
            factor = below[column] / rows[column][column]
            below[column:] = [
                one - factor * other for one, other in zip(below[column:], rows[column][column:], strict=True)
            ]
    found: list[Decimal] = []
    for line in reversed(rows):
        start = len(rows) - len(found)
        rest = sum((one * other for one, other in zip(line[start:-1], reversed(found), strict=True)), Decimal(0))
        found.append((line[-1] - rest) / line[start - 1])
    return found[::-1]


def _condition(matrix: list[list[Decimal]]) -> float:
    """Largest over smallest eigenvalue with the diagonal brought to 1: lower bound from the matrix and its inverse."""
    d = len(matrix)
    roots = [matrix[i][i].sqrt() for i in range(d)]
    scaled = [[matrix[i][j] / (roots[i] * roots[j]) for j in range(d)] for i in range(d)]
    unit = [[Decimal(int(i == j)) for j in range(d)] for i in range(d)]
    inverse = [_solved(scaled, column) for column in unit]
    return float(max(abs(value) for line in inverse for value in line) * max(abs(v) for line in scaled for v in line))
