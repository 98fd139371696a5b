"""R3, zombies: random steps of several holders over one ledger, each answer and all tables held against a model.

Holders keep every right that they ever got, and go on using it: after its lease ran out, after another took the run
over, after the run ended. The clock of the leases jumps both ways. Answers get lost: what was published or finished
is published or finished again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from services.fleet.prove.apparatus.ledger_model import TTL, Lost, Right, World
from services.fleet.prove.ground import DIALECTS, Rows, difference, seal
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import FenceLost
from tidewheel.contracts.states import Origin, RunState
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.ledger.records import NewVersion
from tidewheel.ledger.run_lease import RunLease

CONSUMER = "hmm"
_EPISODE = 150  #: steps on one ledger, so that its tables stay small enough to be compared after each
_JUMPS = (-0.7, -0.4, 0.4, 0.7, 1.5, 2.0)  #: of the clock, in lease times


def prove(budget: Budget, tell: Tell) -> Tally:
    """A trial is one step; each dialect takes half of them."""
    dice, tally = random.Random(budget.seed), Tally()
    for number, dialect in enumerate(DIALECTS, start=1):
        until = budget.trials * number // len(DIALECTS)
        while tally.trials < until:
            place = budget.ground.fresh(dialect)
            ledger = open_ledger(place.dsn, place.data_dir)
            try:
                with place.session() as rows:
                    _episode(_Stage(rows, ledger, dice), min(_EPISODE, until - tally.trials), tally)
            finally:
                ledger.close()
                budget.ground.drop(place)
            tell(tally.trials / budget.trials, dialect)
    return tally


@dataclass(frozen=True, slots=True)
class _Held:
    """A right, once had: ours to try for ever after, and the model's opinion of it."""

    lease: RunLease
    right: Right


