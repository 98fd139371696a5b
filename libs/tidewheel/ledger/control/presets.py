"""Presets: the safe menu of a pair. Their content never changes, and none is ever deleted."""

from sqlalchemy import Connection, insert, select, update

from tidewheel.contracts.canonical import digest_of
from tidewheel.contracts.errors import Conflict, NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.keys import preset_id as known_as
from tidewheel.ledger.control.audit import write_down
from tidewheel.ledger.control.pairs import Pair, find_pair, lock_pair, new_pair, of_pair, pair_state, preset, save
from tidewheel.ledger.control.records import PairState, Preset
from tidewheel.ledger.control.tables import guardrails, presets
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Json


class Presets:
    """Which parameter sets may be served."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(self, key: PairKey, preset_id: str, params: Json, actor: str) -> tuple[Preset, bool]:
        """The preset of that name, and whether it is new. The params are the caller's to check against the schema.

        Raises:
            BadInput: the name cannot be one.
            Conflict: `preset_differs`: the name stands for other params; `preset_retired`: for a retired preset.
        """
        known_as(preset_id)
        digest = digest_of(dict(params))
        with self._db.write() as connection:
            pair = new_pair(self._db, connection, key)
            known = _find(connection, pair, preset_id)
            if known is not None:
                _same_and_live(known, digest)
                return known, False
            connection.execute(
                insert(presets).values(
                    pair_id=pair.id,
                    preset_id=preset_id,
                    params=dict(params),
                    digest=digest,
                    created_at=self._db.clock(),
                    created_by=actor,
                )
            )
            self._changed(connection, pair, actor, "preset.register", preset_id, "")
            return _known(connection, pair, preset_id), True

    def retire(self, key: PairKey, preset_id: str, actor: str, reason: str) -> Preset:
        """Serve the preset no more. What was learnt of it stays; a second time changes nothing.

        Raises:
            NotFound: the pair or the preset is unknown.
        """
        with self._db.write() as connection:
            pair = lock_pair(connection, key)
            if _known(connection, pair, preset_id).retired_at is None:
                connection.execute(
                    update(presets)
                    .where(presets.c.pair_id == pair.id, presets.c.preset_id == preset_id)
                    .values(retired_at=self._db.clock(), retired_by=actor, retired_reason=reason)
                )
                self._changed(connection, pair, actor, "preset.retire", preset_id, reason)
            return _known(connection, pair, preset_id)

    def of(self, key: PairKey) -> list[Preset]:
        """The pair's presets in the order of registration, retired ones included.

        Raises:
            NotFound: nothing was ever registered for the pair.
        """
        query = (
            select(presets)
            .join(guardrails, guardrails.c.id == presets.c.pair_id)
            .where(of_pair(key))
            .order_by(presets.c.id)
        )
        with self._db.read() as connection:
            find_pair(connection, key)
            return [preset(key, row) for row in connection.execute(query).all()]

    def pairs(self) -> list[PairState]:
        """Where every pair stands, in the order of first registration."""
        with self._db.read() as connection:
            return [pair_state(row) for row in connection.execute(select(guardrails).order_by(guardrails.c.id)).all()]

    def pair(self, key: PairKey) -> PairState:
        """Where one pair stands.

        Raises:
            NotFound: nothing was ever registered for it.
        """
        with self._db.read() as connection:
            return find_pair(connection, key)

    def _changed(
        self, connection: Connection, pair: Pair, actor: str, action: str, preset_id: str, reason: str
    ) -> None:
        pair.epoch += 1
        save(connection, [pair])
        write_down(self._db, connection, actor, action, str(pair.key), reason, {"preset_id": preset_id})


def _find(connection: Connection, pair: Pair, preset_id: str) -> Preset | None:
    row = connection.execute(
        select(presets).where(presets.c.pair_id == pair.id, presets.c.preset_id == preset_id)
    ).one_or_none()
    return None if row is None else preset(pair.key, row)


def _known(connection: Connection, pair: Pair, preset_id: str) -> Preset:
    found = _find(connection, pair, preset_id)
    if found is None:
        raise NotFound(f"{pair.key} has no preset {preset_id!r}; GET /preset/{pair.key} lists them")
    return found


def _same_and_live(known: Preset, digest: str) -> None:
    if known.digest != digest:
        raise Conflict(
            f"preset {known.preset_id} of {known.key} stands for other params and never changes; "
            "register these under another preset_id",
            code="preset_differs",
        )
    if known.retired_at is not None:
        raise Conflict(
            f"preset {known.preset_id} of {known.key} was retired by {known.retired_by} ({known.retired_reason}); "
            "register it under another preset_id to serve these params again",
            code="preset_retired",
        )
