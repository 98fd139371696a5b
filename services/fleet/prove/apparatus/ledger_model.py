"""The ledger's promises about runs and claims as a page of Python: what `zombies` holds the real one against."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidewheel.contracts.states import ClaimState, RunState

TTL = 1_000_000_000  #: ms; so long that only a jump of the clock ends a lease, never the time that a proof takes
MAX_ATTEMPTS = 5  #: of a run, and of a file that is held alone
SUSPECT, LAST_ATTEMPT = 3, 16  #: attempts of files that are held together: tried in halves, given up


class Lost(Exception):
    """The right has ended."""


@dataclass(slots=True)
class Right:
    """A holder's right to a run, as it was granted."""

    run_id: int
    fence: int
    tried: str | None = None  #: version that it publishes; the same one whenever it tries again
    attempts: int = 0  #: of the run, this one included


@dataclass(slots=True)
class _Run:
    state: RunState = RunState.QUEUED
    attempts: int = 0
    version: str | None = None
    fence: int = 0  #: of the newest attempt
    until: int | None = None  #: end of its lease; None once released
    cancelled: bool = False


@dataclass(slots=True)
class _Claim:
    state: ClaimState = ClaimState.DOWNLOADED
    attempts: int = 0
    run_id: int | None = None


@dataclass(slots=True)
class World:
    """One consumer's runs and claims."""

    now: int = 0  #: the clock of the leases, ms
    runs: dict[int, _Run] = field(default_factory=dict)
    files: int = 0
    claims: dict[int, _Claim] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)
    promoted: list[str] = field(default_factory=list)

    def seal(self, count: int) -> None:
        self.files += count

    def start(self, run_id: int) -> tuple[int, bool]:
        """`run_id` is the number that the ledger drew, for the case that it should have."""
        for number, run in self.runs.items():
            if not run.state.final:
                return number, True
        self.runs[run_id] = _Run()
        return run_id, False

    def lease(self, run_id: int, fence: int | None) -> Right | None:
        """`fence` is the one that the ledger drew, None where it granted nothing."""
        run = self.runs[run_id]
        if run.state.final or self._live(run):
            return None
        self._free(run_id, counted=True)
        run.until = None
        if run.cancelled or run.attempts >= MAX_ATTEMPTS:
            run.state = RunState.CANCELLED if run.cancelled else RunState.FAILED
            return None
        if fence is None or fence <= max(each.fence for each in self.runs.values()):
            return None  # the ledger should have granted a higher one: the answers differ
        run.state, run.fence, run.until = RunState.RUNNING, fence, self.now + TTL
        run.attempts += 1
        return Right(run_id, fence, attempts=run.attempts)

    def cancel(self, run_id: int) -> RunState:
        run = self.runs[run_id]
        if not run.state.final:
            run.cancelled = True
            if run.state is RunState.QUEUED:
                run.state = RunState.CANCELLED
        return run.state

    def check(self, right: Right) -> None:
        run = self.runs[right.run_id]
        if run.fence != right.fence or not self._live(run):
            raise Lost

    def claim(self, right: Right, limit: int, changed_at: Mapping[int, int]) -> list[int]:
        """`changed_at` is the ledger's, of each claim before this call; a file that has none is listed now."""
        self.check(right)
        for file in range(1, self.files + 1):
            self.claims.setdefault(file, _Claim())
        free = sorted(number for number, each in self.claims.items() if each.state is ClaimState.DOWNLOADED)
        for number in self._choice(right.run_id, free, changed_at)[:limit]:
            each = self.claims[number]
            each.state, each.run_id, each.attempts = ClaimState.PROCESSING, right.run_id, each.attempts + 1
        return sorted(number for number, each in self.claims.items() if self._holds(right.run_id, each))

    def _choice(self, run_id: int, free: list[int], changed_at: Mapping[int, int]) -> list[int]:
        """Half of those that failed most often together; all others where it is their turn, or none is suspected."""
        held = [each.attempts for each in self.claims.values() if self._holds(run_id, each)]
        found = max((changed_at[n] for n, each in self.claims.items() if each.state is ClaimState.POISON), default=0)
        suspects = [n for n in free if self.claims[n].attempts >= SUSPECT and changed_at[n] > found]
        others = [n for n in free if n not in suspects]
        if held:
            turn = not any(attempts > SUSPECT for attempts in held)
        else:
            waited = min((changed_at.get(n, math.inf) for n in others), default=math.inf)
            turn = waited < max((changed_at[n] for n in suspects), default=0)
        if turn or not suspects:
            return others
        most = max(self.claims[n].attempts for n in suspects)
        group = [n for n in suspects if self.claims[n].attempts == most]
        return group[: len(group) // 2 or 1]

    def renew(self, right: Right) -> bool:
        self.check(right)
        run = self.runs[right.run_id]
        run.until = self.now + TTL
        return run.cancelled

    def publish(self, right: Right, version: str, passed: bool) -> str:
        state = RunState.PROMOTED if passed else RunState.REFUSED
        if self._settles(right, state, version):
            for each in self.claims.values():
                if self._holds(right.run_id, each):
                    each.state = ClaimState.PROCESSED
            self.published[version] = right.run_id
            if passed:
                self.promoted.append(version)
        return state.value

    def finish(self, right: Right, state: RunState, acquitted: bool = False) -> str:
        if self._settles(right, state, None):
            for each in self.claims.values():
                if acquitted and self._holds(right.run_id, each):
                    each.attempts = 1  # the present one, which is not counted
            self._free(right.run_id, counted=state is RunState.FAILED)
        return state.value

    def give_back(self, right: Right, counted: bool) -> str:
        self.check(right)
        run = self.runs[right.run_id]
        self._free(right.run_id, counted=counted)
        run.state, run.until, run.attempts = RunState.QUEUED, None, right.attempts - (0 if counted else 1)
        return run.state.value

    def run_rows(self) -> list[tuple[int, str, int, str | None]]:
        return [(number, run.state.value, run.attempts, run.version) for number, run in sorted(self.runs.items())]

    def claim_rows(self) -> list[tuple[int, str, int, int | None]]:
        return [(number, each.state.value, each.attempts, each.run_id) for number, each in sorted(self.claims.items())]

    def versions(self) -> list[tuple[str, int]]:
        return sorted(self.published.items())

    def champions(self) -> list[tuple[str]]:
        return [(version,) for version in self.promoted]

    def _settles(self, right: Right, state: RunState, version: str | None) -> bool:
        """Whether the run ends now; False where it did by an earlier call of the same right."""
        run = self.runs[right.run_id]
        try:
            self.check(right)
        except Lost:
            if (run.fence, run.state, run.version) != (right.fence, state, version):
                raise
            return False
        run.state, run.version, run.until = state, version, None
        return True

    def _live(self, run: _Run) -> bool:
        return run.until is not None and run.until > self.now

    def _free(self, run_id: int, *, counted: bool) -> None:
        held = [each for each in self.claims.values() if self._holds(run_id, each)]
        enough = MAX_ATTEMPTS if len(held) == 1 else LAST_ATTEMPT
        for each in held:
            poison = counted and each.attempts >= enough
            each.state = ClaimState.POISON if poison else ClaimState.DOWNLOADED
            each.attempts -= 0 if counted else 1
            each.run_id = run_id if poison else None  # poison goes on naming its last run

    def _holds(self, run_id: int, claim: _Claim) -> bool:
        return claim.run_id == run_id and claim.state is ClaimState.PROCESSING
