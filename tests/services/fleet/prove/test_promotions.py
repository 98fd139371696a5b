"""What the proof `promotions` would not let pass. Its fleet runs in `tidewheel prove promotions` only."""

from dataclasses import replace

import pytest

from services.fleet.demo.load import Answered
from services.fleet.prove.promotions import WITHIN_MS, judge

PUBLISHED = {"v1": 0, "v2": 10_000}
EXPECTED = {"v1": 0.25, "v2": 0.75}


def _answer(sent_at: int, version: str) -> Answered:
    return Answered(sent_at, 5.0, 200, version, version, EXPECTED[version])


SOUND = [_answer(9_000, "v1"), _answer(10_100, "v1"), _answer(10_300, "v2"), _answer(11_000, "v2")]


def test_a_quick_and_clean_change_passes() -> None:
    """Old answers until the new version is there, then new ones."""
    tally = judge(SOUND, PUBLISHED, EXPECTED)

    assert (tally.trials, tally.violations) == (1, 0)
    assert tally.figures == [
        "4 requests, 2 a second; a new version answered after 305 ms (median), 305 ms (longest)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (replace(SOUND[1], status=503), "answered 503"),
        (replace(SOUND[1], status=0, version=None), "answered not at all"),
        (replace(SOUND[1], version=None), "answered 200"),
        (replace(SOUND[1], body_version="v2"), "an answer of v1 says that it is of v2"),
        (replace(SOUND[1], bull=0.75), "v1 answered 0.75, and its model says 0.25"),
    ],
)
def test_each_fault_is_counted(spoilt: Answered, why: str) -> None:
    """A failure, a nameless answer, two versions in one answer, another's numbers."""
    tally = judge([SOUND[0], spoilt, *SOUND[2:]], PUBLISHED, EXPECTED)

    assert tally.violations == 1
    assert tally.first is not None and why in tally.first


def test_a_version_that_comes_late_or_never_is_counted() -> None:
    """A second and more after the publish is too late."""
    late = judge([*SOUND[:2], _answer(10_000 + WITHIN_MS, "v2")], PUBLISHED, EXPECTED)
    never = judge(SOUND[:2], PUBLISHED, EXPECTED)

    assert late.first is not None and "after it was published" in late.first
    assert never.first is not None and "never answered" in never.first
