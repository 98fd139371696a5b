"""Runs: one active a consumer, fenced, finished once; on both dialects."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.libs.ledger.rows import PASSED, REFUSED, new_version, seal
from tidewheel.contracts.errors import BadInput, Conflict, FenceLost, NotFound
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.run_lease import RunLease

TTL = 60_000


def started(ledger: Ledger, ttl: int = TTL, consumer: str = "hmm") -> RunLease:
    """A new run, taken up."""
    run, _ = ledger.runs.start_or_join(consumer, consumer, "test")
    lease = ledger.runs.lease(run.id, "worker", ttl)
    assert lease is not None
    return lease


def stolen(ledger: Ledger) -> tuple[RunLease, RunLease]:
    """A worker whose lease ended, and the one that took its run over."""
    zombie = started(ledger)
    seal(ledger, range(2))
    zombie.claim_files()
    ledger.leases.release(zombie.lease)  # ended, as if its time had run out
    successor = ledger.runs.lease(zombie.run.id, "successor", TTL)
    assert successor is not None
    return zombie, successor


class TestStart:
    def test_new_run_is_queued_with_its_hint(self, ledger: Ledger) -> None:
        """A start makes a queued run and, in the same transaction, the message that tells a worker."""
        run, joined = ledger.runs.start_or_join("hmm", "hmm", "api", params={"seed": 7})
        assert not joined
        assert (run.state, run.params, run.attempts) == (RunState.QUEUED, {"seed": 7}, 0)
        assert [(event.topic, event.payload) for event in ledger.outbox.pending()] == [
            ("tidewheel.train.run", {"run_id": run.id})
        ]

    def test_second_start_joins(self, ledger: Ledger) -> None:
        """While a run of the consumer is active a start joins it; another consumer's is its own."""
        first, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        assert ledger.runs.start_or_join("hmm", "hmm", "cron", schedule_key="t1") == (first, True)
        assert ledger.runs.start_or_join("hmm-strict", "hmm-strict", "api")[1] is False
        assert ledger.runs.start_or_join("hmm", "hmm", "api") == (first, True)
        assert len(ledger.outbox.pending()) == 2

    def test_who_has_been_asking_since_before_a_run_ended_joins_it(self, ledger: Ledger) -> None:
        """Nothing of the start is left that was not needed; a run of before, or of another consumer, is not joined."""
        asked = ledger.now()
        lease = started(ledger)
        started(ledger, consumer="other").finish(RunState.SKIPPED, "no_new_data")
        lease.finish(RunState.SKIPPED, "no_new_data")
        hints = ledger.outbox.pending()
        ended = ledger.runs.get(lease.run.id)
        assert ended.finished_at is not None
        assert ledger.runs.start_or_join("hmm", "hmm", "api", since=asked) == (ended, True)
        assert ledger.runs.start_or_join("hmm", "hmm", "api", since=ended.finished_at) == (ended, True)
        assert (len(ledger.runs.list()), ledger.outbox.pending()) == (2, hints)
        run, joined = ledger.runs.start_or_join("hmm", "hmm", "api", since=ended.finished_at + 1)
        assert not joined
        assert ledger.runs.start_or_join("hmm", "hmm", "api", since=asked) == (run, True)

    def test_a_start_joins_the_active_run_and_no_older_one(self, ledger: Ledger) -> None:
        """Finished runs that were asked for by hand do not stand in a later start's way."""
        for _ in range(2):
            started(ledger).finish(RunState.SKIPPED, "no_new_data")
        active, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        assert ledger.runs.start_or_join("hmm", "hmm", "api") == (active, True)

    def test_tick_makes_one_run_ever(self, ledger: Ledger) -> None:
        """A schedule key returns its run even after that is final."""
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "cron", schedule_key="retrain:1")
        ledger.runs.cancel(run.id, "tester")
        again, joined = ledger.runs.start_or_join("hmm", "hmm", "cron", schedule_key="retrain:1")
        assert (again.id, joined) == (run.id, True)

    def test_many_at_once_make_one(self, ledger: Ledger) -> None:
        """Of many concurrent starts one makes the run, and all return it."""
        answers = at_once(8, lambda _: ledger.runs.start_or_join("hmm", "hmm", "api"))
        assert len({run.id for run, _ in answers}) == 1
        assert [joined for _, joined in answers].count(False) == 1

    def test_unknown_run(self, ledger: Ledger) -> None:
        """An id that is no run is NotFound, not an empty answer."""
        for ask in (ledger.runs.get, lambda id: ledger.runs.lease(id, "w", TTL), lambda id: ledger.runs.cancel(id, "")):
            with pytest.raises(NotFound, match="there is no run 99"):
                ask(99)

    def test_an_id_that_no_run_can_have(self, ledger: Ledger) -> None:
        """A number beyond what the database can hold is the caller's mistake on both dialects."""
        with pytest.raises(BadInput, match="ledger can hold"):
            ledger.runs.get(2**63)

    def test_list_newest_first(self, ledger: Ledger) -> None:
        """Runs are listed newest first, and by consumer."""
        first = started(ledger).finish(RunState.SKIPPED, "no_new_data")
        judged = started(ledger, consumer="judged").publish(new_version(1, family="judged"), PASSED)
        second = started(ledger).run
        third = started(ledger, consumer="other").run
        assert [run.id for run in ledger.runs.list()] == [third.id, second.id, judged.id, first.id]
        assert [run.verdict for run in ledger.runs.list()] == [None, None, PASSED, None]
        assert [run.id for run in ledger.runs.list(consumer="hmm", limit=1)] == [second.id]


