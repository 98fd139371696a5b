"""Reading runs: shared by the group that starts them and the lease that works on one."""

from typing import Any

from sqlalchemy import Connection, Row, func, select

from tidewheel.contracts.errors import NotFound
from tidewheel.contracts.states import RunState
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger.records import Run
from tidewheel.ledger.registry.tables import model_verdicts
from tidewheel.ledger.tables import runs, verdicts


def lease_name(run_id: int | str) -> str:
    """Name of the lease under which a run is worked on."""
    return f"run:{run_id}"


def read_run(connection: Connection, run_id: int) -> Run:
    """One run inside the caller's transaction; NotFound where there is none."""
    row = connection.execute(select_runs().where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no run {run_id}; `tidewheel runs` lists them")
    return to_run(row)


def select_runs() -> Any:
    """All columns of a run and its verdict's steps, on a version or on a registered model; narrow it with where()."""
    return (
        select(runs, func.coalesce(verdicts.c.steps, model_verdicts.c.steps).label("steps"))
        .outerjoin(verdicts, verdicts.c.run_id == runs.c.id)
        .outerjoin(model_verdicts, model_verdicts.c.run_id == runs.c.id)
    )


def to_run(row: Row[Any]) -> Run:
    """The record of a row of `select_runs()`."""
    return Run(
        id=row.id,
        consumer=row.consumer,
        family=row.family,
        trigger=row.trigger,
        schedule_key=row.schedule_key,
        state=RunState(row.state),
        reason=row.reason,
        params=row.params,
        progress=row.progress,
        attempts=row.attempts,
        claimed_files=row.claimed_files,
        new_bars=row.new_bars,
        window_bars=row.window_bars,
        version=row.version,
        verdict=None if row.steps is None else Verdict.model_validate({"steps": row.steps}),
        cancel_requested=row.cancel_requested,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
