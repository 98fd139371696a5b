"""Posteriors: what the log teaches. The log is the truth; what is stored beside it only saves the adding up."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, or_, select, update

from tidewheel.contracts.errors import BadInput, PosteriorUnusable
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.ledger.control.audit import write_down
from tidewheel.ledger.control.pairs import (
    Pair,
    learned,
    lock_pair,
    of_pair,
    read_posterior,
    save,
    unknown_pair,
    write_posteriors,
)
from tidewheel.ledger.control.records import Decision, Learned, RolledBack
from tidewheel.ledger.control.tables import decisions, guardrails, outcomes, posteriors, presets
from tidewheel.ledger.engine import Database

if TYPE_CHECKING:
    from tidewheel.bandits.posterior import Posterior

SAME = 1e-9  #: by which two sums that should be equal may differ, relative to the largest
_PAGE = 2_000  #: outcomes that are read at once


class Posteriors:
    """What was learnt of each preset content in contexts of each meaning, by (digest, signature)."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, key: PairKey) -> Learned:
        """What is stored for the pair.

        Raises:
            NotFound: nothing was ever registered for it.
        """
        with self._db.read() as connection:
            return learned(connection, _pair_id(connection, key))

    def rebuild(self, key: PairKey, before: Decision | None = None) -> dict[tuple[str, str], "Posterior"]:
        """What the log teaches, added up anew in the order of learning; or what it taught `before` a decision.

        Raises:
            NotFound: nothing was ever registered for the pair.
        """
        with self._db.read(snapshot=True) as connection:
            taught = from_log(connection, _pair_id(connection, key), before)
        return {place: posterior for place, (posterior, _) in taught.items()}

    def check(self, key: PairKey) -> float:
        """Largest difference between what is stored and what the log teaches, relative to the largest sum; 0 is right.

        Infinite where one of the two is missing, counts other outcomes, or cannot be read.

        Raises:
            NotFound: nothing was ever registered for the pair.
        """
        with self._db.read(snapshot=True) as connection:
            return difference(connection, _pair_id(connection, key))

    def rollback(self, key: PairKey, as_of: UtcMillis, actor: str, reason: str) -> RolledBack:
        """Unlearn what was learnt after `as_of`: those outcomes stay in the log, marked, and teach no more.

        Raises:
            BadInput: no reason is given, or `as_of` is to come.
            NotFound: nothing was ever registered for the pair.
        """
        with self._db.write() as connection:
            now = self._db.now(connection)
            if as_of > now:
                raise BadInput(f"as_of = {iso(as_of)} is to come; it is {iso(now)}, and nothing was learnt later")
            pair = lock_pair(connection, key)
            dropped = connection.execute(
                update(outcomes)
                .where(outcomes.c.pair_id == pair.id, outcomes.c.learnt, outcomes.c.dropped_at.is_(None))
                .where(outcomes.c.learnt_at > as_of)
                .values(dropped_at=self._db.clock(), dropped_after=pair.decisions)
            ).rowcount
            detail = {"as_of": iso(as_of), "dropped": dropped}
            return self._rewritten(connection, pair, dropped, actor, "posterior.rollback", reason, detail)

    def rewrite(self, key: PairKey, actor: str, reason: str) -> RolledBack:
        """Store what the log teaches in place of what is stored; mends a posterior that cannot be read.

        Raises:
            BadInput: no reason is given.
            NotFound: nothing was ever registered for the pair.
        """
        with self._db.write() as connection:
            pair = lock_pair(connection, key)
            return self._rewritten(connection, pair, 0, actor, "posterior.rewrite", reason, {})

    def _rewritten(
        self, connection: Connection, pair: Pair, dropped: int, actor: str, action: str, reason: str,
        detail: Mapping[str, Any],
    ) -> RolledBack:  # fmt: skip
        if not reason.strip():
            raise BadInput("a change of what was learnt needs a reason: say why, for whoever reads it later")
        taught = from_log(connection, pair.id)
        connection.execute(delete(posteriors).where(posteriors.c.pair_id == pair.id))
        write_posteriors(self._db, connection, pair, taught)
        pair.epoch += 1
        save(connection, [pair])
        write_down(self._db, connection, actor, action, str(pair.key), reason, detail)
        return RolledBack(dropped=dropped, kept=sum(posterior.count for posterior, _ in taught.values()))


def from_log(
    connection: Connection, pair_id: int, before: Decision | None = None
) -> dict[tuple[str, str], tuple["Posterior", int]]:
    """Add up a pair's outcomes in the order of learning: each posterior, and the newest outcome in it."""
    import numpy as np

    from tidewheel.bandits.posterior import Posterior

    taught: dict[tuple[str, str], tuple[Posterior, int]] = {}
    for row in _learnt(connection, pair_id, before):
        x = np.asarray(row.context, dtype=np.float64)
        place = (row.digest, row.signature)
        posterior = taught[place][0] if place in taught else Posterior.empty(len(x))
        taught[place] = (posterior.learn(x, row.learnt_reward, row.learnt_at, row.half_life_ms), row.seq)
    return taught


def difference(connection: Connection, pair_id: int) -> float:
    """`Posteriors.check` inside the caller's transaction, which must be of one snapshot."""
    taught = from_log(connection, pair_id)
    columns = (posteriors.c.digest, posteriors.c.signature, posteriors.c.state, posteriors.c.seq)
    query = select(*columns, posteriors.c.count.label("counted")).where(posteriors.c.pair_id == pair_id)
    rows = connection.execute(query).all()
    if {(row.digest, row.signature) for row in rows} != set(taught):
        return math.inf
    largest = 0.0
    for row in rows:
        stored, (posterior, seq) = read_posterior(row.state), taught[row.digest, row.signature]
        if isinstance(stored, PosteriorUnusable) or {stored.count, row.counted} != {posterior.count} or row.seq != seq:
            return math.inf
        largest = max(largest, stored.difference(posterior))
    return largest


def _learnt(connection: Connection, pair_id: int, before: Decision | None) -> Iterator[Any]:
    """What teaches, or taught before a decision, in the order of learning."""
    query = (
        select(
            outcomes.c.seq, outcomes.c.learnt_reward, outcomes.c.learnt_at, outcomes.c.half_life_ms,
            decisions.c.context, decisions.c.signature, presets.c.digest,
        )
        .join(decisions, decisions.c.id == outcomes.c.decision_id)
        .join(
            presets, (presets.c.pair_id == decisions.c.pair_id) & (presets.c.preset_id == decisions.c.preset_id)
        )
        .where(outcomes.c.pair_id == pair_id, outcomes.c.learnt)
        .order_by(outcomes.c.seq)
        .limit(_PAGE)
    )  # fmt: skip
    if before is None:
        query = query.where(outcomes.c.dropped_at.is_(None))
    else:
        query = query.where(
            outcomes.c.seq <= before.learnt,
            or_(outcomes.c.dropped_after.is_(None), outcomes.c.dropped_after >= before.number),
        )
    seq = 0
    while page := connection.execute(query.where(outcomes.c.seq > seq)).all():
        yield from page
        seq = page[-1].seq


def _pair_id(connection: Connection, key: PairKey) -> int:
    found = connection.execute(select(guardrails.c.id).where(of_pair(key))).scalar_one_or_none()
    if found is None:
        raise unknown_pair(key)
    return int(found)
