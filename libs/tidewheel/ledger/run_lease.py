"""One attempt at a run: everything a worker writes goes through here, and presents its fence."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, update

from tidewheel.contracts.errors import BadInput, FenceLost, TidewheelError, Unavailable
from tidewheel.contracts.states import PromotionAction, RunState
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger import claims, leases, versions
from tidewheel.ledger.control import switches
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Lease, NewVersion, Run, SealedFile, Version
from tidewheel.ledger.registry import aliases
from tidewheel.ledger.registry import models as registry
from tidewheel.ledger.registry.records import NewModel
from tidewheel.ledger.run_rows import read_run
from tidewheel.ledger.tables import runs

_NOT_WANTED = StepResult(step="wanted", passed=False, reason="the run was asked to leave the champion as it is")
_WITHOUT_VERSION = (RunState.SKIPPED, RunState.FAILED, RunState.CANCELLED)


class RunLease:
    """The right to work on one run; leave it by `publish`, `complete` or `finish`, or it gives its files back.

    A heartbeat thread may call `renew` while another works. Every method raises FenceLost once the right is gone;
    nothing was written then.
    """

    def __init__(self, db: Database, run: Run, lease: Lease) -> None:
        self._db = db
        self.run = run  #: as last read or written here
        self.lease = lease
        self.on_trial = False  #: among the claimed files are some that failed together: does a fit on them end well?

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.run.state is not RunState.RUNNING or isinstance(error, FenceLost):
            return
        # A stop from outside (no error, Ctrl-C, SystemExit) is nobody's fault; an error may be the files', but not that
        # a disk is full or the ledger was away.
        reason = error.detail if isinstance(error, TidewheelError) else None
        try:
            self.give_back(
                counted=isinstance(error, Exception), blamed=not isinstance(error, Unavailable), reason=reason
            )
        except (FenceLost, Unavailable):
            if error is None:
                raise
            # The lease ends by itself, and the next attempt frees the files.

    def claim_files(
        self, limit: int | None = None, *, timeframe: str | None = None, strict: bool = False
    ) -> list[SealedFile]:
        """Hold up to `limit` more files that the consumer has not consumed; returns all that the run holds.

        Where files have failed together, a call takes some of them only (suspects.py); another takes more.
        `timeframe` narrows it to streams of that timeframe. `strict` leaves corrections (revision > 0) alone, so
        that no bar is ever handed out twice.
        """
        with self._db.write() as connection:
            leases.guard(self._db, connection, self.lease)
            held = claims.claim(
                self._db,
                connection,
                self.run.consumer,
                self.run.id,
                limit=limit,
                timeframe=timeframe,
                strict=strict,
            )
            self._write(connection, claimed_files=len(held))
            self.on_trial = claims.on_trial(connection, self.run.id)
            return held

    def renew(self, ttl_ms: int) -> bool:
        """Prolong the right to `ttl_ms` from now; says whether a person wants the run to stop."""
        with self._db.write() as connection:
            self.lease = leases.renew(self._db, connection, self.lease, ttl_ms)
            return read_run(connection, self.run.id).cancel_requested

    def progress(self, word: Mapping[str, Any]) -> None:
        """Replace what `GET /runs/{id}` tells of the work."""
        self._guarded(progress=dict(word))

    def counts(self, claimed_files: int, new_bars: int, window_bars: int) -> None:
        """Record what the run trains on."""
        self._guarded(claimed_files=claimed_files, new_bars=new_bars, window_bars=window_bars)

    def publish(self, version: NewVersion, verdict: Verdict, *, remark: str | None = None) -> Run:
        """Version, verdict, consumption, promotion where the verdict passed, and the end of the run: all or nothing.

        While a kill switch stands nothing is promoted: the verdict ends with that refusal. The run's reason is the
        verdict's refusal and the `remark`, where there are such. After a lost answer, call it again: the run that it
        finished is returned.

        Raises:
            FenceLost: another worker took the run over, or it was finished otherwise.
            BadInput: the version is of another family than the run.
            Conflict: `version_taken` or `synthetic_origin`.
        """
        self._check_family(version.family)

        def store(connection: Connection, heeded: Verdict) -> Verdict:
            stored = versions.store_version(self._db, connection, self.run.id, version, heeded)
            if heeded.passed:
                self._promote(connection, stored)
            return heeded

        return self._publish(version.version, verdict, store, remark)

    def publish_model(
        self,
        new: NewModel,
        verdict: Verdict,
        *,
        champion: bool = True,
        since: int | None = None,
        remark: str | None = None,
    ) -> Run:
        """`publish` for a registered model: the run ends promoted where its name's champion is this one now.

        Unless a `champion` is wanted the verdict ends with that refusal; so it does where the champion has moved after
        its move `since`, 0 for none, which stood when the opponent was chosen.

        Raises:
            FenceLost: another worker took the run over, or it was finished otherwise.
            BadInput: the model has another name than the run's family.
            Conflict: `version_taken` or `synthetic_origin`.
        """
        self._check_family(new.model_name)
        if verdict.passed and not champion:
            verdict = Verdict(steps=(*verdict.steps, _NOT_WANTED))

        def store(connection: Connection, heeded: Verdict) -> Verdict:
            return registry.publish_model(self._db, connection, self.run.id, new, heeded, since)

        return self._publish(new.version, verdict, store, remark)

    def complete(self, version: str, *, remark: str | None = None) -> Run:
        """End the run with a version that its files alone keep: no row, no verdict, no champion goes with it.

        After a lost answer, call it again: the run that it ended is returned.

        Raises:
            FenceLost: another worker took the run over, or it was finished otherwise.
        """
        with self._db.write() as connection:
            if self._open_or_settled_as(connection, RunState.PROMOTED, version):
                self._end(connection, RunState.PROMOTED, remark, version)
            run = read_run(connection, self.run.id)
        self.run = run
        return run

    def _publish(
        self, version: str, verdict: Verdict, store: Callable[[Connection, Verdict], Verdict], remark: str | None
    ) -> Run:
        """What both have in common; `store` writes the version, its verdict and, where that passed, the promotion.

        It returns the verdict as it wrote it.
        """
        with self._db.write() as connection:
            if self._open_or_published(connection, verdict, version):
                verdict = store(connection, switches.heed(self._db, connection, verdict))
                claims.consume(self._db, connection, self.run.id)
                reason = "; ".join(filter(None, [_refusal(verdict), remark])) or None
                self._end(connection, _state(verdict), reason, version)
            run = read_run(connection, self.run.id)
        self.run = run
        return run

    def _check_family(self, family: str) -> None:
        if family != self.run.family:
            raise BadInput(f"run {self.run.id} makes {self.run.family} versions, not {family} ones")

    def park(self, file_id: int) -> None:
        """Make a file that the run holds poison at once: it cannot be read, so no further attempt would tell more."""
        with self._db.write() as connection:
            leases.guard(self._db, connection, self.lease)
            claims.park(self._db, connection, self.run.id, file_id)

    def finish(self, state: RunState, reason: str, *, acquitted: bool = False, blamed: bool = True) -> Run:
        """End the run without a version; its files are free again, after a failure with one more attempt on record.

        `acquitted`: a fit on them did not fail, so they are suspects no longer. Not `blamed`: the failure was none of
        theirs, and their record stays as it was. Safe to call again after a lost answer.

        Raises:
            BadInput: `state` is not skipped, failed or cancelled.
        """
        if state not in _WITHOUT_VERSION:
            raise BadInput(f"a run cannot finish as {state}: {', '.join(_WITHOUT_VERSION)}, or publish")
        with self._db.write() as connection:
            if self._open_or_settled_as(connection, state, None):
                if acquitted:
                    claims.acquit(connection, self.run.id)
                claims.give_back(self._db, connection, self.run.id, counted=blamed and state is RunState.FAILED)
                self._end(connection, state, reason, None)
            run = read_run(connection, self.run.id)
        self.run = run
        return run

    def give_back(self, *, counted: bool = False, blamed: bool = True, reason: str | None = None) -> Run:
        """Return the run to the queue and free its files; `counted` leaves the attempt on its record and on theirs.

        Not `blamed`: on the run's only, for it was none of the files' doing.
        `reason` is what the run tells meanwhile, and at its end where no further attempt is left to it.
        """
        with self._db.write() as connection:
            leases.guard(self._db, connection, self.lease)
            claims.give_back(self._db, connection, self.run.id, counted=counted and blamed)
            self._write(
                connection, state=RunState.QUEUED, claimed_files=0, attempts=self.run.attempts - (0 if counted else 1)
            )
            if reason is not None:
                # A person may have asked meanwhile that the run be cancelled: that reason stays.
                unwished = (runs.c.id == self.run.id) & runs.c.cancel_requested.is_(False)
                connection.execute(update(runs).where(unwished).values(reason=reason))
            leases.release(connection, self.lease)
            run = read_run(connection, self.run.id)
        self.run = run
        return run

    def _guarded(self, **values: Any) -> None:
        with self._db.write() as connection:
            leases.guard(self._db, connection, self.lease)
            self._write(connection, **values)

    def _open_or_published(self, connection: Connection, verdict: Verdict, version: str) -> bool:
        """`_open_or_settled_as` the verdict says; what the verdict passes may have been refused then."""
        try:
            return self._open_or_settled_as(connection, _state(verdict), version)
        except FenceLost:
            known = read_run(connection, self.run.id).verdict
            refusal = None if known is None else known.refusal
            if not verdict.passed or refusal is None or refusal.step not in (switches.STEP, aliases.STEP):
                raise
            return self._open_or_settled_as(connection, RunState.REFUSED, version)

    def _open_or_settled_as(self, connection: Connection, state: RunState, version: str | None) -> bool:
        """True: go on and write. False: an earlier call of ours did, and only its answer was lost."""
        try:
            leases.guard(self._db, connection, self.lease)
        except FenceLost:
            settled = runs.select().where(
                runs.c.id == self.run.id,
                runs.c.fence == self.lease.fence,
                runs.c.state == state,
                runs.c.version.is_not_distinct_from(version),
            )
            if connection.execute(settled).one_or_none() is None:
                raise
            return False
        return True

    def _promote(self, connection: Connection, version: Version) -> None:
        actor, why = f"run {self.run.id}", "the gate passed it"
        versions.promote(self._db, connection, version, PromotionAction.PROMOTE, actor, why, run_id=self.run.id)

    def _end(self, connection: Connection, state: RunState, reason: str | None, version: str | None) -> None:
        self._write(connection, state=state, reason=reason, version=version, finished_at=self._db.clock())
        leases.release(connection, self.lease)

    def _write(self, connection: Connection, **values: Any) -> None:
        connection.execute(update(runs).where(runs.c.id == self.run.id).values(**values))


def _state(verdict: Verdict) -> RunState:
    return RunState.PROMOTED if verdict.passed else RunState.REFUSED


def _refusal(verdict: Verdict) -> str | None:
    step = verdict.refusal
    return None if step is None else f"{step.step}: {step.reason}"
