"""Runs that are killed, stopped, cancelled or overtaken: nothing is lost, nothing is published twice."""

import os
import signal

from services.ml_trainer.settings import TrainerSettings
from tests.services.ml_trainer.conftest import BARS, CHILDREN, Build, Feed, InThread, Queue, claims, later, market
from tests.waiting import until
from tidewheel.contracts.errors import FenceLost
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore


def test_a_killed_fit_is_tried_again(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, in_thread: InThread, canned: str
) -> None:
    """kill -9 of the child, as the kernel does for want of memory: the run goes back to the queue, says why, and its
    next attempt has the files again."""
    feed(market(BARS, 1))
    run_id = queue()
    in_thread(lambda: build(f"{CHILDREN}.sleeper").run(run_id))
    until(lambda: "pid" in ledger.runs.get(run_id).progress)

    os.kill(ledger.runs.get(run_id).progress["pid"], signal.SIGKILL)

    until(lambda: ledger.runs.get(run_id).state is RunState.QUEUED)
    run = ledger.runs.get(run_id)
    assert (run.attempts, run.reason) == (1, "the fit was killed by SIGKILL")
    assert ledger.versions.all("hmm") == []
    again = build(canned).run(run_id)
    assert again is not None
    assert (again.state, again.claimed_files, again.reason) == (RunState.PROMOTED, 1, None)


def test_one_file_too_large_for_memory_becomes_poison_and_no_other(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, settings: TrainerSettings
) -> None:
    """Whatever a run holds with it runs out of memory, for real: it alone is parked, though a half of the files is too
    small for a verdict, and the others are trained once."""
    sealed = [feed(later(market(2_000, 1), 2_000 * part)) for part in range(4)]
    guilty = sealed[2]
    trainer = build(f"{CHILDREN}.greedy_for_one", memory_mb=600)
    (settings.data_dir / "work").mkdir()
    (settings.data_dir / "work" / "guilty").write_text(str(guilty.start))
    runs = [trainer.run(queue()) for _ in range(10)]

    assert claims(ledger) == {ClaimState.PROCESSED: 3, ClaimState.POISON: 1}
    poison = [each for each in ledger.claims.consumption("hmm") if each.state is ClaimState.POISON]
    assert [each.file_id for each in poison] == [guilty.id]
    trained = [version.lineage["files"] for version in ledger.versions.all("hmm")]
    assert trained == [[file.id for file in sealed if file is not guilty]]
    assert runs[0] is not None
    assert (runs[0].state, runs[0].attempts) == (RunState.QUEUED, 1)
    assert (runs[0].reason or "").startswith("out_of_memory: ")
    assert [run.state for run in runs if run is not None].count(RunState.SKIPPED) >= 1, "a half was acquitted"


def test_cancel_kills_the_fit(ledger: Ledger, build: Build, feed: Feed, queue: Queue, in_thread: InThread) -> None:
    """A running run that is cancelled ends within seconds, its child dead and its files back."""
    feed(market(BARS, 1))
    run_id = queue()
    in_thread(lambda: build(f"{CHILDREN}.sleeper").run(run_id))
    until(lambda: "pid" in ledger.runs.get(run_id).progress)

    ledger.runs.cancel(run_id, "desk")

    until(lambda: ledger.runs.get(run_id).state.final, seconds=10)
    assert ledger.runs.get(run_id).state is RunState.CANCELLED
    assert ledger.runs.get(run_id).reason == "cancelled by desk"
    assert claims(ledger).get(ClaimState.PROCESSING, 0) == 0


def test_a_stop_gives_run_and_files_back(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, in_thread: InThread, canned: str
) -> None:
    """What SIGTERM does to a worker: the child ends, the run waits in the queue again, another worker finishes it."""
    feed(market(BARS, 1))
    run_id = queue()
    trainer = build(f"{CHILDREN}.sleeper")
    thread = in_thread(lambda: trainer.run(run_id))
    until(lambda: "pid" in ledger.runs.get(run_id).progress)

    trainer.stop()

    thread.join(10)
    assert not thread.is_alive()
    assert ledger.leases.get(f"run:{run_id}") is None
    assert ledger.runs.get(run_id).state is RunState.QUEUED
    assert claims(ledger).get(ClaimState.PROCESSING, 0) == 0
    assert trainer.run(run_id) is None, "a stopped trainer begins nothing"
    other = build(canned).run(run_id)
    assert other is not None
    assert other.state is RunState.PROMOTED


def test_a_zombie_publishes_nothing(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, in_thread: InThread, canned: str
) -> None:
    """A worker whose lease was taken over during its fit kills the fit and writes nothing; the other one's counts."""
    feed(market(BARS, 1))
    run_id = queue()
    lost: list[FenceLost] = []

    def work() -> None:
        try:
            build(f"{CHILDREN}.sleeper", lease_seconds=1.0).run(run_id)
        except FenceLost as error:
            lost.append(error)

    thread = in_thread(work)
    until(lambda: "pid" in ledger.runs.get(run_id).progress)
    held = ledger.leases.get(f"run:{run_id}")
    assert held is not None
    ledger.leases.release(held)  # what the end of its time does to a paused worker
    taken = build(canned).run(run_id)

    thread.join(10)
    assert len(lost) == 1
    assert taken is not None
    assert taken.state is RunState.PROMOTED
    assert [version.version for version in ledger.versions.all("hmm")] == [taken.version] == store.versions("hmm")


def test_a_run_that_always_dies_is_given_up(ledger: Ledger, build: Build, feed: Feed, queue: Queue) -> None:
    """After five workers have died on a run, the sixth does not begin it."""
    feed(market(BARS, 1))
    run_id = queue()
    for worker in range(5):
        lease = ledger.runs.lease(run_id, f"dying-{worker}", 10_000)
        assert lease is not None
        ledger.leases.release(lease.lease)

    assert build().run(run_id) is None

    run = ledger.runs.get(run_id)
    assert run.state is RunState.FAILED
    assert (run.reason or "").startswith("given up after 5 attempts: its workers died")
