"""Which ledger, broker and exchange belong to a home."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.fleet.local.supervisor import read_state
from tidewheel.contracts.errors import BadSetting, Unavailable
from tidewheel.contracts.roles import Role
from tidewheel.kit.settings import Settings

if TYPE_CHECKING:
    from services.ingester.settings import IngesterSettings


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


def broker_address(settings: Settings, state: Mapping[str, Any]) -> str | None:
    """REDIS_URL if it is set, else the Valkey of the fleet that `state` (fleet.json) tells of; None without either."""
    from services.fleet.local.fleet import VALKEY  # with what starts processes, which most commands never do

    port = _port(state, VALKEY)
    if "redis_url" in settings.model_fields_set:
        return settings.redis_url
    return None if port is None else f"redis://127.0.0.1:{port}/0"


def exchange_address(settings: "IngesterSettings", state: Mapping[str, Any]) -> str | None:
    """EXCHANGE_URL if it is set, else the simulated exchange of the fleet that `state` tells of; None: a real one."""
    port = _port(state, Role.EXCHANGE_SIM)
    return settings.exchange_url or (None if port is None else f"http://127.0.0.1:{port}")


def _port(state: Mapping[str, Any], name: str) -> int | None:
    ports: dict[str, int] = {row["name"]: row["port"] for row in state.get("processes", [])}
    return ports.get(name)


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
