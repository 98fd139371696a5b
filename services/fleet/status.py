"""`tidewheel status`: how the fleet stands, on one screen."""

from typing import Any

from services.fleet.home import ledger_address
from services.fleet.memory import proportional_bytes
from services.fleet.output import moment, table
from services.fleet.processes import same_process
from services.fleet.supervisor import read_state
from tidewheel.contracts.errors import SchemaMismatch, Unavailable
from tidewheel.contracts.keys import FAMILY
from tidewheel.kit.settings import Settings
from tidewheel.ledger.open import Ledger, open_ledger

_MIB = 2**20
_RUNS = 5


def status(settings: Settings) -> dict[str, Any]:
    """Processes, streams, claims, runs, champion and replicas; JSON values only.

    A part of the ledger that cannot be told is absent, and `ledger_error` says why.
    """
    state = read_state(settings.tidewheel_home)
    told: dict[str, Any] = {
        "home": str(settings.tidewheel_home),
        "address": state.get("address"),
        "flower": state.get("flower"),
        "processes": [_process(row) for row in state.get("processes", [])],
    }
    try:
        ledger = open_ledger(ledger_address(settings), settings.data_dir, settings.ledger_purpose)
    except (Unavailable, SchemaMismatch) as error:
        return {**told, "ledger_error": error.detail}
    try:
        return {**told, **_ledger(ledger)}
    finally:
        ledger.close()


def _process(row: dict[str, Any]) -> dict[str, Any]:
    alive = same_process(row["pid"], row["created"])
    return {
        "process": row["name"],
        "pid": row["pid"],
        "port": row["port"],
        "state": "running" if alive else "gone",
        "pss_mib": round(proportional_bytes(row["pid"]) / _MIB) if alive else None,
    }


def _ledger(ledger: Ledger) -> dict[str, Any]:
    champion = ledger.versions.champion(FAMILY)
    return {
        "streams": [
            {
                "stream": str(stream.key),
                "origin": stream.origin.value,
                "watermark": moment(stream.watermark),
                "bars": stream.sealed_bars + stream.tail_bars,
                "files": stream.files,
                "open_gaps": stream.gaps_open,
            }
            for stream in ledger.streams.all()
        ],
        "claims": {state.value: count for state, count in ledger.claims.states(FAMILY).items()},
        "runs": [
            {
                "run": run.id,
                "state": run.state.value,
                "new_bars": run.new_bars,
                "created_at": moment(run.created_at),
                "version": run.version,
                "reason": run.verdict.refusal.reason if run.verdict and run.verdict.refusal else run.reason,
            }
            for run in ledger.runs.list(limit=_RUNS)
        ],
        "champion": champion.version if champion else None,
        "replicas": [
            {
                "replica": replica.id,
                "loaded": replica.loaded,
                "current": champion is not None and replica.loaded == champion.version,
                "error": replica.error,
            }
            for replica in ledger.replicas.live(FAMILY)
        ],
    }


def screen(told: dict[str, Any]) -> str:
    """`status` for people."""
    if told["processes"]:
        lines = [
            f"Fleet in {told['home']}: {told['address']} (Flower {told['flower']})",
            table(told["processes"], "  "),
        ]
    else:
        lines = [f"No fleet of `tidewheel up` runs in {told['home']}."]
    if "ledger_error" in told:
        return "\n".join([*lines, f"Ledger: {told['ledger_error']}"])
    claims = ", ".join(f"{count} {state}" for state, count in told["claims"].items() if count) or "none"
    parts = [
        ("Streams", told["streams"], "none yet: POST /ingest_once makes the first, or says what hinders it"),
        ("Runs", told["runs"], "none yet: POST /train makes the first"),
        ("Predictors", told["replicas"], "none alive"),
    ]
    for title, rows, empty in parts:
        lines += [f"{title}: {empty}"] if not rows else [title, table(rows, "  ")]
    lines += [f"Claims: {claims}", f"Champion: {told['champion'] or 'none yet'}"]
    return "\n".join(lines)