class TestTakingUp:
    def test_one_worker_at_a_time(self, ledger: Ledger) -> None:
        """Of many workers that got the hint one takes the run up."""
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        got = at_once(6, lambda n: ledger.runs.lease(run.id, f"worker {n}", TTL))
        assert sum(each is not None for each in got) == 1
        assert ledger.runs.get(run.id).attempts == 1

    def test_final_run_is_not_taken_up(self, ledger: Ledger) -> None:
        """A hint that arrives late finds nothing to do."""
        lease = started(ledger)
        lease.publish(new_version(1), PASSED)
        assert ledger.runs.lease(lease.run.id, "late", TTL) is None

    def test_stale_runs(self, ledger: Ledger) -> None:
        """Queued runs and those whose lease ended are stale; one that is worked on is not."""
        started(ledger, consumer="hmm").publish(new_version(1), PASSED)
        queued, _ = ledger.runs.start_or_join("a", "a", "api")
        dead = started(ledger, ttl=1, consumer="b")
        started(ledger, consumer="c")
        time.sleep(0.01)
        assert [(run.id, run.verdict) for run in ledger.runs.stale()] == [(queued.id, None), (dead.run.id, None)]

    def test_heartbeat_and_cancel(self, ledger: Ledger) -> None:
        """A renewal tells a worker that a person wants it to stop; the run stays its own until it finishes."""
        lease = started(ledger)
        assert lease.renew(TTL) is False
        assert ledger.runs.cancel(lease.run.id, "key abc").state is RunState.RUNNING
        assert lease.renew(TTL) is True
        assert lease.finish(RunState.CANCELLED, "cancelled by key abc").state is RunState.CANCELLED

    def test_cancel_queued_at_once(self, ledger: Ledger) -> None:
        """A queued run is cancelled by the call itself, and nobody takes it up."""
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        cancelled = ledger.runs.cancel(run.id, "me")
        assert (cancelled.state, cancelled.reason) == (RunState.CANCELLED, "cancelled by me")
        assert cancelled.cancel_requested and cancelled.finished_at is not None
        assert ledger.runs.lease(run.id, "w", TTL) is None
        assert ledger.runs.start_or_join("hmm", "hmm", "api")[1] is False

    def test_a_cancel_is_of_one_run(self, ledger: Ledger) -> None:
        """Other runs go on, queued or taken up, and one that has ended stays as it is."""
        ended = started(ledger, consumer="a").finish(RunState.SKIPPED, "no_new_data")
        taken, other = (started(ledger, consumer=name).run for name in ("b", "c"))
        queued, waiting = (ledger.runs.start_or_join(name, "hmm", "api")[0] for name in ("d", "e"))
        assert ledger.runs.cancel(ended.id, "me") == ended
        for run in (taken, queued):
            assert ledger.runs.cancel(run.id, "me").cancel_requested
        assert [ledger.runs.get(run.id) for run in (ended, other, waiting)] == [ended, other, waiting]

    def test_cancelled_run_of_a_dead_worker_ends(self, ledger: Ledger) -> None:
        """Where the worker died after a cancel, the next one to look ends the run."""
        dead = started(ledger, ttl=1)
        ledger.runs.cancel(dead.run.id, "me")
        time.sleep(0.01)
        assert ledger.runs.lease(dead.run.id, "w", TTL) is None
        assert ledger.runs.get(dead.run.id).state is RunState.CANCELLED

    def test_progress(self, ledger: Ledger) -> None:
        """What the worker tells is what `get` shows."""
        lease = started(ledger)
        lease.progress({"restart": 2, "iteration": 10})
        lease.counts(3, 180, 14_400)
        run = ledger.runs.get(lease.run.id)
        assert (run.progress, run.claimed_files, run.new_bars, run.window_bars) == (
            {"restart": 2, "iteration": 10}, 3, 180, 14_400,
        )  # fmt: skip


