"""The ledger as its callers see it: one object, a group of methods per group of tables."""

from pathlib import Path

from tidewheel.contracts.errors import TidewheelError
from tidewheel.contracts.states import Purpose
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.backfills import Backfills
from tidewheel.ledger.bars import Bars
from tidewheel.ledger.claims import Claims
from tidewheel.ledger.control.audit import Audit
from tidewheel.ledger.control.decisions import Decisions
from tidewheel.ledger.control.outcomes import Outcomes
from tidewheel.ledger.control.pairs import Memory
from tidewheel.ledger.control.posteriors import Posteriors
from tidewheel.ledger.control.presets import Presets
from tidewheel.ledger.control.switches import Switches
from tidewheel.ledger.engine import Database
from tidewheel.ledger.failures import Failures
from tidewheel.ledger.fsck import fsck
from tidewheel.ledger.keys import Keys
from tidewheel.ledger.leases import Leases
from tidewheel.ledger.outbox import Outbox
from tidewheel.ledger.records import Finding, Identity, Migrated
from tidewheel.ledger.regimes import Regimes
from tidewheel.ledger.registry.models import Registry
from tidewheel.ledger.registry.predictions import Predictions
from tidewheel.ledger.replicas import Replicas
from tidewheel.ledger.runs import Runs
from tidewheel.ledger.schema import check_database, migrate_database
from tidewheel.ledger.streams import Streams
from tidewheel.ledger.versions import Versions


class Ledger:
    """The one truth. Safe to share between threads; a forked child may go on using it."""

    def __init__(self, db: Database, data_dir: Path, identity: Identity) -> None:
        self._db, self._identity = db, identity
        self._archive = Archive(data_dir)
        self.leases = Leases(db)
        self.streams = Streams(db)
        self.failures = Failures(db)
        self.bars = Bars(db, self._archive)
        self.backfills = Backfills(db)
        self.regimes = Regimes(db)
        self.runs = Runs(db)
        self.claims = Claims(db)
        self.versions = Versions(db)
        self.replicas = Replicas(db)
        self.outbox = Outbox(db)
        self.keys = Keys(db)
        memory = Memory()
        self.presets = Presets(db)
        self.decisions = Decisions(db, memory)
        self.outcomes = Outcomes(db, memory)
        self.posteriors = Posteriors(db)
        self.switches = Switches(db)
        self.audit = Audit(db)
        self.registry = Registry(db)
        self.predictions = Predictions(db)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._db.dialect

    def identity(self) -> Identity:
        """Which ledger this is."""
        return self._identity

    def ping(self) -> None:
        """Return when the database answers; Unavailable when it does not."""
        self.now()

    def now(self) -> UtcMillis:
        """The ledger's clock, UTC ms: leases live by it."""
        with self._db.read() as connection:
            return self._db.now(connection)

    def fsck(self, *, files: bool = True) -> list[Finding]:
        """Compare the ledger with itself; where `files`, also with the disk and its logs, which reads all of them."""
        return fsck(self._db, self._archive if files else None)

    def half_written(self) -> list[Path]:
        """Files of the archive that a seal which died more than an hour ago did not finish; nobody needs them."""
        return self._archive.half_written()

    def close(self) -> None:
        """Close the connections."""
        self._db.close()


def open_ledger(dsn: str, data_dir: Path, purpose: Purpose = Purpose.PRODUCTION) -> Ledger:
    """Open the ledger at `dsn`, whose archive lies under `data_dir`. Never makes or changes tables.

    Raises:
        BadSetting: `dsn` cannot be meant.
        SchemaMismatch: no ledger is there, or one of another revision or purpose.
        Unavailable: the server cannot be reached.
    """
    db = Database(dsn)
    try:
        return Ledger(db, data_dir, check_database(db, purpose))
    except TidewheelError:
        db.close()
        raise


def migrate(dsn: str, data_dir: Path, purpose: Purpose = Purpose.PRODUCTION) -> Migrated:
    """Make the ledger at `dsn`, or bring it to this program's revision; safe to run twice, and two at once.

    Raises:
        BadSetting: `dsn` cannot be meant.
        SchemaMismatch: the ledger is for another purpose, or newer than this program.
        Unavailable: the server cannot be reached.
    """
    db = Database(dsn)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return migrate_database(db, purpose)
    finally:
        db.close()
