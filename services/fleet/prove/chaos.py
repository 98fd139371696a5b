"""R1, R5, R6, chaos: the fleet's own trainers train real bars, and one thing after another is killed, frozen or cut.

A trial is one run that is ordered and disturbed once, at a moment drawn by the dice. It must end; after the last one
every file must have been trained exactly once.
"""

import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from services.fleet.prove.apparatus.crew import BROKER, FLEET, KEEPER, LEASE_SECONDS, POSTGRES, TRAINERS, Crew
from services.fleet.prove.apparatus.stages import CONSUMER, JUDGED_BARS, disk_faults, part, seal, training_faults
from services.fleet.prove.ground import DIALECTS
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import LeaseTaken, Unavailable
from tidewheel.contracts.states import ClaimState
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.ledger.records import Run

KINDS = ("kill worker", "kill fit", "freeze", "kill keeper", "flush", "kill broker")
POSTGRES_KINDS = ("cut", "fast restart", "immediate restart")
#: Seconds from the blow until another worker has the run.
TAKEOVER = {"kill worker": 5.0, "freeze": LEASE_SECONDS + 5.0}
_ROOM = 3.0  #: times the figure that is still no violation: a box may have other work; what was measured is told
_END_SECONDS = 120.0
_MOMENT = 1.5  #: seconds into a run until which the blow falls
_LOOK_SECONDS = 0.02


T = TypeVar("T")


def prove(
    budget: Budget, tell: Tell, *, trainer: str = FLEET, kinds: tuple[str, ...] = (*KINDS, *POSTGRES_KINDS)
) -> Tally:
    """Each dialect takes half of the trials. `trainer` is the module that serves the trainers."""
    dice, tally = random.Random(budget.seed), Tally()
    for number, dialect in enumerate(DIALECTS, start=1):
        order = _endless([kind for kind in kinds if dialect == "postgresql" or kind not in POSTGRES_KINDS], dice)
        # Not in the ground's folder: as root the Postgres runs as nobody, who must be able to enter.
        with tempfile.TemporaryDirectory(prefix="tidewheel-chaos-", ignore_cleanup_errors=True) as folder:
            Path(folder).chmod(0o755)
            storm = _Storm(Path(folder), dialect, trainer, dice)
            try:
                storm.begin()
                while tally.trials < budget.trials * number // len(DIALECTS):
                    kind = next(order)
                    wrong = storm.trial(kind)
                    tally.trials += 1
                    for each in wrong:
                        tally.broken(f"{dialect}, trial {tally.trials}, {kind}: {each}")
                    tell(tally.trials / budget.trials, f"{dialect}, {kind}")
                for each in storm.settle():
                    tally.broken(f"{dialect}: {each}")
            finally:
                storm.end()
        tally.figures += [f"{dialect}: {figure}" for figure in storm.figures()]
    return tally


def _endless(kinds: Sequence[str], dice: random.Random) -> Iterator[str]:
    while True:
        yield from dice.sample(kinds, len(kinds))


