"""Many requests, one transaction: what waits while the ledger commits is committed together next."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from tidewheel.contracts.errors import TidewheelError

Ask = TypeVar("Ask")
Ready = TypeVar("Ready")
Answer = TypeVar("Answer")


class GroupCommit(Generic[Ask, Answer]):
    """Collects asks while another group is being committed, and hands them to `commit` as one.

    `commit` runs in a thread and answers each ask in its place, with an error where one is refused; what it raises is
    every asker's. Whoever goes away meanwhile leaves the others' group as it is. Groups with one `turn` follow each
    other. Belongs to one event loop.
    """

    def __init__(
        self, commit: Callable[[Sequence[Ask]], Sequence[Answer | TidewheelError]], turn: asyncio.Lock
    ) -> None:
        self._commit, self._turn = commit, turn
        self._thread = CapacityLimiter(1)
        self._waiting: _Group[Ask, Answer] | None = None

    async def answer(self, ask: Ask) -> Answer:
        """The answer to `ask`, once it is durable.

        Raises:
            TidewheelError: it was refused, or the group could not be committed.
        """
        group = self._waiting
        if group is None:
            group = self._waiting = _Group()
            group.done = asyncio.create_task(self._carry_out(group))
        place = len(group.asks)
        group.asks.append(ask)
        answer = (await asyncio.shield(group.done))[place]
        if isinstance(answer, TidewheelError):
            raise answer
        return answer

    async def _carry_out(self, group: "_Group[Ask, Answer]") -> Sequence[Answer | TidewheelError]:
        async with self._turn:
            self._waiting = None  # who comes from now on is in the next one
            return await run_sync(self._commit, group.asks, limiter=self._thread)


def in_place(
    asks: Sequence[Ask],
    prepare: Callable[[Ask], Ready],
    carry_out: Callable[[Sequence[Ready]], Sequence[Answer | TidewheelError]],
) -> list[Answer | TidewheelError]:
    """Carry out together what can be prepared; what cannot has its refusal in its place, and the others go on."""
    refused: dict[int, TidewheelError] = {}
    ready: list[Ready] = []
    for place, ask in enumerate(asks):
        try:
            ready.append(prepare(ask))
        except TidewheelError as refusal:
            refused[place] = refusal
    answers = iter(carry_out(ready) if ready else ())
    return [refused[place] if place in refused else next(answers) for place in range(len(asks))]


class _Group(Generic[Ask, Answer]):
    done: "asyncio.Task[Sequence[Answer | TidewheelError]]"

    def __init__(self) -> None:
        self.asks: list[Ask] = []
