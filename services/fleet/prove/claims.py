"""R1, claims: workers that claim, renew and publish are killed, frozen and cut off; then the tables are counted."""

import random
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from services.fleet.local.processes import Child, tail
from services.fleet.prove.apparatus import beside
from services.fleet.prove.ground import DIALECTS, Place, plain
from services.fleet.prove.programs import workers
from services.fleet.prove.programs.nursery import CRASHES, living, strike
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.states import ClaimState
from tidewheel.ledger.open import Ledger, open_ledger

_FROZEN_SECONDS = 1.6 * workers.LEASE_MS / 1000
_PAUSES = (0.02, 0.09)  #: seconds between two disturbances
_NO_PROGRESS_SECONDS = 60.0


def prove(budget: Budget, tell: Tell, *, program: str = workers.__name__) -> Tally:
    """A trial is one disturbance; each dialect takes half of them. Afterwards the workers finish in peace."""
    dice, tally = random.Random(budget.seed), Tally()
    for number, dialect in enumerate(DIALECTS, start=1):
        place = budget.ground.fresh(dialect)
        storm = _Storm(place, dialect, dice)
        nursery = beside.start(program, place.dsn, place.data_dir, folder=place.data_dir)
        try:
            storm.wait_for_the_first_grant(nursery)
            while tally.trials < budget.trials * number // len(DIALECTS):
                storm.disturb(nursery)
                tally.trials += 1
                tell(tally.trials / budget.trials, f"{dialect}, {tally.trials} disturbances")
            storm.calm()
        finally:
            nursery.ask_to_stop()
            nursery.wait_stopped(time.monotonic() + 10)
        for wrong in storm.judge(nursery):
            tally.broken(f"{dialect}: {wrong}")
        budget.ground.drop(place)
    return tally


class _Storm:
    """What befalls the workers on one ledger."""

    def __init__(self, place: Place, dialect: str, dice: random.Random) -> None:
        self._place, self._dice = place, dice
        self._kinds = ("kill", "kill", "freeze") + (("cut",) if dialect == "postgresql" else ())
        self._thaws: list[threading.Timer] = []

    def wait_for_the_first_grant(self, nursery: Child) -> None:
        self._place.seal(8)
        deadline = time.monotonic() + _NO_PROGRESS_SECONDS
        while not grants(self._place.data_dir):
            assert nursery.exit_code() is None and time.monotonic() < deadline, tail(nursery.log)
            time.sleep(0.02)

    def disturb(self, nursery: Child) -> None:
        """New files, a pause, and one blow."""
        self._place.seal(self._dice.randint(1, 4))
        time.sleep(self._dice.uniform(*_PAUSES))
        kind = self._dice.choice(self._kinds)
        if kind == "cut":
            self._place.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'tidewheel' ORDER BY random() LIMIT 1"
            )
            return
        victim = self._dice.choice(living(nursery.pid))
        if kind == "kill":
            strike(victim, signal.SIGKILL)
        else:
            strike(victim, signal.SIGSTOP)
            # By a timer: a frozen writer may hold the very lock that we wait for meanwhile.
            thaw = threading.Timer(_FROZEN_SECONDS, strike, (victim, signal.SIGCONT))
            thaw.start()
            self._thaws.append(thaw)

    def calm(self) -> None:
        """Let all thaw, and wait until every file is consumed, or nothing moves any more."""
        for thaw in self._thaws:
            thaw.join()
        ledger = open_ledger(self._place.dsn, self._place.data_dir)
        try:
            left, since = self._left(), time.monotonic()
            while left and time.monotonic() - since < _NO_PROGRESS_SECONDS:
                _requeue_poison(ledger)
                time.sleep(0.05)
                now = self._left()
                left, since = now, (since if now == left else time.monotonic())
        finally:
            ledger.close()

    def _left(self) -> int:
        files, consumed = self._place.rows(
            "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM claims WHERE state = 'processed')"
        )[0]
        return len(workers.CONSUMERS) * int(files) - int(consumed)

    def judge(self, nursery: Child) -> list[str]:
        """Everything that is wrong, from the tables and the workers' own records."""
        wrong = [fault for consumer in workers.CONSUMERS for fault in _consumption(self._place, consumer)]
        wrong += _fences(self._place)
        crashes = self._place.data_dir / CRASHES
        if crashes.exists():
            wrong.append(f"{len(crashes.read_text().split())} workers died of an error of ours:\n{tail(nursery.log)}")
        return wrong


def _consumption(place: Place, consumer: str) -> list[str]:
    """Each file stands in the lineage of exactly one version, and its claim names that version's run."""
    published = place.rows(
        "SELECT v.run_id, v.lineage FROM versions v JOIN runs r ON r.id = v.run_id WHERE r.consumer = ?", consumer
    )
    trained: dict[int, list[int]] = {}
    for run_id, lineage in published:
        for file in plain(lineage)["files"]:
            trained.setdefault(file, []).append(run_id)
    claims = {
        file: (state, run_id)
        for file, state, run_id in place.rows(
            "SELECT file_id, state, run_id FROM claims WHERE consumer = ?", consumer
        )
    }  # fmt: skip
    wrong = []
    for (file,) in place.rows("SELECT id FROM files ORDER BY id"):
        runs = trained.get(file, [])
        if len(runs) != 1:
            fate = "is lost: no version of" if not runs else f"was consumed {len(runs)} times by"
            wrong.append(f"file {file} {fate} {consumer}; its claim is {claims.get(file)}")
        elif claims.get(file) != ("processed", runs[0]):
            wrong.append(f"file {file} was trained by run {runs[0]} of {consumer}, and its claim is {claims.get(file)}")
    return wrong


def _fences(place: Place) -> list[str]:
    """Fences grow with time, and a version was published under the newest of its run."""
    wrong = [
        f"run {run_id} was published under fence {plain(metrics)['fence']}, when {fence} had been granted"
        for run_id, fence, metrics in place.rows(
            "SELECT r.id, r.fence, v.metrics FROM versions v JOIN runs r ON r.id = v.run_id"
        )
        if plain(metrics)["fence"] != fence
    ]
    newest: dict[int, Grant] = {}
    for grant in sorted(grants(place.data_dir), key=lambda each: each.fence):
        before = newest.get(grant.run_id)
        if before is not None and (grant.fence == before.fence or grant.got < before.asked):
            wrong.append(f"run {grant.run_id}: fence {grant.fence} was granted before {before.fence}, or twice")
        newest[grant.run_id] = grant
    return wrong


@dataclass(frozen=True, slots=True)
class Grant:
    """A worker's own record of a lease that it was granted."""

    run_id: int
    fence: int
    asked: int  #: monotonic ns, before the question
    got: int  #: monotonic ns, after the answer


def grants(folder: Path) -> list[Grant]:
    """All grants; a line that a kill cut short is left out."""
    lines = (line for file in folder.glob("grants-*") for line in file.read_text().splitlines(keepends=True))
    return [Grant(*map(int, line.split())) for line in lines if line.endswith("\n")]


def _requeue_poison(ledger: Ledger) -> None:
    """Our kills used up the attempts of good files: what a person would see and put back."""
    for consumer in workers.CONSUMERS:
        poison = [each.file_id for each in ledger.claims.consumption(consumer) if each.state is ClaimState.POISON]
        if poison:
            ledger.claims.requeue(consumer, poison, "prove")
