"""Sums whose bits do not hang on where a row stands, as numpy's own do."""

import numpy as np

from tidewheel.features.frames import Floats

_FEW = 256  #: rows up to which one call that adds along each row is quicker than one call a column


def row_sums(rows: Floats) -> Floats:
    """Sum of each row of `rows` [n, k], first column first, shape [n]."""
    if len(rows) <= _FEW and rows.shape[1]:
        return np.asarray(np.add.accumulate(rows, axis=1)[:, -1]) + 0.0  # as above, never minus zero
    total = np.zeros(len(rows))
    for column in rows.T:
        total += column
    return total


def row_squares(rows: Floats, middle: Floats) -> Floats:
    """Sum of the squares of each row's distances from its `middle` [n], first column first, shape [n]."""
    if len(rows) <= _FEW:
        return row_sums((rows - middle[:, None]) ** 2)
    total, away = np.zeros((2, len(rows)))
    for column in rows.T:
        np.subtract(column, middle, out=away)
        total += np.square(away, out=away)
    return total
