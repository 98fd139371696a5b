"""Which ledger a home has, as files on disk tell."""

from pathlib import Path

import pytest

from services.fleet.local.home import ledger_address, wants_postgres
from tidewheel.contracts.errors import BadSetting, Unavailable
from tidewheel.kit.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for name in ("LEDGER_DB", "DB_URL", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return load(Settings, tidewheel_home=tmp_path / "home")


def test_a_home_with_postgres_keeps_it(settings: Settings) -> None:
    """Once a home's ledger is Postgres, `up` runs it unasked, and a command while it is stopped says so."""
    home = settings.tidewheel_home
    assert not wants_postgres(settings, home, asked=False)
    assert wants_postgres(settings, home, asked=True)
    assert ledger_address(settings).startswith("sqlite:")

    (home / "postgres" / "cluster").mkdir(parents=True)
    assert wants_postgres(settings, home, asked=False)
    with pytest.raises(Unavailable, match="start `tidewheel up`"):
        ledger_address(settings)
    (home / "run").mkdir()
    (home / "run" / "fleet.json").write_text('{"ledger_db": "postgresql://here/tidewheel"}')
    assert ledger_address(settings) == "postgresql://here/tidewheel"


def test_postgres_never_begins_beside_a_filled_ledger(settings: Settings) -> None:
    """--pg in a home that has a SQLite ledger is refused with the file's name."""
    manifest = settings.tidewheel_home / "ml" / "manifest.sqlite"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    with pytest.raises(BadSetting, match=str(manifest)):
        wants_postgres(settings, settings.tidewheel_home, asked=True)


def test_a_named_ledger_and_pg_exclude_each_other(settings: Settings, tmp_path: Path) -> None:
    """LEDGER_DB wins without --pg; with it the start is refused."""
    named = load(Settings, tidewheel_home=tmp_path, ledger_db="postgresql://there/db")
    (tmp_path / "postgres" / "cluster").mkdir(parents=True)
    assert ledger_address(named) == "postgresql://there/db"
    assert not wants_postgres(named, tmp_path, asked=False)
    with pytest.raises(BadSetting, match="LEDGER_DB"):
        wants_postgres(named, tmp_path, asked=True)
