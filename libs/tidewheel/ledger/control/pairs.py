"""A pair inside a transaction: its row, locked, and what is read often and changed seldom, remembered by its epoch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from tidewheel.contracts.errors import NotFound, PosteriorUnusable
from tidewheel.contracts.keys import PairKey
from tidewheel.ledger.control.records import Learned, PairState, Preset
from tidewheel.ledger.control.tables import guardrails, posteriors, presets
from tidewheel.ledger.engine import Database

if TYPE_CHECKING:
    from tidewheel.bandits.posterior import Posterior


@dataclass(slots=True)
class Pair:
    """A locked row of `guardrails`; `save` writes what a transaction changed of it."""

    id: int
    key: PairKey
    incumbent: str | None
    day: int
    changes: int
    decisions: int
    learnt: int
    realised: float
    peak: float
    epoch: int


@dataclass(frozen=True, slots=True)
class Known:
    """A pair's presets and posteriors as of one epoch."""

    epoch: int
    presets: Mapping[str, Preset]  #: preset id -> preset, retired ones included, in the order of registration
    learned: Learned


class Memory:
    """What this process knows of each pair. Safe for threads: a pair's epoch tells what is out of date.

    Only committed things come in: what is read under the lock of a row that this transaction has not changed yet,
    or what a transaction wrote, once it is committed.
    """

    def __init__(self) -> None:
        self._known: dict[int, Known] = {}

    def recall(self, connection: Connection, pair: Pair) -> Known:
        """The presets and posteriors of a pair that is locked and not changed yet."""
        known = self._known.get(pair.id)
        if known is None or known.epoch != pair.epoch:
            known = Known(pair.epoch, _presets(connection, pair), learned(connection, pair.id))
            self._known[pair.id] = known
        return known

    def keep(self, pair: Pair, known: Known) -> None:
        """Remember what a transaction made of a pair; after its commit."""
        self._known[pair.id] = known


def lock_pairs(connection: Connection, keys: Iterable[PairKey]) -> dict[PairKey, Pair]:
    """Lock the pairs' rows until the transaction ends, always in the same order; unknown ones are left out."""
    wanted = tuple_(guardrails.c.strategy, guardrails.c.instrument).in_(
        {(key.strategy, key.instrument) for key in keys}
    )
    return {pair.key: pair for pair in _locked(connection, wanted)}


def lock_pair(connection: Connection, key: PairKey) -> Pair:
    """Lock one pair's row until the transaction ends.

    Raises:
        NotFound: nothing was ever registered for it.
    """
    found = lock_pairs(connection, [key])
    if not found:
        raise unknown_pair(key)
    return found[key]


def lock_every_pair(connection: Connection) -> list[Pair]:
    """Lock all pairs' rows until the transaction ends."""
    return _locked(connection, None)


def _locked(connection: Connection, wanted: ColumnElement[bool] | None) -> list[Pair]:
    query = select(guardrails).order_by(guardrails.c.id).with_for_update()
    rows = connection.execute(query if wanted is None else query.where(wanted)).all()
    return [Pair(row.id, _key(row), *row[3:]) for row in rows]


def of_pair(key: PairKey) -> ColumnElement[bool]:
    """The condition that a row of `guardrails` is the pair's."""
    return and_(guardrails.c.strategy == key.strategy, guardrails.c.instrument == key.instrument)


def find_pair(connection: Connection, key: PairKey) -> PairState:
    """Where a pair stands, without waiting for anybody.

    Raises:
        NotFound: nothing was ever registered for it.
    """
    row = connection.execute(select(guardrails).where(of_pair(key))).one_or_none()
    if row is None:
        raise unknown_pair(key)
    return pair_state(row)


def new_pair(db: Database, connection: Connection, key: PairKey) -> Pair:
    """The pair's row, locked; made where there is none."""
    known = lock_pairs(connection, [key])
    if known:
        return known[key]
    upsert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    new = upsert(guardrails).values(strategy=key.strategy, instrument=key.instrument)
    connection.execute(new.on_conflict_do_nothing())
    return lock_pair(connection, key)


def save(connection: Connection, pairs: Iterable[Pair]) -> None:
    """Write the locked rows back."""
    written = [
        {
            "pair": pair.id,
            "incumbent": pair.incumbent,
            "day": pair.day,
            "changes": pair.changes,
            "decisions": pair.decisions,
            "learnt": pair.learnt,
            "realised": pair.realised,
            "peak": pair.peak,
            "epoch": pair.epoch,
        }
        for pair in pairs
    ]
    if written:
        connection.execute(update(guardrails).where(guardrails.c.id == bindparam("pair")), written)


def pair_state(row: Row[Any]) -> PairState:
    """The record of a row of `guardrails`."""
    return PairState(
        key=_key(row),
        incumbent=row.incumbent,
        day=row.day,
        changes=row.changes,
        decisions=row.decisions,
        learnt=row.learnt,
        realised=row.realised,
        peak=row.peak,
    )


def preset(key: PairKey, row: Row[Any]) -> Preset:
    """The record of a row of `presets`."""
    return Preset(
        key=key,
        preset_id=row.preset_id,
        params=row.params,
        digest=row.digest,
        created_at=row.created_at,
        created_by=row.created_by,
        retired_at=row.retired_at,
        retired_by=row.retired_by,
        retired_reason=row.retired_reason,
    )


def unknown_pair(key: PairKey) -> NotFound:
    """What is answered where nothing was ever registered for a pair."""
    return NotFound(
        f"no preset was ever registered for {key}; POST /preset/register/{key} does it", code="unknown_pair"
    )


def write_posteriors(
    db: Database, connection: Connection, pair: Pair, taught: Mapping[tuple[str, str], tuple["Posterior", int]]
) -> None:
    """Store the posteriors of a locked pair: (digest, signature) -> what was learnt, and the newest outcome in it."""
    if not taught:
        return
    upsert = postgresql.insert if db.dialect == "postgresql" else sqlite.insert
    new = upsert(posteriors)
    columns = [posteriors.c.pair_id, posteriors.c.digest, posteriors.c.signature]
    changed = {name: new.excluded[name] for name in ("state", "count", "seq")}
    connection.execute(
        new.on_conflict_do_update(index_elements=columns, set_=changed),
        [
            {
                "pair_id": pair.id,
                "digest": digest,
                "signature": signature,
                "state": posterior.to_bytes(),
                "count": posterior.count,
                "seq": seq,
            }
            for (digest, signature), (posterior, seq) in taught.items()
        ],
    )


def learned(connection: Connection, pair_id: int) -> Learned:
    """What is stored of a pair's learning."""
    rows = connection.execute(select(posteriors).where(posteriors.c.pair_id == pair_id)).all()
    return {(row.digest, row.signature): read_posterior(row.state) for row in rows}


def read_posterior(state: bytes) -> "Posterior | PosteriorUnusable":
    """A stored posterior, or why it cannot be read."""
    from tidewheel.bandits.posterior import Posterior

    try:
        return Posterior.from_bytes(state)
    except PosteriorUnusable as unusable:
        return unusable


def _key(row: Row[Any]) -> PairKey:
    return PairKey(row.strategy, row.instrument)


def _presets(connection: Connection, pair: Pair) -> dict[str, Preset]:
    rows = connection.execute(select(presets).where(presets.c.pair_id == pair.id).order_by(presets.c.id)).all()
    return {row.preset_id: preset(pair.key, row) for row in rows}