class _Storm:
    """What befalls the trainers on one ledger."""

    def __init__(self, folder: Path, dialect: str, trainer: str, dice: random.Random) -> None:
        self._folder, self._dice = folder, dice
        self._crew = Crew(folder, dialect, trainer)
        self._place = self._crew.place
        self._seed, self._parts = dice.randrange(1_000), 0
        self._seconds: dict[str, list[float]] = {}
        self._ledger: Ledger | None = None

    def begin(self) -> None:
        migrate(self._place.dsn, self._place.data_dir)
        self._ledger = open_ledger(self._place.dsn, self._place.data_dir)
        self._crew.muster()

    def end(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        self._crew.dismiss()

    @property
    def ledger(self) -> Ledger:
        assert self._ledger is not None
        return self._ledger

    def trial(self, kind: str) -> list[str]:
        """One more file, one run, one blow; what went wrong until the run's end."""
        self._crew.mend()
        frame = part(self._parts, self._seed, JUDGED_BARS)
        self._insist(lambda: seal(self.ledger, frame, "chaos"))
        self._parts += 1
        run = self._insist(self._order)
        if not self._until(lambda: self._now(run).attempts > 0, _END_SECONDS):
            return [f"no worker took run {run.id} up within {_END_SECONDS:.0f} s"]
        time.sleep(self._dice.uniform(0, _MOMENT))
        started = time.monotonic()
        wrong = self._blow(kind, run)
        self._crew.mend()
        if not self._ended(run):
            wrong.append(f"run {run.id} has not ended after {_END_SECONDS:.0f} s: {self._now(run)}")
        self._note(f"end of the run after {kind}", time.monotonic() - started)
        return wrong

    def settle(self) -> list[str]:
        """Let everything that waits be trained in peace; what is wrong then."""
        self._crew.mend()
        deadline = time.monotonic() + _END_SECONDS
        while self._waiting() and time.monotonic() < deadline:
            self._requeue_poison()
            run = self._insist(self._order)
            self._ended(run)
        models = self._folder / "models"
        self._until(lambda: not disk_faults(self.ledger, models), 10)  # the keeper moves `current` in its own time
        with self._place.session() as rows:
            return training_faults(rows, self._parts) + disk_faults(self.ledger, models)

    def figures(self) -> list[str]:
        """What was measured, in words."""
        return [
            f"{what}: {len(seconds)} times, median {sorted(seconds)[len(seconds) // 2]:.1f} s, "
            f"longest {max(seconds):.1f} s"
            + (f" (promised {TAKEOVER[what[13:]]:.0f} s)" if what[13:] in TAKEOVER else "")
            for what, seconds in sorted(self._seconds.items())
        ]

    def _blow(self, kind: str, run: Run) -> list[str]:
        holder = self._holder(run)
        if kind in TAKEOVER and holder is not None:
            return self._take_from(holder, kind, run)
        if kind == "kill fit" and holder is not None:
            self._until(lambda: self._crew.kill_fit(holder) or self._now(run).state.final, _END_SECONDS)
        elif kind in ("kill keeper", "kill broker"):
            self._crew.end(KEEPER if kind == "kill keeper" else BROKER)
        elif kind == "flush":
            import redis

            with redis.Redis.from_url(self._crew.redis_url) as client:
                client.flushall()
        elif kind == "cut":
            self._place.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidewheel'"
            )
        elif kind in ("fast restart", "immediate restart"):
            self._crew.end(POSTGRES, signal.SIGINT if kind == "fast restart" else signal.SIGQUIT)
        return []

    def _take_from(self, holder: str, kind: str, run: Run) -> list[str]:
        """Kill or freeze the worker that has the run, and see when another takes it."""
        promised, before, started = TAKEOVER[kind], self._now(run).attempts, time.monotonic()
        if kind == "kill worker":
            self._crew.end(holder)
        else:
            self._crew.send(holder, signal.SIGSTOP)
        taken = self._until(lambda: self._now(run).attempts > before or self._now(run).state.final, _ROOM * promised)
        self._note(f"takeover after {kind}", time.monotonic() - started)
        if kind == "freeze":
            self._crew.send(holder, signal.SIGCONT)
        return [] if taken else [f"run {run.id} of {holder} was not taken over within {_ROOM * promised:.0f} s"]

    def _holder(self, run: Run) -> str | None:
        lease = self._insist(lambda: self.ledger.leases.get(f"run:{run.id}"))
        return lease.owner if lease is not None and lease.owner in TRAINERS else None

    def _order(self) -> Run:
        return self.ledger.runs.start_or_join(CONSUMER, CONSUMER, "prove")[0]

    def _now(self, run: Run) -> Run:
        return self._insist(lambda: self.ledger.runs.get(run.id))

    def _ended(self, run: Run) -> bool:
        return self._until(lambda: self._now(run).state.final, _END_SECONDS)

    def _waiting(self) -> bool:
        ((files, trained),) = self._place.rows(
            "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM claims WHERE state = 'processed')"
        )
        active = self._insist(lambda: [run for run in self.ledger.runs.list(5) if not run.state.final])
        return bool(active) or files != trained

    def _requeue_poison(self) -> None:
        """Our blows used up the attempts of good files: what a person would see and put back."""
        poison = [each.file_id for each in self.ledger.claims.consumption(CONSUMER) if each.state is ClaimState.POISON]
        if poison:
            self.ledger.claims.requeue(CONSUMER, poison, "prove")

    def _note(self, what: str, seconds: float) -> None:
        self._seconds.setdefault(what, []).append(seconds)

    def _until(self, condition: Callable[[], object], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _insist(self, ask: Callable[[], T]) -> T:
        """Ask again while the ledger is away, as it is after a blow of ours."""
        deadline = time.monotonic() + _END_SECONDS
        while True:
            try:
                return ask()
            except (Unavailable, LeaseTaken):
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_SECONDS)