class _Stage:
    """The real ledger and its model, side by side. Each step acts on both, and names the answer of each."""

    def __init__(self, rows: Rows, ledger: Ledger, dice: random.Random) -> None:
        self.rows, self.ledger, self.dice = rows, ledger, dice
        self.world = World()
        self.held: list[_Held] = []
        self._numbers = count(1)

    def step(self) -> tuple[str, str, str]:
        """One step: what it was, what the ledger answered, what the model."""
        dice = self.dice
        if self.held and dice.random() < 0.5:
            # The newest right is often the true one; the others are the zombies.
            held = self.held[-1] if dice.random() < 0.5 else dice.choice(self.held)
            acts = (self.claim, self.renew, self.word, self.publish, self.finish, self.give_back)
            return dice.choices(acts, (8, 4, 2, 1, 0.5, 3))[0](held)
        events = (self.seal, self.start, self.lease, self.jump, self.cancel)
        return dice.choices(events, (2, 2, 8, 6, 0.3))[0]()

    def seal(self) -> tuple[str, str, str]:
        files = self.dice.randint(1, 3)
        seal(self.rows, files)
        self.world.seal(files)
        return f"seal {files}", "", ""

    def start(self) -> tuple[str, str, str]:
        run, joined = self.ledger.runs.start_or_join(CONSUMER, CONSUMER, "prove")
        return "start", f"{run.id} {joined}", "{} {}".format(*self.world.start(run.id))

    def lease(self) -> tuple[str, str, str]:
        if not self.world.runs:
            return self.start()
        newest = [*self.world.runs][-1]
        run_id = newest if self.dice.random() < 0.9 else self.dice.choice([*self.world.runs])
        lease = self.ledger.runs.lease(run_id, f"holder {self.dice.randint(1, 4)}", TTL)
        fence = None if lease is None else lease.lease.fence
        right = self.world.lease(run_id, fence)
        if lease is not None and right is not None:
            self.held.append(_Held(lease, right))
        return f"lease run {run_id}", f"{lease is not None}", f"{right is not None}"

    def jump(self) -> tuple[str, str, str]:
        millis = round(self.dice.choice(_JUMPS) * TTL)
        self.rows("UPDATE leases SET until = until - ? WHERE until > 0", millis)
        self.world.now += millis
        return f"the clock jumps by {millis / TTL:+} leases", "", ""

    def cancel(self) -> tuple[str, str, str]:
        if not self.world.runs:
            return self.start()
        run_id = [*self.world.runs][-1]
        return f"cancel run {run_id}", self.ledger.runs.cancel(run_id, "a person").state, self.world.cancel(run_id)

    def claim(self, held: _Held) -> tuple[str, str, str]:
        limit = self.dice.choice((1, 2, 5, 9))
        changed_at: dict[int, int] = dict(self.rows("SELECT file_id, changed_at FROM claims"))
        return self.both(
            held, f"claim {limit}",
            lambda: sorted(file.id for file in held.lease.claim_files(limit)),
            lambda: self.world.claim(held.right, limit, changed_at),
        )  # fmt: skip

    def renew(self, held: _Held) -> tuple[str, str, str]:
        return self.both(held, "renew", lambda: held.lease.renew(TTL), lambda: self.world.renew(held.right))

    def word(self, held: _Held) -> tuple[str, str, str]:
        return self.both(held, "progress", lambda: held.lease.progress({}), lambda: self.world.check(held.right))

    def publish(self, held: _Held) -> tuple[str, str, str]:
        passed = self.dice.random() < 0.5
        version = held.right.tried or f"v2026-01-01-{next(self._numbers):08x}"
        held.right.tried = version
        new = NewVersion(
            family=CONSUMER, version=version, digest=version[-8:] * 8, data_as_of=0, seed=1, code_digest="prove",
            parent=None, metrics={}, lineage={}, manifest={}, origin=Origin.REPLAY,
        )  # fmt: skip
        verdict = Verdict(steps=(StepResult(step="champion", passed=passed, reason="drawn"),))
        return self.twice(
            held, f"publish {version} {'passed' if passed else 'refused'}",
            lambda: str(held.lease.publish(new, verdict).state),
            lambda: self.world.publish(held.right, version, passed),
        )  # fmt: skip

    def finish(self, held: _Held) -> tuple[str, str, str]:
        state = self.dice.choice((RunState.SKIPPED, RunState.FAILED, RunState.CANCELLED))
        acquitted = state is RunState.SKIPPED and self.dice.random() < 0.3
        return self.twice(
            held, f"finish {state}{', acquitted' if acquitted else ''}",
            lambda: str(held.lease.finish(state, "drawn", acquitted=acquitted).state),
            lambda: self.world.finish(held.right, state, acquitted),
        )  # fmt: skip

    def give_back(self, held: _Held) -> tuple[str, str, str]:
        counted = self.dice.random() < 0.5
        return self.both(
            held, f"give back {'counted' if counted else 'uncounted'}",
            lambda: str(held.lease.give_back(counted=counted).state),
            lambda: self.world.give_back(held.right, counted),
        )  # fmt: skip

    def twice(self, held: _Held, what: str, act: Callable[[], Any], judge: Callable[[], Any]) -> tuple[str, str, str]:
        """Ask; now and then the answer is lost, and the holder asks again."""
        said = self.both(held, what, act, judge)
        if self.dice.random() < 0.4 and said[1] == said[2]:
            return self.both(held, f"again: {what}", act, judge)
        return said

    def both(self, held: _Held, what: str, act: Callable[[], Any], judge: Callable[[], Any]) -> tuple[str, str, str]:
        """What the holder of a right is answered, and should be."""
        right = held.right
        return f"run {right.run_id}, fence {right.fence}: {what}", _answer(act), _answer(judge)

    def compare(self) -> str | None:
        """Where the tables are not what the model holds."""
        rows, world = self.rows, self.world
        return (
            difference(
                "runs (id, state, attempts, version)",
                rows("SELECT id, state, attempts, version FROM runs ORDER BY id"),
                world.run_rows(),
            )
            or difference(
                "claims (file, state, attempts, run)",
                rows("SELECT file_id, state, attempts, run_id FROM claims ORDER BY file_id"),
                world.claim_rows(),
            )
            or difference("versions", rows("SELECT version, run_id FROM versions ORDER BY version"), world.versions())
            or difference("champions", rows("SELECT version FROM promotions ORDER BY id"), world.champions())
        )


def _answer(act: Callable[[], Any]) -> str:
    try:
        return str(act())
    except (FenceLost, Lost):
        return "fence lost"


def _episode(stage: _Stage, steps: int, tally: Tally) -> None:
    """Steps until the first violation: after it, the model knows no more than the ledger."""
    story: list[str] = []
    for _ in range(steps):
        tally.trials += 1
        what, found, expected = stage.step()
        story.append(what)
        wrong = None if found == expected else f"the ledger answered {found!r}, the model {expected!r}"
        wrong = wrong or stage.compare()
        if wrong is not None:
            tally.broken(
                f"{stage.ledger.dialect}, step {tally.trials}: {wrong}; the last steps: {' | '.join(story[-6:])}"
            )
            return
