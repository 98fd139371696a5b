"""P6: forecasts of a registered model over HTTP from 16 connections, ours beside FastAPI before `inplace_predict`.

A round is 320 requests, so 320 by its seconds are requests a second. The same file of 200 trees answers on both sides.
Ours reads the stream's newest hours, makes the features, checks their spacing and tells interval, coverage and version;
the peer is sent the features. The clients share the machine with the server.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.serving import Engines, app_command, running
from services.fleet.local.ports import free_ports
from services.fleet.prove.apparatus.beside import serving
from services.fleet.prove.ground import Place
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import ModelFormat, Origin
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.hourly import BASE, latest, table, target, to_hours
from tidewheel.ledger.open import migrate, open_ledger
from tidewheel.market.sim.scenario import demo
from tidewheel.registry.formats.kinds import load

REQUESTS, TREES = 320, 200
STREAM = StreamKey.parse("binance:BTC/USDT:1h")


@pytest.fixture(scope="module")
def hours() -> CandleFrame:
    """Thirty days of the simulated market, by the hour."""
    return to_hours(demo(1).series[0].frame)


@pytest.fixture(scope="module")
def row(hours: CandleFrame) -> Floats:
    """The newest features, [1, 5]."""
    return latest(hours, BASE, horizon=3, relative=False)[None, :]


@pytest.fixture(scope="module")
def home(hours: CandleFrame) -> Iterator[Path]:
    """A folder with a model in it."""
    import xgboost

    rows, wanted = table(hours, BASE, horizon=3, relative=False), target(hours, 3, relative=False)
    known = ~(np.isnan(rows).any(axis=1) | np.isnan(wanted))
    model = xgboost.XGBRegressor(n_estimators=TREES, max_depth=6, n_jobs=1).fit(rows[known], wanted[known])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trained_models").mkdir()
        model.save_model(Path(folder) / "trained_models" / "model.ubj")
        yield Path(folder)


@pytest.fixture(scope="module")
def file(home: Path) -> Path:
    """The model's file."""
    return home / "trained_models" / "model.ubj"


@pytest.fixture(scope="module")
def ours(home: Path, hours: CandleFrame) -> Iterator[tuple[Engines, str, dict[str, Any]]]:
    """The product's predictor over SQLite."""
    dsn = f"sqlite:///{home / 'manifest.sqlite'}"
    migrate(dsn, home)
    ledger = open_ledger(dsn, home)
    ledger.streams.register(STREAM, Origin.SYNTHETIC)
    with ledger.leases.hold(f"stream:{STREAM}", "bench", 30_000) as held:
        ledger.bars.append(held.lease, STREAM, hours, "bench")
    ledger.close()
    (port,) = free_ports(1)
    settings = {
        "TIDEWHEEL_MAX_IN_FLIGHT": "64",
        "TRAINED_MODELS_DIR": str(home / "trained_models"),
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = serving(Role.PREDICTOR, "services.fleet.cli", Place(dsn, home), settings, port=port)
    with running(list(command.argv), dict(command.env), port, "/health") as engines:
        model = {
            "model_name": "bench", "model_type": "XGBoost", "prediction_horizons": [3], "file_path": "model.ubj",
        }  # fmt: skip
        engines.all([("POST", "/models/register", json.dumps(model))])
        yield engines, "/predict", {"model_name": "bench", "prediction_horizon": 3}


@pytest.fixture(scope="module")
def peer(file: Path, row: Floats) -> Iterator[tuple[Engines, str, dict[str, Any]]]:
    """FastAPI before XGBoost."""
    (port,) = free_ports(1)
    argv, environment = app_command("benchmarks.peers.xgboost_app", port)
    with running(argv, environment | {"PEER_MODEL": str(file)}, port, "/docs") as engines:
        yield engines, "/predict", {"features": row[0].tolist()}


@pytest.mark.benchmark(group="POST /predict, 320 requests from 16 connections")
@pytest.mark.parametrize("side", ["ours", "peer"])
def test_predict(benchmark: Any, side: str, file: Path, row: Floats, request: pytest.FixtureRequest) -> None:
    """Forecasts, which agree to 1e-6."""
    engines, path, body = request.getfixturevalue(side)
    asked = [("POST", path, json.dumps(body))] * REQUESTS

    found = benchmark.pedantic(engines.all, (asked,), rounds=7, warmup_rounds=1)

    expected = load(ModelFormat.XGBOOST, file.read_bytes()).predict(row)[0, 0]
    np.testing.assert_allclose([each["predicted_value"] for each in found], expected, rtol=1e-6)


@pytest.mark.benchmark(group=f"load a model of {TREES} trees")
def test_load_tidewheel(benchmark: Any, file: Path, row: Floats) -> None:
    """Read, every tree looked at, loaded; once for each version, whoever asks."""
    found = benchmark(lambda: load(ModelFormat.XGBOOST, file.read_bytes()))

    assert np.isfinite(found.predict(row)).all()


@pytest.mark.benchmark(group=f"load a model of {TREES} trees")
def test_load_xgboost(benchmark: Any, file: Path) -> None:
    """By XGBoost alone, which follows whatever indices the file has."""
    import xgboost

    benchmark(lambda: xgboost.Booster({"nthread": 1}, model_file=bytearray(file.read_bytes())))
