"""A registry run from hours to verdict, and what is served then."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.service.registry.hours import hours_of
from services.ml_trainer.service.registry.ordering import order
from services.ml_trainer.service.trainer import Trainer
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from services.predictor.app import build as build_predictor
from services.predictor.settings import PredictorSettings
from tests.libs.ledger.registry.registering import register
from tests.libs.registry.models import skops_bytes
from tests.services.ml_trainer.conftest import CHILDREN, Feed, InThread
from tests.services.ml_trainer.hourly import HOURLY, HOURS, START, FitHere, kinked, reverting
from tests.waiting import until
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import RunState
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame
from tidewheel.features.hourly import BASE, table, target, to_hours
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run
from tidewheel.modelstore.store import ModelStore
from tidewheel.registry.export import FILE_NAME
from tidewheel.registry.service import ModelService

OTHER = StreamKey.parse("a_first_one:ABC/USDT:1h")  #: the stream that is meant where a model has none of its own
Train = Callable[..., Run]


@pytest.fixture
def trainer(ledger: Ledger, settings: TrainerSettings) -> Trainer:
    """One that fits in this process; the baseline's file is there, for writing it takes seconds."""
    settings.trained_models_dir.mkdir(exist_ok=True)
    (settings.trained_models_dir / FILE_NAME).touch()
    return build_trainer(ledger, FitHere(settings.data_dir / "work"), settings)


@pytest.fixture
def in_a_child(ledger: Ledger, settings: TrainerSettings) -> Trainer:
    """One that fits as a worker does."""
    return build_trainer(ledger, FitChild(settings.data_dir / "work"), settings)


@pytest.fixture
def train(ledger: Ledger, trainer: Trainer) -> Train:
    """Order a run and carry it out."""

    def carried_out(name: str = "baseline", by: Trainer = trainer) -> Run:
        run = by.run(order(ledger, name, HOURLY, "test")[0].id)
        assert run is not None
        return run

    return carried_out


