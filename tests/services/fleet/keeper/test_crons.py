"""Timetables: every moment once, none skipped by a change of leader."""

from datetime import UTC, datetime, timedelta

import pytest

from services.fleet.keeper.crons import CronRow, check_cron

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def test_each_moment_is_acted_on_once() -> None:
    """However often the row is asked."""
    seen: list[datetime] = []
    row = CronRow("row", "*/5 * * * *", seen.append)

    for seconds in range(120, 900, 1):
        row(NOON + timedelta(seconds=seconds))

    assert seen == [NOON + timedelta(minutes=5), NOON + timedelta(minutes=10)]


def test_a_new_leader_looks_a_minute_back() -> None:
    """A moment that fell into the change of leaders is not lost."""
    seen: list[datetime] = []

    CronRow("row", "0 * * * *", seen.append)(NOON + timedelta(seconds=30))

    assert seen == [NOON]


def test_of_several_missed_moments_the_last_counts() -> None:
    """A machine that slept an hour starts one run, not twelve."""
    seen: list[datetime] = []
    row = CronRow("row", "*/5 * * * *", seen.append)
    row(NOON + timedelta(minutes=1, seconds=30))

    row(NOON + timedelta(hours=1, minutes=1))

    assert seen == [NOON + timedelta(hours=1)]


def test_a_failed_act_is_tried_again() -> None:
    """An absent broker only delays."""
    calls: list[datetime] = []

    def act(moment: datetime) -> None:
        calls.append(moment)
        if len(calls) == 1:
            raise ConnectionError("away")

    row = CronRow("row", "0 * * * *", act)
    with pytest.raises(ConnectionError):
        row(NOON + timedelta(seconds=1))

    row(NOON + timedelta(seconds=2))
    row(NOON + timedelta(seconds=3))

    assert calls == [NOON, NOON]


def test_off_never_acts() -> None:
    """`off` switches a row off."""
    seen: list[datetime] = []

    CronRow("row", "off", seen.append)(NOON)

    assert seen == []


def test_a_bad_expression_is_refused() -> None:
    """With what to write instead."""
    assert check_cron("*/15 * * * *") == "*/15 * * * *"
    with pytest.raises(ValueError, match="five cron fields"):
        check_cron("every hour")
