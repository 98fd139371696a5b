"""Decisions: every answer of which preset to use is a row, committed before the answer leaves."""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, insert, select

from tidewheel.contracts.errors import Conflict, TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import DecisionState
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.ledger.control.pairs import Known, Memory, Pair, find_pair, lock_pairs, of_pair, save, unknown_pair
from tidewheel.ledger.control.records import Asked, Choice, Decision, KillSwitch, Logged, Preset, Standing
from tidewheel.ledger.control.rows import outcomes_of, read_decision, select_decisions, to_decision, unknown_decision
from tidewheel.ledger.control.switches import covering
from tidewheel.ledger.control.tables import decisions, guardrails
from tidewheel.ledger.engine import Database

_PAGE = 1_000  #: rows of the log that are read at once


class Decisions:
    """Which preset was served, when and why."""

    def __init__(self, db: Database, memory: Memory) -> None:
        self._db, self._memory = db, memory

    def decide(self, asked: Sequence[Asked]) -> builtins.list[Decision | TidewheelError]:
        """Answer all questions in one transaction, each in its place; those of one pair follow each other.

        What `choose` raises of TidewheelError is that question's answer and writes nothing; the others go on.

        Raises:
            Unavailable: the ledger cannot be used; nothing was decided.
        """
        with self._db.write() as connection:
            pairs = lock_pairs(connection, {each.key for each in asked})
            frozen = covering(connection, pairs)
            known = {key: self._memory.recall(connection, pair) for key, pair in pairs.items()}
            now = self._db.now(connection)
            answers: list[Decision | TidewheelError] = []
            for each in asked:
                try:
                    if each.key not in pairs:
                        raise unknown_pair(each.key)
                    pair = pairs[each.key]
                    answers.append(_decide(each, pair, known[each.key], frozen.get(each.key), now))
                except TidewheelError as refused:
                    answers.append(refused)
            made = [each for each in answers if isinstance(each, Decision)]
            ids = _store(connection, made, pairs)
            save(connection, [pairs[key] for key in {each.key for each in made}])
        return [
            replace(each, id=ids[pairs[each.key].id, each.number]) if isinstance(each, Decision) else each
            for each in answers
        ]

    def get(self, config_id: ConfigId) -> Decision:
        """One decision.

        Raises:
            NotFound: `unknown_decision`: there is none, or it named another preset.
        """
        with self._db.read() as connection:
            found = read_decision(connection, config_id.decision)
        if found.preset_id != config_id.preset:
            raise unknown_decision(f"decision {config_id.decision} is not of preset {config_id.preset}")
        return found

    def latest_open(self, key: PairKey, preset_id: str | None = None) -> Decision | None:
        """The pair's newest decision that waits for its outcome, of one preset where it is named; None without."""
        with self._db.read() as connection:
            return latest_open(connection, key, preset_id)

    def list(self, key: PairKey, limit: int = 100) -> builtins.list[Logged]:
        """The pair's newest decisions and what came of them, newest first.

        Raises:
            NotFound: nothing was ever registered for the pair.
        """
        query = _of(key).order_by(decisions.c.number.desc()).limit(limit)
        with self._db.read() as connection:
            find_pair(connection, key)
            return _with_outcomes(connection, query)

    def log(self, key: PairKey, after: int = 0) -> Iterator[Logged]:
        """The pair's decisions numbered above `after`, oldest first, read in pages.

        Raises:
            NotFound: nothing was ever registered for the pair.
        """
        while True:
            query = _of(key).where(decisions.c.number > after).order_by(decisions.c.number).limit(_PAGE)
            with self._db.read() as connection:
                find_pair(connection, key)
                page = _with_outcomes(connection, query)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].decision.number


