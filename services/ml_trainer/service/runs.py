"""What the API may ask of runs: start one, follow it, end it."""

import asyncio
import time

from services.ml_trainer.schemas import RunMetadata, RunView
from tidewheel.contracts.states import RunState
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run

_LOOK_SECONDS = 0.15


class Runs:
    """Training runs of one consumer, through the ledger; the work itself is done by the role `trainer`."""

    def __init__(self, ledger: Ledger, consumer: str) -> None:
        self._ledger, self._consumer = ledger, consumer

    def start_or_join(self, trigger: str) -> RunView:
        """Queue a run, or join the consumer's active one."""
        run, joined = self._ledger.runs.start_or_join(self._consumer, self._consumer, trigger)
        return view(run, joined=joined)

    async def wait(self, run: RunView, seconds: float) -> RunView:
        """The run once it has ended, or as it stands after `seconds`."""
        deadline = time.monotonic() + seconds
        while not run.state.final and time.monotonic() < deadline:
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
            run = (await asyncio.to_thread(self.get, run.run_id)).model_copy(update={"joined": run.joined})
        return run

    def get(self, run_id: int) -> RunView:
        """NotFound when there is no such run."""
        return view(self._ledger.runs.get(run_id))

    def newest(self, limit: int) -> list[RunView]:
        """Runs of all consumers, newest first."""
        return [view(run) for run in self._ledger.runs.list(limit)]

    def cancel(self, run_id: int, actor: str) -> RunView:
        """End a run: at once when it is queued, else its worker kills the fit within seconds."""
        return view(self._ledger.runs.cancel(run_id, actor))


def view(run: Run, *, joined: bool = False) -> RunView:
    """The run as the API tells it."""
    return RunView(
        run_id=run.id,
        state=run.state,
        status=run.state if run.state.final else RunState.RUNNING,
        consumer=run.consumer,
        family=run.family,
        trigger=run.trigger,
        joined=joined,
        version=run.version,
        verdict=run.verdict,
        metadata=RunMetadata(
            claimed_files=run.claimed_files, new_bars=run.new_bars, window_bars=run.window_bars, reason=run.reason
        ),
        progress=dict(run.progress),
        attempts=run.attempts,
        cancel_requested=run.cancel_requested,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )
