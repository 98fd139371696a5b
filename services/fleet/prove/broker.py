"""R5, broker: the line to the broker goes silent, stalls, breaks; the broker is killed, frozen and emptied.

A Valkey behind a line that can be cut, a trainer in a process of its own, a keeper, and a predictor as the HTTP role.
Runs are ordered in the ledger without a pause; there is nothing to train on, so each ends as soon as a message of it
arrives.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import redis

from services.fleet.keeper.settings import KeeperSettings
from services.fleet.local import embedded
from services.fleet.local.ports import free_ports
from services.fleet.local.processes import START_SECONDS, Child, tail
from services.fleet.prove.apparatus.beside import served, serving
from services.fleet.prove.apparatus.line import Line, State
from services.fleet.prove.ground import Place
from services.fleet.prove.proof import Budget, Tally, Tell
from services.fleet.roles.wiring import build
from services.predictor.settings import PredictorSettings
from tidewheel.contracts.roles import Role
from tidewheel.kit.serve import running
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.ledger.records import Run

BOUND_SECONDS = 30.0  #: from the moment at which the broker can be reached again until a new run has been worked off
TROUBLES = ("silent", "stalled", "reset", "kill", "freeze", "flush")
FLEET = "services.fleet.cli"
_ANSWER_SECONDS = 10.0
_TROUBLE_SECONDS = 4.0
_HINT_SECONDS = 15.0
_LONG_SECONDS = 60.0  #: every tenth trouble lasts until each part has come to its longest pause
_CONSUMER = "hmm"


def prove(
    budget: Budget,
    tell: Tell,
    *,
    trainer: str = FLEET,
    troubles: tuple[str, ...] = TROUBLES,
    bound: float = BOUND_SECONDS,
    longest: float = _TROUBLE_SECONDS,
    hint_seconds: float = _HINT_SECONDS,
) -> Tally:
    """A trial is one trouble of up to `longest` seconds; every tenth is a long one.

    `trainer` is the module that serves the trainer; `hint_seconds` is the keeper's setting.
    """
    dice, tally = random.Random(budget.seed), Tally()
    place = budget.ground.fresh("sqlite")
    slowest = 0.0
    with _fleet(place, trainer, hint_seconds) as fleet:
        fleet.work(START_SECONDS)
        while tally.trials < budget.trials:
            if tally.trials % len(troubles) == 0:
                order = dice.sample(troubles, len(troubles))
            kind = order[tally.trials % len(troubles)]
            lasting = _LONG_SECONDS if tally.trials % 10 == 9 else dice.uniform(0.2, longest)
            wrong = fleet.suffer(kind, lasting)
            seconds = fleet.work(bound)
            tally.trials += 1
            if seconds is None:
                last_words = tail(fleet.trainer.log, 5)
                wrong.append(f"no run was worked off within {bound:.0f} s of its end; the trainer's log:\n{last_words}")
            for what in wrong:
                tally.broken(f"{kind} of {lasting:.1f} s: {what}")
            if seconds is None:
                return tally
            slowest = max(slowest, seconds)
            tell(tally.trials / budget.trials, f"{tally.trials} troubles, slowest return {slowest:.1f} s")
        fleet.settle(bound)
    for wrong_end in _judge(place):
        tally.broken(wrong_end)
    tally.figures.append(f"slowest return {slowest:.1f} s")
    return tally


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fleet:
    """The processes, and what is done to them."""

    ledger: Ledger
    line: Line
    broker: "_Broker"
    trainer: Child
    predictor: str  #: address

    def work(self, patience: float) -> float | None:
        """Seconds until a run that is ordered now has been worked off; None after `patience`."""
        started = time.monotonic()
        if not self.settle(patience):
            return None
        run = self._order()
        return time.monotonic() - started if self._ended(run, started + patience) else None

    def settle(self, patience: float) -> bool:
        """Wait for the run that is under way, if one is."""
        active = [run for run in self.ledger.runs.list(1) if not run.state.final]
        return all(self._ended(run, time.monotonic() + patience) for run in active)

    def suffer(self, kind: str, seconds: float) -> list[str]:
        """One trouble from its beginning to its end, with runs ordered meanwhile; what was wrong in between."""
        begin, end = self._trouble(kind)
        wrong, deadline = [], time.monotonic() + seconds
        begin()
        try:
            while True:
                self._ended(self._order(), min(deadline, time.monotonic() + 0.2))
                wrong += self._asked(away=kind in ("silent", "stalled", "kill", "freeze"))
                if time.monotonic() >= deadline:
                    return wrong
        finally:
            end()

    def _trouble(self, kind: str) -> tuple[Callable[[], object], Callable[[], object]]:
        """What begins it and what ends it."""
        turn, broker = self.line.turn, self.broker
        kinds: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "silent": (partial(turn, State.SILENT), partial(turn, State.WHOLE)),
            "stalled": (partial(turn, State.STALLED), partial(turn, State.WHOLE)),
            "reset": (self.line.reset, self.line.reset),
            "kill": (broker.kill, broker.start),
            "freeze": (partial(broker.send, signal.SIGSTOP), partial(broker.send, signal.SIGCONT)),
            "flush": (broker.flush, broker.flush),
        }
        return kinds[kind]

    def _asked(self, *, away: bool) -> list[str]:
        """The HTTP role answers, and tells of its broker."""
        wrong = []
        for path in ("/health", "/model", "/ready"):
            status, answer = _get(f"{self.predictor}{path}")
            if status != 200:
                wrong.append(f"GET {path} of the predictor answered {status}: {answer}")
            elif path == "/ready" and away and "Bus.ping" not in json.loads(answer).get("degraded", {}):
                wrong.append(f"/ready did not tell that the broker is away: {answer}")
        return wrong

    def _order(self) -> Run:
        return self.ledger.runs.start_or_join(_CONSUMER, _CONSUMER, "prove")[0]

    def _ended(self, run: Run, deadline: float) -> bool:
        while not self.ledger.runs.get(run.id).state.final:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True


class _Broker:
    """A Valkey that is killed and started again on its port."""

    def __init__(self, folder: Path, port: int) -> None:
        self._command = embedded.valkey(folder, port)
        self._log, self._url = folder / "valkey.log", f"redis://127.0.0.1:{port}/0"
        self.start()

    def start(self) -> None:
        self._child = Child(self._command, self._log)
        self._child.await_ready()

    def kill(self) -> None:
        self._child.kill_leftovers()
        self._child.wait_stopped(time.monotonic() + 10)

    def send(self, number: signal.Signals) -> None:
        os.kill(self._child.pid, number)

    def flush(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            client.flushall()


@contextmanager
def _fleet(place: Place, trainer: str, hint_seconds: float) -> Iterator[_Fleet]:
    folder, port = place.data_dir, free_ports(1)[0]
    with ExitStack() as stack:
        broker = _Broker(folder, port)
        stack.callback(broker.kill)
        line = stack.enter_context(Line(port))
        redis_url = f"redis://127.0.0.1:{line.port}/0"
        given = {
            "tidewheel_home": folder, "data_dir": folder, "models_dir": folder / "models", "ledger_db": place.dsn,
            "redis_url": redis_url, "auth_mode": "dev", "bind": "127.0.0.1",
        }  # fmt: skip
        crons = {"ingest_cron": "off", "retrain_cron": "off"}
        keeper = build(Role.KEEPER, load(KeeperSettings, **given, **crons, hint_seconds=hint_seconds))
        stack.enter_context(running(keeper))
        predictor = build(Role.PREDICTOR, load(PredictorSettings, **given))
        url = stack.enter_context(served(create_app(predictor)))
        child = Child(serving(Role.TRAINER, trainer, place, {"REDIS_URL": redis_url}), folder / "trainer.log")
        stack.callback(child.wait_stopped, 0.0)
        child.await_ready()
        ledger = open_ledger(place.dsn, folder)
        stack.callback(ledger.close)
        yield _Fleet(ledger=ledger, line=line, broker=broker, trainer=child, predictor=url)


def _get(url: str) -> tuple[int, str]:
    """Status and answer; status 0 where none came in time."""
    try:
        answer = httpx.get(url, timeout=_ANSWER_SECONDS, trust_env=False)
    except httpx.TransportError as broken:
        return 0, repr(broken)
    return answer.status_code, answer.text


def _judge(place: Place) -> list[str]:
    """Every run that was ordered has ended as it had to, and was worked on once."""
    wrong = place.rows("SELECT id, state, reason, attempts FROM runs WHERE state <> 'skipped' OR attempts <> 1")
    return [f"run {run} ended {state} ({reason}) after {attempts} attempts" for run, state, reason, attempts in wrong]
