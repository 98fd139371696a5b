"""Outcomes: what came of a decision, learnt once, with the decision's own context."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import func, select

from tidewheel.contracts.errors import PosteriorUnusable, TidewheelError
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import DecisionState
from tidewheel.ledger.control.learning import Lesson
from tidewheel.ledger.control.pairs import Memory, lock_pairs
from tidewheel.ledger.control.records import Learnt, Report, Rules
from tidewheel.ledger.control.reports import Meant, read_meant
from tidewheel.ledger.control.rows import select_decisions, to_decision
from tidewheel.ledger.control.tables import decisions, guardrails
from tidewheel.ledger.engine import Database


class Outcomes:
    """What is learnt of what was decided."""

    def __init__(self, db: Database, memory: Memory) -> None:
        self._db, self._memory = db, memory

    def learn(self, reports: Sequence[Report]) -> list[Learnt | TidewheelError]:
        """Learn all reports in one transaction, each answered in its place; a repeat changes nothing.

        A report's answer is one of these errors where it cannot be learnt; the others go on:

        - NotFound: `unknown_pair`, `unknown_decision`, or `decision_expired`: its time ran out.
        - Conflict: `another_reward`: the decision has another one; `event_taken`: the event is another decision's.
        - BadInput: the named decision is of another pair or preset, or a value is none that can be kept.
        - PosteriorUnusable: what is stored of the preset cannot be read.

        Raises:
            Unavailable: the ledger cannot be used; nothing was learnt.
        """
        with self._db.write() as connection:
            pairs = lock_pairs(connection, {each.key for each in reports})
            meant = read_meant(connection, pairs, reports)
            lesson = Lesson(self._db, connection, self._memory, pairs)
            answers: list[Learnt | TidewheelError] = []
            for each in reports:
                try:
                    answers.append(_learn(lesson, meant, each))
                except TidewheelError as refused:
                    answers.append(refused)
            lesson.write(DecisionState.SETTLED)
        lesson.remember()
        return answers

    def due(self) -> Mapping[PairKey, int]:
        """Pairs with decisions whose time ran out without an outcome, and how many."""
        query = (
            select(guardrails.c.strategy, guardrails.c.instrument, func.count().label("waiting"))
            .join(decisions, decisions.c.pair_id == guardrails.c.id)
            .where(decisions.c.state == DecisionState.OPEN, decisions.c.expires_at < self._db.clock())
            .group_by(guardrails.c.id, guardrails.c.strategy, guardrails.c.instrument)
            .order_by(guardrails.c.id)
        )
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        return {PairKey(row.strategy, row.instrument): int(row.waiting) for row in rows}

    def settle_due(self, limit: int, rules_of: Callable[[PairKey], Rules | None]) -> list[Learnt]:
        """Give up to `limit` decisions whose time ran out the schema's default, oldest first; a transaction a pair.

        Pairs without rules (their schema is gone) are left as they are.
        """
        learnt: list[Learnt] = []
        for key in self.due():
            rules = rules_of(key)
            if rules is not None and len(learnt) < limit:
                learnt += self._settle(key, limit - len(learnt), rules)
        return learnt

    def _settle(self, key: PairKey, limit: int, rules: Rules) -> list[Learnt]:
        with self._db.write() as connection:
            pairs = lock_pairs(connection, [key])
            lesson = Lesson(self._db, connection, self._memory, pairs)
            rows = connection.execute(
                select_decisions()
                .where(decisions.c.pair_id == pairs[key].id, decisions.c.state == DecisionState.OPEN)
                .where(decisions.c.expires_at < lesson.now)
                .order_by(decisions.c.number)
                .limit(limit)
            ).all()
            learnt = []
            for row in rows:
                with suppress(PosteriorUnusable):  # decide and fsck tell; the decision waits until that is mended
                    learnt.append(lesson.default(to_decision(row), rules))
            lesson.write(DecisionState.EXPIRED)
        lesson.remember()
        return learnt


def _learn(lesson: Lesson, meant: Meant, report: Report) -> Learnt:
    decision, inferred = meant.decision(report)
    known = meant.known(report, decision)
    if known is not None:
        settled = replace(decision, state=DecisionState.SETTLED)
        return Learnt(decision=settled, outcome=known, repeated=True, tripped=None)
    meant.check_open(decision, lesson.now)
    learnt = lesson.report(decision, report, inferred=inferred)
    meant.note(learnt.outcome)
    return learnt
