"""A fit is a run of the role `trainer`: ordered here, waited for without a thread, and told in words when it failed."""

import asyncio
import time

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from services.predictor.schemas.bounce import PendingRun
from tidewheel.bounce.ordering import FitOrder, order
from tidewheel.contracts.errors import Conflict, NotEnoughData, TidewheelError, Unavailable
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import RunState
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run

WAITING = 8  #: requests that wait at once; more would leave other routes too few of TIDEWHEEL_MAX_IN_FLIGHT
_FIRST_LOOK, _LAST_LOOK = 0.1, 1.0  #: seconds between two looks at a run, longer each time


class RunFailed(TidewheelError):
    """The run that was to fit the model failed."""

    code, status, title = "fit_failed", 500, "The fit failed"


class FitRuns:
    """Orders fits, and waits for them."""

    def __init__(self, ledger: Ledger, wait_seconds: float) -> None:
        self._ledger, self._seconds = ledger, wait_seconds
        self._looking = CapacityLimiter(1)
        self._waiting = 0

    def order(self, fit: FitOrder, volatility_source: str, trigger: str, since: UtcMillis) -> Run:
        """Queue a run, or join the one that fits the same configuration, or has since the cache was looked at.

        Raises:
            Unavailable: no process of the role `trainer` lives, so nobody would take it up.
        """
        if not self._ledger.replicas.hears_of(Role.TRAINER):
            raise Unavailable(
                f"no model of these tickers is cached, and no {Role.TRAINER} lives that could fit one; start the role "
                f"(`tidewheel serve {Role.TRAINER}`, or `tidewheel up`) and ask again",
                code="role_away",
                role=Role.TRAINER.value,
                retry_after=5,
            )
        return order(self._ledger, fit, volatility_source, trigger, since=since)[0]

    async def wait(self, run: Run) -> Run:
        """The run once it has ended, or as it stands after SCAN_WAIT_SECONDS; at once where too many wait."""
        if self._waiting >= WAITING:
            return run
        deadline, pause = time.monotonic() + self._seconds, _FIRST_LOOK
        self._waiting += 1
        try:
            while not run.state.final and (left := deadline - time.monotonic()) > 0:
                await asyncio.sleep(min(pause, left))
                pause = min(1.5 * pause, _LAST_LOOK)
                run = await run_sync(self._ledger.runs.get, run.id, limiter=self._looking)
        finally:
            self._waiting -= 1
        return run


def pending(run: Run) -> PendingRun:
    """What is told of a run that has not ended."""
    return PendingRun(run_id=run.id, state=run.state, follow=f"/runs/{run.id}")


def fitted(run: Run) -> str:
    """The version that an ended run made.

    Raises:
        NotEnoughData: it was skipped; says why, and what is missing.
        Conflict: somebody cancelled it.
        RunFailed: it failed.
    """
    reason = run.reason or run.state.value
    if run.state is RunState.SKIPPED:
        code, _, detail = reason.partition(": ")
        raise NotEnoughData(detail or reason, code=code if detail else None, run_id=run.id)
    if run.state is RunState.CANCELLED:
        raise Conflict(f"run {run.id}, which was to fit the model, was {reason}", code="run_cancelled", run_id=run.id)
    if run.version is None:
        raise RunFailed(
            f"run {run.id}, which was to fit the model, failed: {reason}; mend it and ask again", run_id=run.id
        )
    return run.version
