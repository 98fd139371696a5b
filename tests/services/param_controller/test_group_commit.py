"""Many requests, one transaction."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from services.param_controller.service.group_commit import GroupCommit, in_place
from tidewheel.contracts.errors import Conflict, TidewheelError, Unavailable


class Recorder:
    """Commits when it is let, and remembers what came together."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.may_go = threading.Event()
        self.at_once = 0

    def commit(self, asks: Sequence[int]) -> list[str | TidewheelError]:
        self.at_once += 1
        assert self.at_once == 1, "two groups at the same time"
        assert self.may_go.wait(60)
        self.groups.append([*asks])
        self.at_once -= 1
        return [Conflict(f"{ask} is odd") if ask % 2 else f"{ask} is even" for ask in asks]


async def settled() -> None:
    """Let every task come as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_waits_goes_together_and_each_has_its_answer() -> None:
    """While one group is committed the next one gathers; a refusal is the asker's alone."""

    async def scene() -> None:
        recorder = Recorder()
        group = GroupCommit(recorder.commit, asyncio.Lock())
        asked = [asyncio.create_task(group.answer(0))]
        await settled()
        asked += [asyncio.create_task(group.answer(number)) for number in range(1, 6)]
        await settled()
        recorder.may_go.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert recorder.groups == [[0], [1, 2, 3, 4, 5]]
        assert [str(answer) for answer in answers] == [
            f"{number} is {'odd' if number % 2 else 'even'}" for number in range(6)
        ]
        assert [isinstance(answer, Conflict) for answer in answers] == [bool(number % 2) for number in range(6)]

    asyncio.run(scene())


def test_whoever_leaves_does_not_take_the_others_along() -> None:
    """A client that breaks off is counted in its group all the same, and the others are answered."""

    async def scene() -> None:
        recorder = Recorder()
        group = GroupCommit(recorder.commit, asyncio.Lock())
        gone, stays = asyncio.create_task(group.answer(2)), asyncio.create_task(group.answer(4))
        await settled()
        gone.cancel()
        await settled()
        recorder.may_go.set()
        assert await stays == "4 is even" and recorder.groups == [[2, 4]]
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(scene())


def test_a_commit_that_fails_is_told_to_all_and_the_next_goes_on() -> None:
    """A ledger that is away is every asker's answer, and nobody hangs; so is an error of ours."""
    errors: list[Exception] = [Unavailable("the ledger is away"), ZeroDivisionError()]

    def commit(asks: Sequence[int]) -> list[int | TidewheelError]:
        if errors:
            raise errors.pop(0)
        return [*asks]

    async def scene() -> None:
        group = GroupCommit(commit, asyncio.Lock())
        for kind in (Unavailable, ZeroDivisionError):
            answers = await asyncio.gather(group.answer(1), group.answer(2), return_exceptions=True)
            assert [type(answer) for answer in answers] == [kind, kind]
        assert await group.answer(3) == 3

    asyncio.run(scene())


def test_groups_of_one_turn_follow_each_other() -> None:
    """Decisions and outcomes never write at the same time."""

    async def scene() -> None:
        recorder, turn = Recorder(), asyncio.Lock()
        one, other = GroupCommit(recorder.commit, turn), GroupCommit(recorder.commit, turn)
        asked = [asyncio.create_task(group.answer(number)) for group in (one, other) for number in (2, 4)]
        await settled()
        recorder.may_go.set()
        await asyncio.gather(*asked)
        assert recorder.groups == [[2, 4], [2, 4]]

    asyncio.run(scene())


def test_what_cannot_be_prepared_is_refused_in_its_place() -> None:
    """The others are carried out together; where nothing is left, nothing is carried out."""
    carried: list[list[str]] = []

    def prepare(ask: int) -> str:
        if ask < 0:
            raise Conflict(f"{ask} is negative")
        return str(ask)

    def carry_out(ready: Sequence[str]) -> list[str | TidewheelError]:
        carried.append([*ready])
        return [Unavailable("late") if each == "3" else f"done {each}" for each in ready]

    first, *others, last = in_place([-1, 2, 3, -4], prepare, carry_out)
    assert isinstance(first, Conflict) and isinstance(last, Conflict)
    assert (first.detail, last.detail) == ("-1 is negative", "-4 is negative")
    assert others[0] == "done 2" and isinstance(others[1], Unavailable)
    assert [type(each) for each in in_place([-1], prepare, carry_out)] == [Conflict]
    assert carried == [["2", "3"]]
