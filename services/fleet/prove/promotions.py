"""R8, promotions: models are promoted one after another under load from outside, and no caller notices but by better
answers.

A real fleet runs; this process is the trainer that publishes, and another sends predictions through the edge.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from services.fleet.demo.load import LOGRET, Answered, read
from services.fleet.local.fleet import VALKEY, Fleet, Plan
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor
from services.fleet.prove.apparatus.bundles import FAMILY, about
from services.fleet.prove.programs import recorded_steps
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.roles import PORTS, Role
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.open import Ledger, open_ledger
from tidewheel.models.regime import RegimeModel
from tidewheel.models.statistics import Statistics
from tidewheel.modelstore.store import ModelStore

RATE = 200.0  #: requests a second
WITHIN_MS = 1_000  #: from the publish to the first answer of the new version
_PATIENCE = 20.0
_BETWEEN = 0.5  #: seconds for which a version answers alone
_SAME = 1e-9  #: by which two answers of one model may differ
_SETTINGS = {"AUTH_MODE": "dev", "INGEST_CRON": "off", "RETRAIN_CRON": "off"}


def prove(budget: Budget, tell: Tell) -> Tally:
    """A trial is a promotion."""
    home = budget.ground.folder / f"promotions-{time.monotonic_ns()}"
    home.mkdir()
    plan = _plan(home)
    published: dict[str, UtcMillis] = {}
    expected: dict[str, float] = {}
    with Supervisor(home, lambda _: None) as supervisor:
        fleet = Fleet(plan, supervisor)
        tell(0.0, "starting the fleet")
        fleet.start()
        ledger = open_ledger(f"sqlite:///{home / 'ml' / 'manifest.sqlite'}", home / "ml")
        store, answers = ModelStore(home / "models"), home / "load.jsonl"
        try:
            for number in range(budget.trials + 1):
                model = _model(number)
                version = _publish(ledger, store, model)
                published[version] = time.time_ns() // 1_000_000
                expected[version] = model.filter(LOGRET).latest().probs["bull"]
                if number == 0:
                    _wait_for(lambda: store.current(FAMILY) is not None, "the first model is not current")
                    time.sleep(2.0)
                    ready = lambda: answers.exists() and answers.stat().st_size > 0  # noqa: E731
                    arguments = (plan.url(Role.EDGE), str(RATE), str(answers))
                    supervisor.start([fleet.module("load", "services.fleet.demo.load", *arguments, ready=ready)])
                _wait_for(lambda v=version: v in _newest(answers), f"{version} does not answer")  # type: ignore[misc]
                time.sleep(_BETWEEN)
                tell(number / budget.trials, f"{number} of {budget.trials} promotions")
            supervisor.end("load")
        finally:
            ledger.close()
    return judge(read(answers), published, expected)


def judge(requests: Sequence[Answered], published: Mapping[str, UtcMillis], expected: Mapping[str, float]) -> Tally:
    """Count failures, answers that no one version gave, and versions that came late.

    Args:
        requests: everything that was sent.
        published: version -> when the ledger had it, in the order of publishing; the first one opened the load.
        expected: version -> what it answers.
    """
    tally = Tally(trials=len(published) - 1)
    for each in requests:
        if each.failed:
            tally.broken(f"a request was answered {each.status or 'not at all'} after {each.milliseconds:.0f} ms")
        elif each.version is None or each.body_version != each.version or each.version not in expected:
            tally.broken(f"an answer of {each.version} says that it is of {each.body_version}")
        elif each.bull is None or abs(each.bull - expected[each.version]) > _SAME:
            tally.broken(f"{each.version} answered {each.bull}, and its model says {expected[each.version]}")
    waits = []
    for version, at in [*published.items()][1:]:
        first = min((each.answered_at for each in requests if each.version == version), default=None)
        if first is None:
            tally.broken(f"{version} never answered")
            continue
        waits.append(first - at)
        if first - at > WITHIN_MS:
            tally.broken(f"{version} answered {first - at:.0f} ms after it was published")
    if waits and requests:
        seconds = (requests[-1].sent_at - requests[0].sent_at) / 1_000
        tally.figures.append(
            f"{len(requests)} requests, {len(requests) / max(seconds, 0.001):.0f} a second; a new version "
            f"answered after {statistics.median(waits):.0f} ms (median), {max(waits):.0f} ms (longest)"
        )
    return tally


def _plan(home: Path) -> Plan:
    names = (*PORTS, VALKEY)
    kept = ("PATH", "HOME", "USER", "LANG", "TMPDIR", "VIRTUAL_ENV")
    return Plan(
        home=home,
        cwd=home,
        host="127.0.0.1",
        ports=dict(zip(names, free_ports(len(names)), strict=True)),
        environment={name: os.environ[name] for name in kept if name in os.environ},
        settings=_SETTINGS,
    )


def _model(number: int) -> RegimeModel:
    """A sound model, a little other than the one before."""
    return RegimeModel(
        step=60_000,
        startprob=np.full(3, 1 / 3),
        transmat=np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]]),
        means=np.array([[0.2 + 0.01 * number, 0.0], [-0.5, 0.7], [0.0, -0.9]]),
        covars=np.array([[1.0, 0.1], [4.0, 0.1], [0.16, 0.1]]),
        scales={},
        default_scale=1e-3,
        statistics=Statistics(np.ones((3, 3)), np.ones(3), np.zeros((3, 2)), np.ones((3, 2))),
        seed=number,
        restarts=1,
    )


def _publish(ledger: Ledger, store: ModelStore, model: RegimeModel) -> str:
    staged = store.stage(FAMILY, model.to_payload(), about(model.seed))
    try:
        with store.publishing(staged):
            recorded_steps.publish(ledger, staged)
    finally:
        store.discard(staged)
    return staged.version


def _newest(answers: Path) -> str:
    """The end of what the load has written."""
    with answers.open("rb") as lines:
        lines.seek(max(0, answers.stat().st_size - 4_000))
        return lines.read().decode()


def _wait_for(met: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not met():
        if time.monotonic() > deadline:
            raise Unavailable(f"{otherwise} after {_PATIENCE:.0f} s")
        time.sleep(0.02)
