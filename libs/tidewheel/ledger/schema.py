"""The ledger's revision: what it is, what this program needs, and the one way from there to here."""

import uuid

from sqlalchemy import Connection, column, insert, inspect, select, table

from tidewheel.contracts.errors import SchemaMismatch
from tidewheel.contracts.states import Purpose
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Identity, Migrated
from tidewheel.ledger.tables import counters, ledger_identity

REVISION = "0006"  #: the newest under migrations/versions: what this program needs
_MIGRATE = "run `tidewheel ledger migrate`"


def migrate_database(db: Database, purpose: Purpose) -> Migrated:
    """Bring the ledger to this program's revision in one transaction; a ledger that is there already stays as it is.

    Raises:
        SchemaMismatch: the ledger serves another purpose, or is of a revision that this program does not know.
        Unavailable: the server cannot be reached.
    """
    from alembic import command  # a second of a role's start, and only this function needs it
    from alembic.config import Config
    from alembic.util import CommandError

    if db.path is not None:
        db.path.parent.mkdir(parents=True, exist_ok=True)
    with db.write() as connection:
        db.lock(connection, "migrate")
        before = _revision(connection)
        if before is not None:
            _check_purpose(db, connection, purpose)
        config = Config()
        config.set_main_option("script_location", "tidewheel.ledger:migrations")
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, REVISION)
        except CommandError as error:
            raise SchemaMismatch(
                f"the ledger at {db} is of revision {before}, which this program does not know: {error}; "
                "install the newer tidewheel that wrote it"
            ) from error
        if before is None:
            _sign(db, connection, purpose)
        return Migrated(before=before, after=REVISION)


def check_database(db: Database, purpose: Purpose) -> Identity:
    """The ledger's identity, where this program can use it.

    Raises:
        SchemaMismatch: it has no tables, another revision or another purpose; the sentence says which and the remedy.
        Unavailable: the server cannot be reached.
    """
    if db.path is not None and not db.path.exists():
        raise SchemaMismatch(
            f"there is no ledger at {db.path}; `tidewheel up` makes one there, or {_MIGRATE}; "
            "if a fleet keeps one elsewhere, set the TIDEWHEEL_HOME that `up` printed"
        )
    with db.read() as connection:
        revision = _revision(connection)
        if revision is None:
            raise SchemaMismatch(f"the database at {db} holds no ledger yet; {_MIGRATE} first")
        if revision != REVISION:
            raise SchemaMismatch(
                f"the ledger at {db} is of revision {revision} and this program needs {REVISION}; {_MIGRATE}"
            )
        return _check_purpose(db, connection, purpose)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar_one_or_none()


def _check_purpose(db: Database, connection: Connection, purpose: Purpose) -> Identity:
    row = connection.execute(select(ledger_identity)).one()
    if row.purpose != purpose:
        raise SchemaMismatch(
            f"the ledger at {db} is for {row.purpose} and this role is for {purpose}; "
            "point LEDGER_DB at the other one, or mend TIDEWHEEL_LEDGER_PURPOSE"
        )
    return Identity(id=row.id, purpose=Purpose(row.purpose), revision=REVISION, created_at=row.created_at)


def _sign(db: Database, connection: Connection, purpose: Purpose) -> None:
    connection.execute(
        insert(ledger_identity).values(one=1, id=str(uuid.uuid4()), purpose=purpose, created_at=db.clock())
    )
    connection.execute(insert(counters).values(name="fence", value=0))
