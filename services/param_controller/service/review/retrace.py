"""A pair's log, walked again from its first decision, with what was known at each."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.times import DAY
from tidewheel.ledger.control.records import Decision, Logged, Outcome
from tidewheel.ledger.open import Ledger

Place = tuple[str, str]  #: digest of a preset's params, signature of the context


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """A decision, and what stood when it was made."""

    logged: Logged
    before: Decision | None  #: the pair's decision before it
    day: int  #: UTC day, days since 1970
    changes: int  #: of the preset, earlier on that day
    learned: Mapping[Place, Posterior]  #: what its choice could know; true until the next moment is asked for


def retrace(ledger: Ledger, key: PairKey) -> Iterator[Moment]:
    """Every decision of the pair, oldest first; outcomes are learnt again in the order in which they were.

    Raises:
        NotFound: nothing was ever registered for the pair.
    """
    known, before, day, changes = _Known(), None, 0, 0
    for logged in ledger.decisions.log(key):
        decision = logged.decision
        today = max(day, decision.decided_at // DAY)
        day, changes = today, changes if today == day else 0
        known.catch_up(decision)
        yield Moment(logged, before, day, changes, known.learned)
        changes += decision.changed
        known.hear_of(logged)
        before = decision


@dataclass(order=True, slots=True)
class _Lesson:
    seq: int
    decision: Decision = field(compare=False)
    outcome: Outcome = field(compare=False)

    def forgotten_by(self, number: int) -> bool:
        """Whether a rollback had taken it out before the decision of that number."""
        return self.outcome.dropped_after is not None and self.outcome.dropped_after < number


class _Known:
    """What outcomes have taught so far. Those of decisions already walked wait until a decision knew them."""

    def __init__(self) -> None:
        self.learned: dict[Place, Posterior] = {}
        self._waiting: list[_Lesson] = []
        self._lessons: list[_Lesson] = []
        self._droppable: list[int] = []  #: `dropped_after` of lessons, lowest first

    def hear_of(self, logged: Logged) -> None:
        """Let the outcome wait for the first decision that knew it."""
        outcome = logged.outcome
        if outcome is not None and outcome.learnt:
            heapq.heappush(self._waiting, _Lesson(outcome.seq, logged.decision, outcome))

    def catch_up(self, decision: Decision) -> None:
        """Learn and forget what had been learnt and forgotten when `decision` was made."""
        while self._waiting and self._waiting[0].seq <= decision.learnt:
            self._take_in(heapq.heappop(self._waiting))
        if self._droppable and self._droppable[0] < decision.number:
            kept = [lesson for lesson in self._lessons if not lesson.forgotten_by(decision.number)]
            self.learned, self._lessons, self._droppable = {}, [], []
            for lesson in kept:
                self._take_in(lesson)

    def _take_in(self, lesson: _Lesson) -> None:
        decision, outcome = lesson.decision, lesson.outcome
        place = (decision.digest, decision.signature)
        before = self.learned.get(place) or Posterior.empty(len(decision.context))
        self.learned[place] = before.learn(
            np.asarray(decision.context), outcome.learnt_reward, outcome.learnt_at, outcome.half_life_ms
        )
        self._lessons.append(lesson)
        if outcome.dropped_after is not None:
            heapq.heappush(self._droppable, outcome.dropped_after)
