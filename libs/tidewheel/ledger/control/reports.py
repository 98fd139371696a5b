"""Which decision a report means, and whether its outcome is known already."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, select, tuple_

from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import DecisionState, OutcomeKind
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.ledger.control.decisions import latest_open
from tidewheel.ledger.control.pairs import Pair, unknown_pair
from tidewheel.ledger.control.records import Decision, Outcome, Report
from tidewheel.ledger.control.rows import outcomes_of, select_decisions, to_decision, unknown_decision
from tidewheel.ledger.control.tables import decisions, outcomes


class Meant:
    """What the reports of one transaction may mean. Their pairs are locked, so nobody settles anything meanwhile."""

    def __init__(
        self,
        connection: Connection,
        pairs: Mapping[PairKey, Pair],
        found: Mapping[int, Decision],
        outcomes: Mapping[int, Outcome],
    ) -> None:
        self._connection, self._pairs = connection, pairs
        self._decisions, self._outcomes = dict(found), dict(outcomes)
        self._events = {
            (found[each.decision_id].key, each.event_id): each.decision_id
            for each in outcomes.values()
            if each.event_id is not None
        }

    def decision(self, report: Report) -> tuple[Decision, bool]:
        """The decision that the report names, by itself or by its event; else the preset's newest open one, inferred.

        Raises:
            NotFound: `unknown_pair`, `unknown_decision`.
            BadInput: it is of another pair or preset.
        """
        if report.key not in self._pairs:
            raise unknown_pair(report.key)
        event = self._of_event(report)
        if report.config_id is not None:
            found = self._decisions.get(report.config_id.decision)
            if found is None:
                raise unknown_decision(f"there is no decision {report.config_id}")
        elif event is not None:
            found = self._decisions[event]
        else:
            settled = [each for each in self._outcomes if self._decisions[each].key == report.key]
            newest = latest_open(self._connection, report.key, report.preset_id, but=settled)
            if newest is None:
                raise unknown_decision(f"no decision of {report.key} for {report.preset_id} waits for an outcome")
            self._decisions[newest.id] = newest
            return newest, True
        named = found.preset_id if report.config_id is None else report.config_id.preset
        if found.key != report.key or {found.preset_id, named} != {report.preset_id}:
            raise BadInput(
                f"decision {found.config_id} is of {found.key}, not of {report.key} {report.preset_id}; "
                "report it under the strategy, instrument and preset that it was answered for",
                code="wrong_decision",
            )
        return found, False

    def known(self, report: Report, decision: Decision) -> Outcome | None:
        """The decision's outcome, where this report only repeats it; None where there is none.

        Raises:
            Conflict: `another_reward`, `event_taken`.
            NotFound: `decision_expired`.
        """
        if self._of_event(report) not in (None, decision.id):
            raise Conflict(
                f"event {report.event_id!r} is the outcome of another decision of {report.key} "
                f"than {decision.config_id}; an event is of one decision",
                code="event_taken",
            )
        outcome = self._outcomes.get(decision.id)
        if outcome is None:
            return None
        if outcome.kind is OutcomeKind.DEFAULTED:
            raise _expired(decision)
        if outcome.reward != report.reward:
            raise Conflict(
                f"decision {decision.config_id} settled with reward {outcome.reward} and cannot settle with "
                f"{report.reward}; an outcome is never changed",
                code="another_reward",
            )
        return outcome

    def check_open(self, decision: Decision, now: UtcMillis) -> None:
        """Return where the decision still waits for its outcome.

        Raises:
            NotFound: `decision_expired`.
        """
        if decision.state is not DecisionState.OPEN or now > decision.expires_at:
            raise _expired(decision)

    def note(self, outcome: Outcome) -> None:
        """Take in what was learnt of an earlier report of the same transaction."""
        self._outcomes[outcome.decision_id] = outcome
        if outcome.event_id is not None:
            self._events[self._decisions[outcome.decision_id].key, outcome.event_id] = outcome.decision_id

    def _of_event(self, report: Report) -> int | None:
        return None if report.event_id is None else self._events.get((report.key, report.event_id))


def read_meant(connection: Connection, pairs: Mapping[PairKey, Pair], reports: Sequence[Report]) -> Meant:
    """Read what the reports name, all at once."""
    wanted = {each.config_id.decision for each in reports if each.config_id is not None}
    events = {
        (pairs[each.key].id, each.event_id) for each in reports if each.event_id is not None and each.key in pairs
    }
    if events:
        of_event = tuple_(outcomes.c.pair_id, outcomes.c.event_id).in_(events)
        wanted |= set(connection.execute(select(outcomes.c.decision_id).where(of_event)).scalars())
    if not wanted:
        return Meant(connection, pairs, {}, {})
    rows = connection.execute(select_decisions().where(decisions.c.id.in_(wanted))).all()
    found = {row.id: to_decision(row) for row in rows}
    return Meant(connection, pairs, found, outcomes_of(connection, list(found)))


def _expired(decision: Decision) -> NotFound:
    return NotFound(
        f"decision {decision.config_id} waited for its outcome until {iso(decision.expires_at)} and counts as the "
        "schema's default; report earlier, or raise settle_within",
        code="decision_expired",
    )