def latest_open(
    connection: Connection, key: PairKey, preset_id: str | None, but: Sequence[int] = ()
) -> Decision | None:
    """`Decisions.latest_open` inside the caller's transaction, leaving out the decisions `but`."""
    query = _of(key).where(decisions.c.state == DecisionState.OPEN)
    if preset_id is not None:
        query = query.where(decisions.c.preset_id == preset_id)
    if but:
        query = query.where(decisions.c.id.not_in(but))
    row = connection.execute(query.order_by(decisions.c.number.desc()).limit(1)).one_or_none()
    return None if row is None else to_decision(row)


def _of(key: PairKey) -> Any:
    mine = select(guardrails.c.id).where(of_pair(key))
    return select_decisions().where(decisions.c.pair_id == mine.scalar_subquery())


def _with_outcomes(connection: Connection, query: Any) -> builtins.list[Logged]:
    found = [to_decision(row) for row in connection.execute(query).all()]
    known = outcomes_of(connection, [each.id for each in found])
    return [Logged(decision=each, outcome=known.get(each.id)) for each in found]


def _decide(asked: Asked, pair: Pair, known: Known, frozen: KillSwitch | None, now: UtcMillis) -> Decision:
    """Ask for a choice and enter it into the pair; the row and its id come later."""
    day = max(now // DAY, pair.day)  # a clock that steps back over midnight gives no day's changes again
    standing = Standing(
        key=pair.key,
        number=pair.decisions + 1,
        now=now,
        day=day,
        changes=pair.changes if day == pair.day else 0,
        incumbent=known.presets[pair.incumbent] if pair.incumbent else None,
        presets=tuple(each for each in known.presets.values() if each.retired_at is None),
        learnt=pair.learnt,
        frozen=frozen,
        signature=asked.signature,
        learned=known.learned,
    )
    choice = asked.choose(standing)
    chosen = _live(standing, choice)
    changed = pair.incumbent not in (None, choice.preset_id)
    pair.decisions, pair.incumbent, pair.day = standing.number, choice.preset_id, day
    pair.changes = standing.changes + changed
    return Decision(
        id=0,
        key=pair.key,
        number=standing.number,
        preset_id=choice.preset_id,
        params=chosen.params,
        digest=chosen.digest,
        signature=asked.signature,
        context=choice.context,
        features_used=choice.features_used,
        reason=choice.reason,
        propensity=choice.propensity,
        propensities=choice.propensities,
        policy=choice.policy,
        policy_version=choice.policy_version,
        learnt=pair.learnt,
        changed=changed,
        state=DecisionState.OPEN,
        actor=asked.actor,
        decided_at=now,
        expires_at=now + choice.settle_within_ms,
    )


def _live(standing: Standing, choice: Choice) -> Preset:
    for preset in standing.presets:
        if preset.preset_id == choice.preset_id:
            return preset
    raise Conflict(
        f"preset {choice.preset_id} of {standing.key} is not live; GET /preset/{standing.key} lists those that are",
        code="preset_not_live",
    )


def _store(
    connection: Connection, made: Sequence[Decision], pairs: Mapping[PairKey, Pair]
) -> dict[tuple[int, int], int]:
    """Insert the decisions; (pair, number) -> id."""
    if not made:
        return {}
    rows = [
        {
            "pair_id": pairs[each.key].id,
            "number": each.number,
            "preset_id": each.preset_id,
            "signature": each.signature,
            "context": list(each.context),
            "features_used": dict(each.features_used),
            "reason": each.reason,
            "propensity": each.propensity,
            "propensities": dict(each.propensities),
            "policy": each.policy,
            "policy_version": each.policy_version,
            "learnt": each.learnt,
            "changed": each.changed,
            "state": each.state,
            "actor": each.actor,
            "decided_at": each.decided_at,
            "expires_at": each.expires_at,
        }
        for each in made
    ]
    stored = insert(decisions).returning(decisions.c.id, decisions.c.pair_id, decisions.c.number)
    return {(row.pair_id, row.number): row.id for row in connection.execute(stored, rows).all()}
