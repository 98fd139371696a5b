"""One transaction of learning: outcomes enter the posteriors and the guardrails of locked pairs, in order."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, select, update

from tidewheel.contracts.errors import PosteriorUnusable
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import DecisionState, OutcomeKind
from tidewheel.ledger.control.pairs import Known, Memory, Pair, save, write_posteriors
from tidewheel.ledger.control.records import Decision, KillSwitch, Learnt, Outcome, Report, Rules
from tidewheel.ledger.control.switches import trip
from tidewheel.ledger.control.tables import decisions, outcomes
from tidewheel.ledger.engine import Database

if TYPE_CHECKING:
    from tidewheel.bandits.posterior import Posterior

SETTLER = "settle"  #: the actor of outcomes that nobody reported
GUARDRAILS = "guardrails"  #: the actor that trips a switch by itself
_ROUNDING = 1e-9  #: by which a sum of decimals, such as a hundred times 0.1, may fall short of itself
KEY_SHARE = "key_share"  #: why an outcome is not learnt: its actor would hold too much of what is


class Lesson:
    """What one transaction learns: kept here until `write`, and remembered by the process after the commit."""

    def __init__(self, db: Database, connection: Connection, memory: Memory, pairs: Mapping[PairKey, Pair]) -> None:
        self._db, self._connection, self._memory, self._pairs = db, connection, memory, pairs
        self.now = db.now(connection)
        self._known: dict[PairKey, Known] = {}
        self._learnt: list[tuple[Pair, Outcome]] = []
        self._taught: dict[PairKey, dict[tuple[str, str], tuple[Posterior, int]]] = {}
        self._tellers: dict[PairKey, list[str]] = {}  #: who told what was learnt of late, oldest first

    def report(self, decision: Decision, report: Report, *, inferred: bool) -> Learnt:
        """Learn what was reported of an open decision.

        Raises:
            PosteriorUnusable: what is stored of the preset cannot be read; nothing was learnt.
        """
        return self._learn(
            decision,
            report.rules,
            kind=OutcomeKind.REPORTED,
            reward=report.reward,
            left_out=self._left_out(report),
            event_id=report.event_id,
            inferred=inferred,
            features=report.features,
            actor=report.actor,
        )

    def default(self, decision: Decision, rules: Rules) -> Learnt:
        """Learn that nothing came of an open decision within its time; PosteriorUnusable as in `report`."""
        return self._learn(
            decision,
            rules,
            kind=OutcomeKind.DEFAULTED,
            reward=rules.default,
            left_out=None,
            event_id=None,
            inferred=False,
            features=None,
            actor=SETTLER,
        )

    def write(self, state: DecisionState) -> None:
        """Write everything; the decisions are then in `state`."""
        if not self._learnt:
            return
        self._connection.execute(insert(outcomes), [_row(pair, outcome) for pair, outcome in self._learnt])
        settled = [outcome.decision_id for _, outcome in self._learnt]
        self._connection.execute(update(decisions).where(decisions.c.id.in_(settled)).values(state=state))
        changed = {pair.key: pair for pair, _ in self._learnt}
        for key, pair in changed.items():
            pair.epoch += 1
            write_posteriors(self._db, self._connection, pair, self._taught.get(key, {}))
        save(self._connection, changed.values())

    def remember(self) -> None:
        """Let the process know what is committed now."""
        for key, known in self._known.items():
            taught = {place: posterior for place, (posterior, _) in self._taught.get(key, {}).items()}
            pair = self._pairs[key]
            self._memory.keep(pair, Known(pair.epoch, known.presets, {**known.learned, **taught}))

    def _learn(
        self, decision: Decision, rules: Rules, *, kind: OutcomeKind, reward: float, left_out: str | None,
        event_id: str | None, inferred: bool, features: Mapping[str, object] | None, actor: str,
    ) -> Learnt:  # fmt: skip
        pair = self._pairs[decision.key]
        low, high = rules.clip
        outcome = Outcome(
            decision_id=decision.id,
            seq=pair.learnt + 1,
            kind=kind,
            event_id=event_id,
            reward=reward,
            learnt_reward=min(max(reward, low), high),
            half_life_ms=rules.half_life_ms,
            learnt=left_out is None,
            left_out=left_out,
            inferred=inferred,
            features=features,
            actor=actor,
            learnt_at=self.now,
            dropped_at=None,
            dropped_after=None,
        )
        if outcome.learnt:
            self._teach(pair, decision, outcome)
        pair.learnt = outcome.seq
        self._learnt.append((pair, outcome))
        tripped = None
        if kind is OutcomeKind.REPORTED:
            if outcome.learnt and pair.key in self._tellers:
                self._tellers[pair.key].append(actor)
            pair.realised += reward
            pair.peak = max(pair.peak, pair.realised)
            tripped = self._drawdown(pair, rules)
        state = DecisionState.SETTLED if kind is OutcomeKind.REPORTED else DecisionState.EXPIRED
        return Learnt(decision=replace(decision, state=state), outcome=outcome, repeated=False, tripped=tripped)

    def _teach(self, pair: Pair, decision: Decision, outcome: Outcome) -> None:
        import numpy as np

        from tidewheel.bandits.posterior import Posterior

        place = (decision.digest, decision.signature)
        taught = self._taught.setdefault(pair.key, {})
        before = taught[place][0] if place in taught else self._recall(pair).learned.get(place)
        if isinstance(before, PosteriorUnusable):
            raise PosteriorUnusable(
                f"nothing can be learnt of {decision.preset_id} of {pair.key}: {before.detail}; "
                "run `tidewheel bandit rebuild`"
            )
        x = np.asarray(decision.context, dtype=np.float64)
        after = (before or Posterior.empty(len(x))).learn(
            x, outcome.learnt_reward, outcome.learnt_at, outcome.half_life_ms
        )
        taught[place] = (after, outcome.seq)

    def _recall(self, pair: Pair) -> Known:
        if pair.key not in self._known:
            self._known[pair.key] = self._memory.recall(self._connection, pair)
        return self._known[pair.key]

    def _left_out(self, report: Report) -> str | None:
        from tidewheel.bandits.key_share import RECENT, holds_too_much

        if report.rules.max_key_share >= 1.0:
            return None
        if report.key not in self._tellers:
            learnt = (outcomes.c.pair_id == self._pairs[report.key].id) & outcomes.c.learnt
            told = learnt & (outcomes.c.kind == OutcomeKind.REPORTED) & outcomes.c.dropped_at.is_(None)
            newest = select(outcomes.c.actor).where(told).order_by(outcomes.c.seq.desc()).limit(RECENT)
            self._tellers[report.key] = [*self._connection.execute(newest).scalars()][::-1]
        too_much = holds_too_much(self._tellers[report.key], report.actor, report.rules.max_key_share)
        return KEY_SHARE if too_much else None

    def _drawdown(self, pair: Pair, rules: Rules) -> KillSwitch | None:
        fall = pair.peak - pair.realised
        if rules.max_drawdown is None or fall < rules.max_drawdown * (1.0 - _ROUNDING):
            return None
        reason = (
            f"the realised reward is {fall:g} below its peak of {pair.peak:g}, and a fall of {rules.max_drawdown:g} "
            "freezes the pair"
        )
        switch, new = trip(self._db, self._connection, pair.key, GUARDRAILS, reason, "drawdown")
        return switch if new else None


def _row(pair: Pair, outcome: Outcome) -> dict[str, object]:
    return {
        "decision_id": outcome.decision_id,
        "pair_id": pair.id,
        "seq": outcome.seq,
        "kind": outcome.kind,
        "event_id": outcome.event_id,
        "reward": outcome.reward,
        "learnt_reward": outcome.learnt_reward,
        "half_life_ms": outcome.half_life_ms,
        "learnt": outcome.learnt,
        "left_out": outcome.left_out,
        "inferred": outcome.inferred,
        "features": None if outcome.features is None else dict(outcome.features),
        "actor": outcome.actor,
        "learnt_at": outcome.learnt_at,
    }
