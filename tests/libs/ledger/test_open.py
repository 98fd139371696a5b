"""Opening and migrating, and what a user reads when it cannot be done."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, InternalError

from tests.libs.ledger.rows import seal
from tests.servers import PostgresServer
from tidewheel.contracts.errors import BadSetting, SchemaMismatch, Unavailable
from tidewheel.contracts.states import ClaimState, Purpose
from tidewheel.ledger.engine import Database, parse_dsn
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.ledger.schema import REVISION
from tidewheel.ledger.tables import metadata


class TestSchema:
    def test_migration_makes_the_tables_of_the_code(self, ledger: Ledger) -> None:
        """The migrations lead exactly to tables.py: column by column, index by index."""
        with ledger._db.read() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []

    def test_first_revisions_cannot_overlap(self, ledger: Ledger, dialect: str) -> None:
        """Postgres itself refuses overlapping first revisions of a stream, and only those."""
        seal(ledger, range(2))
        seal(ledger, range(2), stream="binance:ETH/USDT:1m")
        seal(ledger, range(2), revision=1)
        if dialect == "postgresql":
            with pytest.raises(IntegrityError, match="files_first_revisions_never_overlap"):
                seal(ledger, range(1, 2))
        assert ledger.claims.states("hmm")[ClaimState.DOWNLOADED] == 6

    def test_migrate_again_changes_nothing(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """A ledger that is there already keeps its identity."""
        done = migrate(ledger_dsn, data_dir)
        assert done.before == done.after == ledger.identity().revision
        again = open_ledger(ledger_dsn, data_dir)
        assert again.identity() == ledger.identity()
        again.close()

    def test_other_revision(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """A ledger of another revision is named and refused, also by migrate where it is newer."""
        with ledger._db.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(SchemaMismatch, match=f"is of revision 9999 and this program needs {REVISION}"):
            open_ledger(ledger_dsn, data_dir)
        with pytest.raises(SchemaMismatch, match="install the newer tidewheel"):
            migrate(ledger_dsn, data_dir)

    def test_other_purpose(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """A research role cannot open, nor migrate, a production ledger."""
        for ask in (open_ledger, migrate):
            with pytest.raises(SchemaMismatch, match="is for production and this role is for research"):
                ask(ledger_dsn, data_dir, Purpose.RESEARCH)

    def test_rolls_back_by_default(self, ledger: Ledger) -> None:
        """A transaction that ends with an error leaves nothing; a reading one can write nothing."""
        with pytest.raises(ZeroDivisionError), ledger._db.write() as connection:
            connection.execute(text("UPDATE ledger_identity SET id = 'x'"))
            _ = 1 / 0
        with pytest.raises((Unavailable, InternalError), match=r"(?i)read-?only"), ledger._db.read() as connection:
            connection.execute(text("UPDATE ledger_identity SET id = 'x'"))
        with ledger._db.read() as connection:
            assert connection.execute(text("SELECT id FROM ledger_identity")).scalar_one() == ledger.identity().id

    def test_clock_is_utc_milliseconds(self, ledger: Ledger) -> None:
        """The ledger's clock is the wall clock's in UTC ms, and a transaction does not stop it."""
        import time

        assert abs(ledger.now() - time.time() * 1000) < 60_000
        with ledger._db.read() as connection:
            first = ledger._db.now(connection)
            time.sleep(0.01)
            assert ledger._db.now(connection) > first


class TestSqlite:
    def test_no_file(self, tmp_path: Path) -> None:
        """Opening a ledger that is not there says so, and does not leave an empty file behind."""
        with pytest.raises(
            SchemaMismatch, match=r"there is no ledger at .*`tidewheel up` .*tidewheel ledger migrate.*TIDEWHEEL_HOME"
        ):
            open_ledger(str(tmp_path / "x.sqlite"), tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_file_without_tables(self, tmp_path: Path) -> None:
        """An empty database is no ledger until it is migrated."""
        sqlite3.connect(tmp_path / "x.sqlite").close()
        (tmp_path / "x.sqlite").touch()
        with pytest.raises(SchemaMismatch, match="holds no ledger yet"):
            open_ledger(f"sqlite:///{tmp_path / 'x.sqlite'}", tmp_path)

    def test_not_a_database(self, tmp_path: Path) -> None:
        """Some other file is refused with a sentence and stays as it is."""
        other = tmp_path / "notes.txt"
        other.write_text("this is not a database, but a text that is long enough to have a header" * 9)
        before = other.read_bytes()
        with pytest.raises(Unavailable, match="not a database"):
            open_ledger(str(other), tmp_path)
        assert other.read_bytes() == before

    def test_two_migrations_at_once(self, tmp_path: Path) -> None:
        """Of several migrations that start together one makes the ledger; all succeed."""
        done, errors = [], []

        def run() -> None:
            try:
                done.append(migrate(str(tmp_path / "x.sqlite"), tmp_path))
            except Exception as error:  # noqa: BLE001 - handed to the test's own thread
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert sorted(each.before is None for each in done) == [False, False, True]


class TestAddress:
    @pytest.mark.parametrize(
        ("dsn", "sentence"),
        [
            ("", "address is empty"),
            ("mysql://u:geheim@h/db", "of kind 'mysql'"),
            ("postgresql://u:geheim@h:port/db", "cannot be read"),
            ("postgresql://u:geheim@h:5432", "names no database"),
            ("sqlite://", "names no file"),
            ("sqlite:///:memory:", "names no file"),
        ],
    )
    def test_that_cannot_be_meant(self, dsn: str, sentence: str) -> None:
        """A wrong address is refused with the remedy, and its password is not repeated."""
        with pytest.raises(BadSetting, match=sentence) as caught:
            Database(dsn)
        assert "postgresql://user:password@host" in caught.value.detail
        assert "geheim" not in caught.value.detail

    def test_forms(self, tmp_path: Path) -> None:
        """A bare path, a sqlite URL and all spellings of Postgres are understood."""
        assert parse_dsn(str(tmp_path / "a.sqlite")) == parse_dsn(f"sqlite:///{tmp_path}/a.sqlite")
        forms = ("postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d")
        assert {parse_dsn(form).render_as_string() for form in forms} == {"postgresql+psycopg://u@h/d"}

    def test_nobody_there(self, tmp_path: Path) -> None:
        """A server that does not answer is named, without the password."""
        with pytest.raises(Unavailable, match=r"the ledger at postgresql\+psycopg://u:\*\*\*@127.0.0.1:1/d") as caught:
            open_ledger("postgresql://u:geheim@127.0.0.1:1/d", tmp_path)
        assert "geheim" not in caught.value.detail

    def test_unknown_database(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        """A database that the server does not have is named."""
        with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
            open_ledger(postgres_server.dsn("nowhere"), tmp_path)

    def test_empty_database(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        """A database without our tables is no ledger until it is migrated."""
        with pytest.raises(SchemaMismatch, match="holds no ledger yet; run `tidewheel ledger migrate`"):
            open_ledger(postgres_server.dsn("template1"), tmp_path)
