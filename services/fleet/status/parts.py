"""`tidewheel status`: how the fleet stands. Each part is asked on its own, so one that is away hides no other."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.fleet.keeper.settings import KeeperSettings
from services.fleet.local.fleet import answers
from services.fleet.local.home import broker_address, ledger_address
from services.fleet.local.memory import proportional_bytes
from services.fleet.local.processes import same_process
from services.fleet.local.supervisor import read_state
from services.fleet.output import moment
from tidewheel.contracts.errors import SchemaMismatch, Unavailable
from tidewheel.contracts.messages import Queue
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import ClaimState, Origin, PromotionAction, RunState
from tidewheel.contracts.times import DAY, MINUTE, UtcMillis, iso
from tidewheel.kit.bus import Bus
from tidewheel.kit.room import DiskRoom
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.ledger.records import Failure, Run, Stream
from tidewheel.modelstore.store import ModelStore

RUNS = 5
QUEUE_MOST = 100  #: hints that wait while the fleet keeps up; more mean that no worker takes them
_MIB = 2**20
_BEAT_MS = 15_000  #: a predictor that is silent for longer is late
_FORGOTTEN_MS = 10 * MINUTE  #: ... and for longer than this gone on purpose
_LAG_BARS, _LAG_MS = 5, 15 * MINUTE  #: a stream may be so far behind the clock, whichever is more


def status(settings: KeeperSettings) -> dict[str, Any]:
    """All there is to know at the start of a day; JSON values only, `warnings` first.

    A part that cannot be told is absent, and a warning says why.
    """
    warnings: list[str] = []
    state = read_state(settings.tidewheel_home)
    told: dict[str, Any] = {
        "warnings": warnings,
        "home": str(settings.tidewheel_home),
        "address": state.get("address"),
        "flower": state.get("flower"),
        "processes": [_process(row) for row in state.get("processes", [])],
        "disk": [_disk(folder) for folder in dict.fromkeys((settings.data_dir, settings.models_dir))],
    }
    told |= _asked(warnings, lambda: _ledger(settings, warnings), "ledger_error")
    gone = [row["process"] for row in told["processes"] if row["state"] == "gone"]
    killed = bool(gone) and len(gone) == len(told["processes"])
    broker = broker_address(settings, {} if killed else state)
    if broker is not None:
        told |= _asked(warnings, lambda: {"queues": _queues(broker)}, "broker_error")
    if killed:
        warnings.insert(0, "the fleet of this home was killed: `tidewheel up` goes on where it stood")
    elif gone:
        warnings.insert(0, f"{', '.join(gone)} not running: read {settings.tidewheel_home / 'logs'}")
    if told["address"] and not killed and not answers(f"{told['address']}/health"):
        warnings.insert(0, f"the edge at {told['address']} does not answer: read logs/edge.log in the home")
    for name, count in told.get("queues", {}).items():
        if count > QUEUE_MOST:
            warnings.append(f"{count} hints wait in the queue {name}: is a worker running?")
    try:
        DiskRoom(settings.disk_floor_mb, settings.data_dir, settings.models_dir).ping()
    except Unavailable as low:
        warnings.append(low.detail)
    return told


def _asked(warnings: list[str], ask: Callable[[], dict[str, Any]], name: str) -> dict[str, Any]:
    try:
        return ask()
    except (Unavailable, SchemaMismatch) as error:
        warnings.insert(0, error.detail)
        return {name: error.detail}


def _process(row: Mapping[str, Any]) -> dict[str, Any]:
    alive = same_process(row["pid"], row["created"])
    return {
        "process": row["name"],
        "pid": row["pid"],
        "port": row["port"],
        "state": "running" if alive else "gone",
        "pss_mib": round(proportional_bytes(row["pid"]) / _MIB) if alive else None,
    }


def _disk(folder: Path) -> dict[str, Any]:
    here = next(each for each in (folder, *folder.parents) if each.exists())
    usage = shutil.disk_usage(here)
    return {"folder": str(folder), "free_bytes": usage.free, "total_bytes": usage.total}


def _queues(broker: str) -> dict[str, int]:
    bus = Bus(broker)
    try:
        return bus.waiting([queue.value for queue in Queue])
    finally:
        bus.close()


def _ledger(settings: KeeperSettings, warnings: list[str]) -> dict[str, Any]:
    ledger = open_ledger(ledger_address(settings), settings.data_dir, settings.ledger_purpose)
    try:
        now = ledger.now()
        return {
            "now": moment(now),
            **_keeper(ledger, warnings),
            **_switches(ledger, warnings),
            **_streams(ledger, now, warnings),
            **_training(ledger, settings.train_consumer, now, warnings),
            **_links(ledger, settings, warnings),
        }
    finally:
        ledger.close()


def _keeper(ledger: Ledger, warnings: list[str]) -> dict[str, Any]:
    lease = ledger.leases.get("keeper")
    if lease is None:
        warnings.append("no keeper leads, so nothing is scheduled or sent again: start `tidewheel up`, or that role")
    return {"keeper": lease.owner if lease else None}


def _switches(ledger: Ledger, warnings: list[str]) -> dict[str, Any]:
    """What is frozen until a person clears it."""
    standing = ledger.switches.tripped()
    for each in standing:
        at = iso(each.tripped_at)[:16]
        warnings.append(f"the kill switch of {each.scope} was tripped by {each.tripped_by} at {at}: {each.reason}")
    return {"kill_switches": [{"scope": each.scope, "cause": each.cause} for each in standing]}


def _streams(ledger: Ledger, now: UtcMillis, warnings: list[str]) -> dict[str, Any]:
    failures = {each.stream: each for each in ledger.failures.all()}
    streams = ledger.streams.all()
    rows = []
    for stream in streams:
        failure = failures.pop(str(stream.key), None)
        row = _stream(stream, now, failure)
        rows.append(row)
        if failure is not None and failure.over_at is None:
            warnings.append(_failing(failure))
        elif row["lag_ms"] is not None and row["lag_ms"] > max(_LAG_BARS * stream.key.step, _LAG_MS):
            warnings.append(f"{stream.key}: no bar since {row['last_bar']}; does the worker run, is INGEST_CRON on?")
    recent = [each for each in failures.values() if each.over_at is None and each.failed_at > now - DAY]
    warnings += [_failing(each) for each in recent]
    return {"streams": rows}


def _failing(failure: Failure) -> str:
    since = iso(failure.since)[:16].replace("T", " ")
    since = since[11:] if failure.failed_at - failure.since < DAY else since
    return f"{failure.stream} failed {failure.times}x since {since}: {failure.detail}"


def _stream(stream: Stream, now: UtcMillis, failure: Failure | None) -> dict[str, Any]:
    last = None if stream.next_open is None else stream.next_open - stream.key.step
    # Bars of a simulator or of a file live by another clock than ours.
    live = stream.origin is Origin.EXCHANGE and stream.next_open is not None
    return {
        "stream": str(stream.key),
        "origin": stream.origin.value,
        "last_bar": moment(last),
        "lag_ms": max(0, now - (stream.next_open or 0)) if live else None,
        "watermark": moment(stream.watermark),
        "bars": stream.sealed_bars + stream.tail_bars,
        "files": stream.files,
        "open_gaps": stream.gaps_open,
        "confirmed_gaps": stream.gaps_confirmed,
        "last_failure": None
        if failure is None
        else {"code": failure.code, "at": moment(failure.failed_at), "over": failure.over_at is not None},
    }


def _training(ledger: Ledger, family: str, now: UtcMillis, warnings: list[str]) -> dict[str, Any]:
    claims = {state.value: count for state, count in ledger.claims.states(family).items()}
    runs = ledger.runs.list(limit=RUNS)
    champion = ledger.versions.champion(family)
    newest = ledger.versions.last_promotion(family)
    challengers = [each for each in ledger.versions.all(family) if champion and each.created_at > champion.created_at]
    challenger = max(challengers, key=lambda each: each.created_at, default=None)
    replicas = [
        {
            "replica": each.id,
            "loaded": each.loaded,
            "current": champion is not None and each.loaded == champion.version,
            "silent_s": max(0, now - each.seen_at) // 1000,
            "late": each.seen_at < now - _BEAT_MS,
            "error": each.error,
        }
        for each in ledger.replicas.live(family, _FORGOTTEN_MS)
    ]
    if claims[ClaimState.POISON]:
        warnings.append(
            f"{claims[ClaimState.POISON]} files are poison: runs failed on them again and again; mend the cause, then "
            "`tidewheel ledger requeue`"
        )
    waiting = sum(run.state is RunState.QUEUED for run in ledger.runs.stale())
    if waiting and not ledger.replicas.hears_of(Role.TRAINER):
        warnings.append(f"{waiting} runs wait, and no trainer lives: `tidewheel serve trainer`, or `tidewheel up`")
    if runs and runs[0].state is RunState.FAILED:
        warnings.append(f"the last run ({runs[0].id}) failed: {runs[0].reason}")
    for replica in replicas:
        if replica["late"]:
            warnings.append(
                f"{replica['replica']} has not been heard of for {replica['silent_s']} s: it was killed, or it hangs; "
                f"forgotten after {_FORGOTTEN_MS // MINUTE} min"
            )
        elif replica["error"]:
            warnings.append(f"{replica['replica']}: {replica['error']}")
        elif champion is not None and not replica["current"]:
            warnings.append(f"{replica['replica']} serves {replica['loaded']}, and the champion is {champion.version}")
    return {
        "claims": claims,
        "runs": [_run(run) for run in runs],
        "champion": champion.version if champion else None,
        "promoted_at": moment(newest.created_at) if newest else None,
        "data_as_of": moment(champion.data_as_of) if champion else None,
        "challenger": None if challenger is None else {"version": challenger.version, "run": challenger.run_id},
        "replicas": replicas,
    }


def _links(ledger: Ledger, settings: KeeperSettings, warnings: list[str]) -> dict[str, Any]:
    """Whether a person's hand is on `current`: adopted already, or in the way of the next promotion."""
    family = settings.train_consumer
    newest, fault = ledger.versions.last_promotion(family), ModelStore(settings.models_dir).links.fault(family)
    by_hand = newest is not None and newest.action is PromotionAction.ADOPT
    if newest is not None and by_hand:
        warnings.append(
            f"`current` of {family} was repointed by hand to {newest.version} at {iso(newest.created_at)[:16]}, and is "
            "served until the next promotion: `tidewheel promote` it to say that it is meant, or promote another"
        )
    if fault is not None:
        warnings.append(fault)
    return {"set_by_hand": by_hand}


def _run(run: Run) -> dict[str, Any]:
    verdict, reason = run.verdict, run.reason
    if verdict is not None and verdict.steps:
        deciding = verdict.refusal or verdict.steps[-1]
        # A passed run's reason is what it did without; a refused one's begins with the verdict's own.
        remark = run.reason if verdict.refusal is None else None
        reason = "; ".join(filter(None, [remark, f"{deciding.step}: {deciding.reason}"]))
    return {
        "run": run.id,
        "family": run.family,
        "state": run.state.value,
        "new_bars": run.new_bars,
        "created_at": moment(run.created_at),
        "version": run.version,
        "reason": reason,
    }
