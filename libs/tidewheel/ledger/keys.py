"""API keys. The ledger keeps a hash: a secret of 256 random bits needs no slow one."""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, insert, select, update

from tidewheel.contracts.errors import BadInput, NotFound
from tidewheel.contracts.states import Scope
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import ApiKey
from tidewheel.ledger.tables import api_keys


class Keys:
    """Who may call which routes."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, scopes: Iterable[Scope], note: str) -> tuple[ApiKey, str]:
        """A new key, and its text `twk_<id>_<secret>`, which cannot be shown again.

        Raises:
            BadInput: no scope is given.
        """
        granted = sorted(frozenset(scopes))
        if not granted:
            raise BadInput(f"a key needs at least one scope: {', '.join(Scope)}")
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._db.write() as connection:
            row = connection.execute(
                insert(api_keys)
                .values(
                    id=key_id,
                    secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
                    scopes=granted,
                    note=note,
                    created_at=self._db.clock(),
                )
                .returning(api_keys)
            ).one()
        return _key(row), f"twk_{key_id}_{secret}"

    def find(self, key_id: str) -> ApiKey | None:
        """The key of this id, revoked or not; None where there is none."""
        with self._db.read() as connection:
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
        return None if row is None else _key(row)

    def all(self) -> list[ApiKey]:
        """All keys, oldest first."""
        with self._db.read() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).all()
        return [_key(row) for row in rows]

    def revoke(self, key_id: str) -> ApiKey:
        """End a key's rights for good; a second time changes nothing.

        Raises:
            NotFound: there is no such key.
        """
        with self._db.write() as connection:
            open_key = (api_keys.c.id == key_id) & api_keys.c.revoked_at.is_(None)
            connection.execute(update(api_keys).where(open_key).values(revoked_at=self._db.clock()))
            row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
            if row is None:
                raise NotFound(f"there is no key {key_id!r}; `tidewheel keys ls` lists them")
            return _key(row)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        secret_sha256=row.secret_sha256,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        note=row.note,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
