"""The whole way: POST /train, outbox, keeper, broker, Celery worker process, child, gate, symlink."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from fastapi.testclient import TestClient

from services.fleet.keeper.app import build as build_keeper
from services.fleet.keeper.settings import KeeperSettings
from services.ml_trainer.app import build as build_service
from services.ml_trainer.service.fitting import CHILD_MODULE
from services.ml_trainer.settings import TrainerSettings
from services.predictor.app import build as build_predictor
from services.predictor.settings import PredictorSettings
from tests.services.ml_trainer.conftest import BARS, CHILDREN, Feed, market
from tests.tickers import stock
from tests.waiting import until
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.dips import dips_market
from tidewheel.modelstore.store import ModelStore


@contextmanager
def worker(settings: TrainerSettings, redis_url: str, child: str = CHILD_MODULE) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker process on the test's ledger, killed at the end if it still lives."""
    environment = {
        **os.environ,
        "TIDEWHEEL_HOME": str(settings.tidewheel_home),
        "DATA_DIR": str(settings.data_dir),
        "MODELS_DIR": str(settings.models_dir),
        "LEDGER_DB": settings.ledger_db,
        "REDIS_URL": redis_url,
        "MIN_TRAIN_BARS": "500",
        "TIDEWHEEL_TRAIN_RESTARTS": "3",
        "TIDEWHEEL_TRAIN_LEASE_SECONDS": "6",
    }
    environment.pop("TIDEWHEEL_INSTANCE", None)
    command = [sys.executable, "-m", "tests.services.ml_trainer.working", child]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def keeper(settings: TrainerSettings, redis_url: str, ledger: Ledger) -> Iterator[None]:
    """A leading keeper without a timetable."""
    common = {name: getattr(settings, name) for name in ("tidewheel_home", "data_dir", "models_dir", "ledger_db")}
    service = build_keeper(
        load(
            KeeperSettings,
            redis_url=redis_url,
            auth_mode="dev",
            ingest_cron="off",
            retrain_cron="off",
            hint_seconds=1.0,
            **common,
        )
    )
    for loop in service.loops:
        loop.start()
    yield
    for loop in service.loops:
        loop.stop()
    for close in service.close:
        close()


@pytest.mark.usefixtures("keeper")
def test_candles_become_the_served_version(
    settings: TrainerSettings, redis_url: str, ledger: Ledger, store: ModelStore, feed: Feed
) -> None:
    """One POST, and `current` points at a promoted version that a worker process made."""
    feed(market(BARS, 1))
    patient = settings.model_copy(update={"train_wait_seconds": 120.0})
    with worker(settings, redis_url), TestClient(create_app(build_service(patient))) as client:
        answer = client.post("/train")

    assert answer.status_code == 200
    assert answer.json()["status"] == "promoted", answer.json()
    assert answer.json()["progress"]["restarts"] == 3
    assert store.current("hmm") == answer.json()["version"]


@pytest.mark.usefixtures("keeper")
def test_sigterm_returns_run_and_files_and_another_worker_finishes(
    settings: TrainerSettings, redis_url: str, ledger: Ledger, feed: Feed, canned: str
) -> None:
    """Within ten seconds the worker is gone, its child dead, its lease free; the keeper's next hint finds the run."""
    feed(market(BARS, 1))
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    with worker(settings, redis_url, f"{CHILDREN}.sleeper") as stopped:
        until(lambda: "pid" in ledger.runs.get(run.id).progress, seconds=60)
        child = ledger.runs.get(run.id).progress["pid"]
        stopped.send_signal(signal.SIGTERM)
        stopped.wait(10)

    assert not psutil.pid_exists(child)
    assert ledger.runs.get(run.id).state is RunState.QUEUED
    assert ledger.claims.states("hmm").get(ClaimState.PROCESSING, 0) == 0
    with worker(settings, redis_url, canned):
        until(lambda: ledger.runs.get(run.id).state.final, seconds=60)
    assert ledger.runs.get(run.id).state is RunState.PROMOTED


@pytest.mark.usefixtures("keeper")
def test_a_killed_worker_s_run_is_taken_over(
    settings: TrainerSettings, redis_url: str, ledger: Ledger, feed: Feed, canned: str
) -> None:
    """kill -9 of the worker: its child dies with it, and once the lease has ended another worker publishes, once."""
    feed(market(BARS, 1))
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    with worker(settings, redis_url, f"{CHILDREN}.sleeper") as killed:
        until(lambda: "pid" in ledger.runs.get(run.id).progress, seconds=60)
        child = psutil.Process(ledger.runs.get(run.id).progress["pid"])
        killed.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)

    with worker(settings, redis_url, canned):
        until(lambda: ledger.runs.get(run.id).state.final, seconds=60)

    done = ledger.runs.get(run.id)
    assert (done.state, done.attempts, done.claimed_files) == (RunState.PROMOTED, 2, 1)
    assert len(ledger.versions.promotions("hmm")) == 1


@pytest.mark.usefixtures("keeper")
def test_a_scan_waits_for_the_worker_that_fits_its_model(
    settings: TrainerSettings, redis_url: str, ledger: Ledger
) -> None:
    """Without a worker 503; with one the scan's run goes through outbox, broker, worker and child, and is answered;
    once it has ended in order it is at once known to be gone, and the cached model serves on."""
    tickers = ["AAPL", "AMD", "MSFT"]
    stock(ledger, dips_market(tickers, 900).frames)
    shared = ("tidewheel_home", "data_dir", "models_dir", "ledger_db")
    chosen = load(
        PredictorSettings,
        **{name: getattr(settings, name) for name in shared},
        redis_url=redis_url,
        auth_mode="dev",
    )
    scan = {"tickers": tickers}
    with TestClient(create_app(build_predictor(chosen))) as client:
        assert client.post("/api/bouncehunter/scan", json=scan).json()["code"] == "role_away"
        with worker(settings, redis_url) as process:
            until(lambda: ledger.replicas.hears_of(Role.TRAINER))
            first = client.post("/api/bouncehunter/scan", json=scan)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        again = client.post("/api/bouncehunter/scan", json=scan)
        assert client.post("/api/bouncehunter/scan", json=scan | {"use_cache": False}).json()["role"] == "trainer"

    assert first.status_code == 200, first.text
    (run,) = ledger.runs.list()
    assert (run.state, run.consumer[:7], run.claimed_files) == (RunState.PROMOTED, "bounce-", 0)
    told = first.json()["cache_info"]
    assert (told["source"], told["run_id"], told["bundle"]) == ("trained", run.id, run.version)
    assert (again.json()["cache_info"]["source"], again.json()["signals"]) == ("memory", first.json()["signals"])
