"""docs/engine.md: its complete engine and its curl line run as they are printed, against live services."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx

from services.fleet.prove.apparatus.beside import served
from services.param_controller.app import build as build_controller
from services.param_controller.settings import SHIPPED, ParamSettings
from services.predictor.app import build as build_predictor
from services.predictor.settings import PredictorSettings
from tests.libs.modelstore.regimes import published_regime
from tests.services.predictor.conftest import BTC, NOWHERE, bars, stored
from tidewheel.contracts.keys import PairKey
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore

PAGE = (Path(__file__).parents[1] / "docs" / "engine.md").read_text()
EXAMPLE = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "__main__" in block)
REGISTRATION = json.loads(re.search(r"-d '(\{.*?\})'", PAGE, re.DOTALL)[1])  # type: ignore[index]


def test_the_engine_of_the_docs_trades_once(ledger: Ledger, ledger_dsn: str, data_dir: Path, tmp_path: Path) -> None:
    """It asks for the regime and the parameters, tags, settles, and the outcome is in the ledger."""
    store = ModelStore(tmp_path / "models")
    store.point("hmm", published_regime(store))
    stored(ledger, BTC, bars(80))
    shared = {"ledger_db": ledger_dsn, "data_dir": data_dir, "redis_url": NOWHERE, "auth_mode": "dev"}
    predictor = build_predictor(load(PredictorSettings, models_dir=store.models_dir, **shared))
    controller = build_controller(load(ParamSettings, schemas_dir=SHIPPED, **shared))
    with served(create_app(predictor)) as hmm, served(create_app(controller)) as param:
        menu = httpx.post(f"{param}/preset/register/momentum_breakout/BTC%2FUSDT", json=REGISTRATION)
        assert menu.status_code == 201, menu.text
        addresses = {"HMM_URL": hmm, "PARAM_CONTROLLER": param, "STREAM": str(BTC)}
        done = subprocess.run(
            [sys.executable, "-c", EXAMPLE], env={**os.environ, **addresses}, capture_output=True, text=True, timeout=60
        )

    assert done.returncode == 0, done.stderr
    assert "'learnt': True" in done.stdout
    (logged,) = ledger.decisions.list(PairKey("momentum_breakout", "BTC/USDT"))
    assert logged.outcome is not None and logged.outcome.reward == 0.8
    assert logged.decision.features_used["hmm_trend"]["source"] == "request"


def test_the_engine_of_the_docs_is_short() -> None:
    """Forty lines, blank ones and all but."""
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 40
