"""Rows of an exchange: what is put in order, what is refused and why, and what good data may look like."""

import numpy as np
import pytest

from tests.libs.market.sim.made import START, candles
from tidewheel.contracts.times import MINUTE
from tidewheel.market.screen import screen
from tidewheel.market.sim.faults import BAD_ROWS

GOOD = [list(row) for row in candles(40).rows()]

REASONS = {
    "nan": "a value is not a finite number",
    "infinite": "a value is not a finite number",
    "absent": "a value is not a finite number",
    "zero price": "a price is not positive",
    "negative price": "a price is not positive",
    "negative volume": "its volume is negative",
    "high below low": "its high is not the highest price",
    "low above open": "its low is not the lowest price",
    "outlier": "a price lies more than tenfold off its neighbours",
    "outlying wick": "a price lies more than tenfold off its neighbours",
    "tiny": "a price lies more than tenfold off its neighbours",
    "unaligned": "its open time is not a multiple of the timeframe",
    "two values": "it was sent with different values",
}


@pytest.mark.parametrize("at", [0, 1, 20, 38, 39])
@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bar_that_cannot_be_is_refused_with_its_reason(kind: str, at: int) -> None:
    """Whatever stands at `at` is refused, wherever in the page it is; every other bar is taken."""
    spoilt = [[float("nan") if cell is None else float(cell) for cell in row] for row in BAD_ROWS[kind](GOOD[at])]
    screened = screen(MINUTE, [*GOOD[:at], *spoilt, *GOOD[at + 1 :]])

    assert list(screened.refused.values()) == [REASONS[kind]]
    assert screened.frame.rows() == [tuple(row) for row in GOOD[:at] + GOOD[at + 1 :]]


def test_disorder_and_repeats_are_put_in_order() -> None:
    """The same rows, twice and shuffled, are the same bars."""
    order = np.random.default_rng(1).permutation(80)
    screened = screen(MINUTE, [(GOOD + GOOD)[at] for at in order])

    assert (screened.frame.rows(), screened.refused) == ([tuple(row) for row in GOOD], {})


@pytest.mark.parametrize("factor", [8.0, 1 / 8.0])
def test_a_wild_bar_is_taken(factor: float) -> None:
    """A price that moves eightfold and comes back has happened on real exchanges."""
    rows = [list(row) for row in GOOD]
    rows[20][1:5] = [cell * factor for cell in rows[20][1:5]]

    assert screen(MINUTE, rows).refused == {}


@pytest.mark.parametrize("factor", [1_000.0, 0.001])
def test_a_redenomination_is_taken(factor: float) -> None:
    """A price that moves for good agrees with what follows."""
    rows = [
        [row[0], *(cell * (factor if at >= 20 else 1.0) for cell in row[1:5]), row[5]] for at, row in enumerate(GOOD)
    ]

    assert screen(MINUTE, rows).refused == {}


def test_a_later_answer_corrects_and_completes() -> None:
    """What a second answer shows whole is no longer refused, and its values count."""
    bad = screen(MINUTE, [*GOOD[:5], BAD_ROWS["nan"](GOOD[5])[0], *GOOD[6:10]])
    corrected = [*GOOD[3][:4], GOOD[3][4] + 0.1, GOOD[3][5]]
    joined = bad.joined(screen(MINUTE, [corrected, GOOD[5]]))

    assert list(bad.refused) == [START + 5 * MINUTE] and joined.refused == {}
    assert joined.frame.rows() == [tuple(row) for row in [*GOOD[:3], corrected, *GOOD[4:10]]]


def test_rows_that_are_none_are_told() -> None:
    for rows in ([["x"] * 6], [[1, 2]], [["nan", 1, 1, 1, 1, 1]]):
        with pytest.raises(ValueError, match=r"."):
            screen(MINUTE, rows)
