"""Decisions that nobody reports on: due, hinted at by the keeper, settled by a worker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.fleet.keeper.relay import Due, settle_pair
from services.fleet.roles import worker
from services.ingester.settings import IngesterSettings
from services.param_controller.app import build
from tests.problems import problem_of
from tests.services.fleet.keeper.conftest import Sent
from tests.services.param_controller.asked import SCHEMA
from tests.services.param_controller.conftest import Api, Make
from tests.waiting import until
from tidewheel.contracts.errors import BadSetting
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.messages import IngestBackfill, IngestSeal, LearnSettle, Message, Queue, ScorePredictions
from tidewheel.contracts.states import OutcomeKind
from tidewheel.kit.celery import Sender
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger

BTC = PairKey("breakout", "BTC/USDT")


@pytest.fixture
def hasty(schemas_dir: Path) -> None:
    """The strategy whose decisions wait a second."""
    (schemas_dir / "breakout.yaml").write_text(SCHEMA.replace("settle_within: 3600", "settle_within: 1"))


def worker_settings(settings: Make, schemas_dir: Path, monkeypatch: pytest.MonkeyPatch) -> IngesterSettings:
    """What the role worker reads, on the same ledger."""
    monkeypatch.setenv("TIDEWHEEL_SCHEMAS_DIR", str(schemas_dir))
    given = settings()
    return load(IngesterSettings, ledger_db=given.ledger_db, data_dir=given.data_dir, auth_mode="dev")


@pytest.mark.usefixtures("hasty")
def test_what_nobody_reports_counts_as_the_default(
    api: Api, ledger: Ledger, settings: Make, schemas_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper hints once at the pair, the worker settles, and a report that comes later is told that it is late."""
    late, told = api.decide(), api.decide()
    assert api.learn(told["preset_id"], reward=3, config_id=told["config_id"]).status_code == 200
    sent = Sent()
    duty = Due(sent, ledger.outcomes.due, settle_pair)

    def hinted() -> bool:
        duty()
        return bool(sent.messages)

    until(hinted)
    duty()
    assert sent.messages == [LearnSettle(strategy="breakout", instrument="BTC/USDT")]
    problem_of(api.learn(late["preset_id"], reward=3, config_id=late["config_id"]), 404, "decision_expired")

    works = worker.build(worker_settings(settings, schemas_dir, monkeypatch), [Queue.LEARN])
    assert works.tasks[LearnSettle](LearnSettle(strategy="breakout", instrument="ETH/USDT")) == 0
    assert works.tasks[LearnSettle](sent.messages[0]) == 1
    assert works.tasks[LearnSettle](sent.messages[0]) == 0, "safe to do twice"
    for close in works.close:
        close()
    kinds = {str(row.decision.config_id): row.outcome for row in ledger.decisions.log(BTC)}
    assert {config: outcome and (outcome.kind, outcome.reward) for config, outcome in kinds.items()} == {
        late["config_id"]: (OutcomeKind.DEFAULTED, -1.0),
        told["config_id"]: (OutcomeKind.REPORTED, 3.0),
    }
    assert ledger.presets.pair(BTC).realised == 3.0 and not ledger.outcomes.due()
    problem_of(api.learn(late["preset_id"], reward=3, config_id=late["config_id"]), 404, "decision_expired")


@pytest.mark.usefixtures("hasty")
def test_a_strategy_without_a_schema_is_left_as_it_is(
    api: Api, ledger: Ledger, settings: Make, schemas_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what its default would be; its decisions wait until the schema is back."""
    api.decide()
    until(ledger.outcomes.due)
    other = SCHEMA.replace("strategy: breakout", "strategy: other")
    (schemas_dir / "breakout.yaml").unlink()
    (schemas_dir / "other.yaml").write_text(other)
    works = worker.build(worker_settings(settings, schemas_dir, monkeypatch), [Queue.LEARN])
    assert works.tasks[LearnSettle](LearnSettle(strategy="breakout", instrument="BTC/USDT")) == 0
    for close in works.close:
        close()
    assert ledger.outcomes.due() == {BTC: 1}


def test_a_worker_is_the_sum_of_its_queues(
    settings: Make, schemas_dir: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what the queues ask for and nothing else; a schema that cannot be used stops it."""
    given = worker_settings(settings, schemas_dir, monkeypatch)
    built = {queues: worker.build(given, queues) for queues in (worker.QUEUES, (Queue.INGEST,), (Queue.LEARN,))}
    ingest: set[type[Message]] = {IngestSeal, IngestBackfill}
    assert {queues: set(service.tasks) for queues, service in built.items()} == {
        worker.QUEUES: ingest | {LearnSettle, ScorePredictions},
        (Queue.INGEST,): ingest,
        (Queue.LEARN,): {LearnSettle},
    }
    for service in built.values():
        assert service.name == "worker" and len(service.close) == 1
        service.close[0]()
    (schemas_dir / "breakout.yaml").write_text("strategy: breakout")
    with pytest.raises(BadSetting, match=r"breakout\.yaml:1: "):
        worker.build(given, worker.QUEUES)
    with pytest.raises(BadSetting, match=r"breakout\.yaml:1: "):
        build(settings())
    worker.build(given, [Queue.INGEST]).close[0]()


@pytest.mark.usefixtures("hasty")
def test_a_worker_process_takes_the_hint_from_the_broker(
    api: Api, ledger: Ledger, settings: Make, schemas_dir: Path, redis_url: str, tmp_path: Path
) -> None:
    """`tidewheel serve worker --queues learn`, as it is run."""
    api.decide()
    until(ledger.outcomes.due)
    given, ready = settings(), tmp_path / "ready"
    environment = {
        **os.environ,
        "LEDGER_DB": given.ledger_db,
        "DATA_DIR": str(given.data_dir),
        "REDIS_URL": redis_url,
        "TIDEWHEEL_SCHEMAS_DIR": str(schemas_dir),
    }
    command = [sys.executable, "-m", "services.fleet.cli", "serve", "worker", "--queues", "learn"]
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen([*command, "--ready-file", str(ready)], env=environment, stdout=log, stderr=log) as it:
        try:
            until(lambda: ready.exists() or it.poll() is not None)
            assert it.poll() is None, (tmp_path / "log").read_text()
            sender = Sender(redis_url)
            sender.send(LearnSettle(strategy="breakout", instrument="BTC/USDT"))
            sender.close()
            until(lambda: not ledger.outcomes.due())
            it.terminate()
            assert it.wait(60) == 0
        finally:
            it.kill()
    (row,) = ledger.decisions.log(BTC)
    assert row.outcome is not None and row.outcome.kind is OutcomeKind.DEFAULTED
