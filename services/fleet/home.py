"""Which ledger a home has."""

from pathlib import Path

from services.fleet.supervisor import read_state
from tidewheel.contracts.errors import BadSetting, Unavailable
from tidewheel.kit.settings import Settings


def has_cluster(home: Path) -> bool:
    """Whether the home's ledger is an embedded Postgres."""
    return (home / "postgres" / "cluster").exists()


def ledger_address(settings: Settings) -> str:
    """LEDGER_DB if it is set, else the embedded Postgres of the home if it has one, else SQLite.

    Raises:
        Unavailable: the ledger is the embedded Postgres, and the fleet that runs it is stopped.
    """
    home = settings.tidewheel_home
    if "ledger_db" in settings.model_fields_set or not has_cluster(home):
        return settings.ledger_db
    address = read_state(home).get("ledger_db")
    if address is None:
        raise Unavailable(
            f"the ledger of {home} is its embedded Postgres, which runs with the fleet: start `tidewheel up`"
        )
    return str(address)


def wants_postgres(settings: Settings, home: Path, asked: bool) -> bool:
    """Whether `up` runs Postgres: when asked for, or when the home's ledger is one already.

    Raises:
        BadSetting: it would leave a ledger behind that the home already has, or one that LEDGER_DB names.
    """
    if "ledger_db" in settings.model_fields_set:
        if asked:
            raise BadSetting("--pg starts a Postgres of its own, and LEDGER_DB names another ledger: keep one of them")
        return False
    data_dir = settings.data_dir if "data_dir" in settings.model_fields_set else home / "ml"
    manifest = data_dir / "manifest.sqlite"
    if asked and not has_cluster(home) and manifest.exists():
        raise BadSetting(
            f"the ledger of {home} is {manifest}, and --pg would begin an empty one: set another TIDEWHEEL_HOME for it"
        )
    return asked or has_cluster(home)