def test_what_is_trained_is_served_at_once(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, train: Train, in_a_child: Trainer
) -> None:
    """The first baseline is champion at once, a forest that sees what it does not becomes the champion of its own name;
    a predictor that has run since before answers with both."""
    frame = kinked()
    feed(frame, HOURLY)
    predictor = load(
        PredictorSettings,
        **{name: getattr(settings, name) for name in ("tidewheel_home", "data_dir", "models_dir", "ledger_db")},
        trained_models_dir=settings.trained_models_dir,
        redis_url="redis://127.0.0.1:1/0",
        auth_mode="dev",
    )
    with TestClient(create_app(build_predictor(predictor))) as client:
        assert client.get("/predict/baseline/3").json()["code"] == "model_not_found"
        baseline, forest = train("baseline", in_a_child), train("random_forest")
        feed(frame, OTHER)
        told = {name: client.get(f"/predict/{name}/3").json() for name in ("baseline", "random_forest")}
        elsewhere = client.get("/predict/baseline/3", params={"stream": str(OTHER)}).json()

    assert (baseline.state, forest.state) == (RunState.PROMOTED, RunState.PROMOTED), (baseline, forest)
    assert (baseline.claimed_files, baseline.window_bars) == (0, HOURS - HOURS // 5)
    assert baseline.progress == {"horizon": 168, "done": 4, "horizons": 4}
    assert (baseline.reason or "").startswith("left out: 24 h: ")
    assert baseline.verdict is not None and forest.verdict is not None
    steps = ["schema", "digest", "canary", "forecast_champion"]
    assert [step.step for step in baseline.verdict.steps] == [step.step for step in forest.verdict.steps] == steps
    assert "is the first of its name" in baseline.verdict.steps[-1].reason
    assert forest.verdict.steps[-1].numbers["opponent"] == f"baseline {baseline.version}"
    assert (elsewhere["stream"], elsewhere["predicted_value"]) == (str(OTHER), told["baseline"]["predicted_value"])
    assert elsewhere["warnings"] == [
        f"baseline {baseline.version} learnt {HOURLY} and never saw {OTHER}: interval and skill are of there"
    ]
    for name, run in (("baseline", baseline), ("random_forest", forest)):
        assert (told[name]["stream"], told[name]["warnings"]) == (str(HOURLY), [])
        assert told[name]["model_version"] == run.version
        assert told[name]["base_timestamp"] == int(frame.open_time[-1])
        assert told[name]["interval"]["source"] == "calibration"
        row = ledger.registry.get(name)
        assert row is not None and (row.version, row.run_id, row.stream) == (run.version, run.id, HOURLY)
        assert row.data_as_of == int(frame.open_time[-1]) + HOUR
        assert row.metrics["horizons"].keys() == {"1", "3"}


def test_what_is_not_surely_better_is_registered_and_moves_nothing(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, train: Train, in_a_child: Trainer
) -> None:
    """The forest stands on record with its verdict and no alias. Nothing repeats it while neither hours nor opponent
    change; a sibling on the same hours is the same model to the byte, fitted in another process."""
    feed(reverting(), HOURLY)
    baseline = train()

    first = train("random_forest")
    unchanged = train("random_forest")
    sibling = train("random_forest-again", in_a_child)

    assert first.state is RunState.REFUSED
    assert first.verdict is not None and first.verdict.refusal is not None
    assert first.verdict.refusal.step == "forecast_champion"
    assert first.verdict.refusal.reason.startswith(f"not surely better than baseline {baseline.version}")
    assert ledger.registry.get("random_forest") is None
    (row,) = ledger.registry.versions("random_forest")
    assert row.version == first.version and row.verdict == first.verdict
    assert unchanged.state is RunState.SKIPPED
    assert (unchanged.reason or "").startswith(f"no_new_data: random_forest {first.version} was made of these very h")
    store = ModelStore(settings.trained_models_dir)
    files = [dict(store.open(run.family, run.version).files) for run in (first, sibling)]
    assert files[0] == files[1]


def test_a_champion_that_a_user_makes_during_the_fit_stays(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, train: Train
) -> None:
    """The run has compared nothing with it, so its version stands beside it, the first baseline of ours too."""

    class Interrupted(FitHere):
        def run(self, *word: Any) -> dict[str, bytes]:
            register(ledger, name="baseline")
            return super().run(*word)

    feed(kinked(), HOURLY)
    run = train("baseline", build_trainer(ledger, Interrupted(settings.data_dir / "work"), settings))

    assert (run.state, (run.reason or "").partition(":")[0]) == (RunState.REFUSED, "champion_moved")
    users, ours = ledger.registry.get("baseline"), ledger.registry.get("baseline", run.version)
    assert users is not None and users.registered_by == "desk"
    assert ours is not None and ours.run_id == run.id


def test_a_users_champion_is_the_opponent_at_its_own_features(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, train: Train
) -> None:
    """A file in price units stands for its name, be it `baseline`: it is asked on the very hours, and only what beats
    it takes its place. Equal hours are the same version again, judged anew for the opponent is another."""
    from sklearn.linear_model import LinearRegression

    frame = reverting()
    feed(frame, HOURLY)
    first = train()
    rows, came = table(frame, BASE, horizon=1, relative=False), target(frame, 1, relative=False)
    yesterday = LinearRegression(fit_intercept=False).fit(rows[200:230], rows[200:230, BASE.index("lag_24h")])
    (settings.trained_models_dir / "yesterday.skops").write_bytes(skops_bytes(yesterday))
    service = ModelService(settings.trained_models_dir)
    theirs = service.register_model("baseline", "Yesterday", [1], "yesterday.skops", db=ledger)
    ledger.registry.move_alias("baseline", "champion", theirs.version, "desk", "mine")

    run = train()

    assert (run.state, run.version) == (RunState.PROMOTED, first.version), run
    assert run.verdict is not None
    assert run.verdict.steps[-1].reason.startswith(f"better than baseline {theirs.version}: ")
    held_out = np.arange(HOURS - HOURS // 5, HOURS - 1)
    errors = np.abs(yesterday.predict(rows[held_out]) - came[held_out]) / frame.close[held_out]
    told = run.verdict.steps[-1].numbers["horizons"]["1"]["opponent_mae"]
    assert told == pytest.approx(float(errors.mean()), rel=1e-9)
    assert [move.version for move in ledger.registry.moves("baseline")] == [
        first.version, theirs.version, first.version
    ]  # fmt: skip
    assert len(ledger.registry.versions("baseline")) == 2


def test_a_baseline_that_looks_further_needs_no_verdict_and_is_measured_on_hours_that_nobody_saw(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, train: Train
) -> None:
    """Of 345 hours the first one looks an hour ahead. With 75 earlier ones the next looks a day ahead, too; it is
    compared on nothing that the first has learnt from, though the last fifth begins before that."""
    frame = kinked()
    feed(frame.between(int(frame.open_time[75]), None), HOURLY)
    first = train()
    with ledger.leases.hold(f"stream:{HOURLY}", "test", 10_000) as held:
        ledger.bars.append(held.lease, HOURLY, frame.between(None, int(frame.open_time[75])), "test")

    second = train()

    assert (first.state, second.state) == (RunState.PROMOTED, RunState.PROMOTED)
    assert second.verdict is not None
    assert "looks [3, 24] h ahead, too; " in second.verdict.steps[-1].reason
    bundle = ModelStore(settings.trained_models_dir).open("baseline", second.version)
    assert bundle.manifest.lineage["holdout_from"] == int(frame.open_time[75 + 345 - 345 // 5])
    row = ledger.registry.get("baseline")
    assert row is not None and (row.version, row.prediction_horizons) == (second.version, (1, 3, 24))


def test_a_killed_fit_is_tried_again(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, trainer: Trainer, in_thread: InThread
) -> None:
    """kill -9 of the child: the run goes back to the queue, says why, and its next attempt publishes, once."""
    feed(kinked(), HOURLY)
    run_id = order(ledger, "baseline", HOURLY, "test")[0].id
    sleeping = build_trainer(ledger, FitChild(settings.data_dir / "work", f"{CHILDREN}.sleeper"), settings)
    in_thread(lambda: sleeping.run(run_id))
    until(lambda: "pid" in ledger.runs.get(run_id).progress)

    os.kill(ledger.runs.get(run_id).progress["pid"], signal.SIGKILL)

    until(lambda: ledger.runs.get(run_id).state is RunState.QUEUED)
    assert ledger.runs.get(run_id).reason == "the fit was killed by SIGKILL"
    assert ledger.registry.all() == []
    again = trainer.run(run_id)
    assert again is not None and (again.state, again.attempts) == (RunState.PROMOTED, 2)
    assert [row.version for row in ledger.registry.all()] == [again.version]


def test_a_worker_that_dies_between_bundle_and_ledger_leaves_one_version(
    ledger: Ledger, settings: TrainerSettings, feed: Feed, trainer: Trainer
) -> None:
    """kill -9 when the files have their name and the ledger knows nothing: the next attempt finds them and says so."""
    feed(kinked(), HOURLY)
    run_id = order(ledger, "baseline", HOURLY, "test")[0].id
    given = {
        "TIDEWHEEL_HOME": str(settings.tidewheel_home),
        "DATA_DIR": str(settings.data_dir),
        "LEDGER_DB": settings.ledger_db,
        "TIDEWHEEL_TRAIN_LEASE_SECONDS": "1",
    }

    dying = [sys.executable, "-m", "tests.services.ml_trainer.dying", str(run_id)]
    killed = subprocess.run(dying, env=os.environ | given, stdout=subprocess.DEVNULL, check=False)

    store = ModelStore(settings.trained_models_dir)
    assert killed.returncode == -signal.SIGKILL
    (named,) = store.versions("baseline")
    assert ledger.registry.all() == []
    until(lambda: trainer.run(run_id))
    run = ledger.runs.get(run_id)
    assert (run.state, run.version, run.attempts) == (RunState.PROMOTED, named, 2)
    assert store.versions("baseline") == [named] == [row.version for row in ledger.registry.all()]


def test_all_complete_hours_of_a_stream_are_read(ledger: Ledger, feed: Feed) -> None:
    """Bars of half an hour over two months, in a file, in the tail and with holes, give the hours of one read."""
    half = StreamKey.parse("binance:BTC/USDT:30m")
    whole = kinked(2_900)
    rows = [(START + bar * half.step, *rest) for bar, (_, *rest) in enumerate(whole.rows())]
    frame = CandleFrame.from_rows(half.step, rows).take(np.r_[1:700, 703:2_900])
    feed(frame.take(slice(2_000)), half)
    with ledger.leases.hold(f"stream:{half}", "test", 10_000) as held:
        ledger.bars.append(held.lease, half, frame.take(slice(2_000, None)), "test")
    stream = ledger.streams.get(half)
    assert stream is not None

    hours = hours_of(ledger, stream)

    assert np.array_equal(hours.open_time, to_hours(frame).open_time)
    assert np.array_equal(hours.matrix(), to_hours(frame).matrix())
    assert len(hours) == 1_450 - 3, "the first hour and two at the hole lack a bar"