class TestPublish:
    def test_all_at_once(self, ledger: Ledger) -> None:
        """A passed publish stores version and verdict, consumes the files, moves the champion and leaves the hint."""
        ids = seal(ledger, range(3))
        lease = started(ledger)
        ledger.outbox.sent([event.id for event in ledger.outbox.pending()])
        assert [file.id for file in lease.claim_files()] == ids
        run = lease.publish(new_version(1), PASSED)
        assert (run.state, run.version, run.verdict, run.claimed_files) == (
            RunState.PROMOTED, new_version(1).version, PASSED, 3,
        )  # fmt: skip
        champion = ledger.versions.champion("hmm")
        assert champion is not None
        assert (champion.version, champion.verdict, champion.run_id) == (run.version, PASSED, run.id)
        assert ledger.claims.states("hmm")[ClaimState.PROCESSED] == 3
        assert [(event.topic, event.payload) for event in ledger.outbox.pending()] == [
            ("bus:models.hmm", {"family": "hmm", "version": run.version})
        ]
        assert ledger.leases.get(f"run:{run.id}") is None

    def test_refused_is_stored_not_promoted(self, ledger: Ledger) -> None:
        """A refused version is kept with its verdict, its files count as consumed, the champion stays."""
        seal(ledger, range(1))
        lease = started(ledger)
        lease.claim_files()
        run = lease.publish(new_version(2), REFUSED)
        assert (run.state, run.reason) == (RunState.REFUSED, "champion: worse by 0.1 nats a bar")
        assert ledger.versions.champion("hmm") is None
        stored = ledger.versions.get("hmm", new_version(2).version)
        assert stored is not None
        assert stored.verdict == REFUSED
        assert ledger.claims.states("hmm")[ClaimState.PROCESSED] == 1

    def test_retry_after_a_lost_answer(self, ledger: Ledger) -> None:
        """Publishing again with the same lease returns the same run and writes nothing twice."""
        lease = started(ledger)
        first = lease.publish(new_version(1), PASSED)
        assert lease.publish(new_version(1), PASSED) == first
        assert len(ledger.versions.promotions("hmm")) == 1
        assert first.finished_at is not None
        for version, verdict in ((2, PASSED), (1, REFUSED)):
            with pytest.raises(FenceLost):
                lease.publish(new_version(version), verdict)
        with pytest.raises(FenceLost):
            lease.finish(RunState.FAILED, "x")
        other = started(ledger)
        assert other.finish(RunState.FAILED, "x").finished_at is not None
        with pytest.raises(FenceLost):
            other.finish(RunState.SKIPPED, "x")

    def test_zombie_writes_nothing(self, ledger: Ledger) -> None:
        """A worker whose run was taken over is refused in everything it tries, and changes nothing."""
        zombie, successor = stolen(ledger)
        attempts: list[Callable[[], Any]] = [
            lambda: zombie.publish(new_version(666), PASSED),
            lambda: zombie.complete("v2026-01-01-00000666"),
            lambda: zombie.finish(RunState.FAILED, "x"),
            lambda: zombie.renew(TTL),
            lambda: zombie.progress({"x": 1}),
            lambda: zombie.counts(9, 9, 9),
            zombie.claim_files,
            zombie.give_back,
        ]
        before = ledger.runs.get(successor.run.id)
        for attempt in attempts:
            with pytest.raises(FenceLost):
                attempt()
        assert ledger.runs.get(successor.run.id) == before
        assert ledger.versions.all("hmm") == []
        assert successor.lease.fence > zombie.lease.fence
        assert successor.publish(new_version(1), PASSED).state is RunState.PROMOTED
        with pytest.raises(FenceLost):
            zombie.publish(new_version(1), PASSED)

    def test_a_version_that_its_files_alone_keep(self, ledger: Ledger) -> None:
        """The run ends promoted and names it; there is no row of it and no champion. After a lost answer the same."""
        other, lease = started(ledger, consumer="other"), started(ledger, consumer="bounce-1")
        run = lease.complete("v2026-01-01-00000001", remark="left out: XYZ")
        assert (run.state, run.version, run.reason, run.verdict) == (
            RunState.PROMOTED, "v2026-01-01-00000001", "left out: XYZ", None,
        )  # fmt: skip
        assert run.finished_at is not None
        assert (ledger.leases.get(f"run:{run.id}"), ledger.versions.families()) == (None, [])
        assert lease.complete("v2026-01-01-00000001") == run == ledger.runs.get(run.id)
        with pytest.raises(FenceLost):
            lease.complete("v2026-01-01-00000002")
        with pytest.raises(FenceLost):
            lease.finish(RunState.SKIPPED, "x")
        assert ledger.runs.get(run.id) == run
        assert ledger.runs.get(other.run.id).state is RunState.RUNNING
        assert ledger.runs.start_or_join("bounce-1", "bounce-1", "test")[1] is False

    def test_lease_that_ran_out_is_refused(self, ledger: Ledger) -> None:
        """Even when nobody took the run over, a publish after the lease's end writes nothing."""
        lease = started(ledger, ttl=1)
        time.sleep(0.01)
        with pytest.raises(FenceLost):
            lease.publish(new_version(1), PASSED)
        assert ledger.versions.all("hmm") == []

    def test_nothing_of_a_failed_publish_stays(self, ledger: Ledger) -> None:
        """When the last step of a publish fails, none of the earlier ones is seen."""
        seal(ledger, range(1))
        started(ledger).publish(new_version(1), PASSED)
        lease = started(ledger)
        lease.claim_files()
        before = ledger.claims.consumption("hmm")
        clash = new_version(2)
        with pytest.raises(Conflict, match="the name stands for other bytes") as caught:
            lease.publish(type(clash)(**{**_fields(clash), "version": new_version(1).version}), PASSED)
        assert caught.value.code == "version_taken"
        assert ledger.runs.get(lease.run.id).state is RunState.RUNNING
        assert ledger.claims.consumption("hmm") == before
        assert len(ledger.versions.promotions("hmm")) == 1

    def test_same_bytes_are_the_same_version(self, ledger: Ledger) -> None:
        """A retrain that gives the same bytes publishes the same version, under a verdict of its own."""
        started(ledger).publish(new_version(1), PASSED)
        run = started(ledger).publish(new_version(1), REFUSED)
        assert (run.version, run.state) == (new_version(1).version, RunState.REFUSED)
        assert len(ledger.versions.all("hmm")) == 1

    def test_other_family_is_refused(self, ledger: Ledger) -> None:
        """A run publishes versions of its own family only."""
        with pytest.raises(BadInput, match="makes hmm versions"):
            started(ledger).publish(new_version(1, family="lstm"), PASSED)

    def test_number_that_json_lacks(self, ledger: Ledger) -> None:
        """NaN in the evidence is refused with a sentence, and nothing is written."""
        lease = started(ledger)
        with pytest.raises(BadInput, match="cannot be stored"):
            lease.progress({"score": float("nan")})
        assert ledger.runs.get(lease.run.id).progress == {}


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__slots__}


def at_once(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """The answers of `count` threads that ask at the same moment; every error is raised."""
    barrier, answers, errors = threading.Barrier(count), [], []

    def call(number: int) -> None:
        barrier.wait()
        try:
            answers.append(ask(number))
        except Exception as error:  # noqa: BLE001 - handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers
