"""Each call that the document of BounceHunter prints, in its order, by a user who has nothing but the document."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import numpy as np
import pytest

from services.fleet.local.ports import free_ports
from services.fleet.local.processes import Child
from services.fleet.prove.apparatus.beside import serving
from services.fleet.prove.ground import Place
from tests.services.predictor.conftest import NOWHERE
from tests.services.predictor.hunting import training
from tests.tickers import market, stock
from tidewheel.contracts.roles import Role
from tidewheel.contracts.routes import role_for
from tidewheel.ledger.open import Ledger
from tidewheel.public.bouncehunter import BounceHunter, BounceHunterConfig, CachedModel, ModelCache, ModelMetadata

ROOT = "/api/bouncehunter"
SCAN = '{"tickers": ["AAPL", "MSFT", "GOOGL"]}'
PRODUCTION = """{
  "tickers": ["AAPL", "MSFT", "GOOGL"],
  "use_cache": true,
  "force_refresh": false,
  "max_cache_age_hours": 24
}"""
INCREMENTAL = '{"new_tickers": ["TSLA", "AMD"]}'
REFRESH = '{"tickers": ["AAPL"], "force_refresh": true}'
EXPANDING = '{"new_tickers": ["NEW1", "NEW2", "NEW3"]}'

ANSWER = {
    "scan_timestamp", "total_tickers_scanned", "signals_found", "signals", "statistics", "cache_info",
}  # fmt: skip
SIGNAL = {
    "ticker", "signal_date", "probability", "z_score", "rsi2", "bb_deviation", "distance_200ma", "trend_63d",
    "gap_down", "vix_regime", "entry_price", "target_price", "stop_price",
}  # fmt: skip
STATISTICS = {
    "avg_probability", "max_probability", "min_probability", "avg_z_score", "gap_down_count", "training_samples",
}  # fmt: skip
INFO = {
    "config_hash", "model_hash", "version", "created_at", "updated_at", "age_hours", "stale", "training_samples",
    "metrics", "tickers",
}  # fmt: skip


class Caller:
    """Sends bodies as they are printed."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def ask(self, method: str, path: str, body: str | None = None, expect: int = 200) -> dict[str, Any]:
        headers = {} if body is None else {"Content-Type": "application/json"}
        answer = self._client.request(method, f"{ROOT}{path}", content=body, headers=headers)
        assert answer.status_code == expect, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def predictor(place: Place) -> Iterator[Caller]:
    """The role as a process of its own."""
    (port,) = free_ports(1)
    child = Child(
        serving(Role.PREDICTOR, "services.fleet.cli", place, {"REDIS_URL": NOWHERE}, port=port),
        place.data_dir / "predictor.log",
    )
    try:
        child.await_ready()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            yield Caller(client)
    finally:
        child.ask_to_stop()
        child.wait_stopped(monotonic() + 20)


@pytest.fixture
def place(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> Place:
    """A ledger that holds the tickers which the document names; they are made."""
    likely = np.flatnonzero(np.nan_to_num(market().chance["MSFT"]) > 0.75)
    stock(ledger, {ticker: frame.take(slice(likely[-1] + 1)) for ticker, frame in market().frames.items()})
    return Place(ledger_dsn, data_dir)


def test_the_documented_calls(place: Place, ledger: Ledger) -> None:
    """Cold, warm, info, incremental, refresh, clear: six calls as printed, to a predictor with a trainer beside it."""
    assert role_for(f"{ROOT}/scan") is Role.PREDICTOR
    with training(ledger, place.data_dir), predictor(place) as caller:
        cold = caller.ask("POST", "/scan", SCAN)
        warm = caller.ask("POST", "/scan", SCAN)
        info = caller.ask("GET", "/cache/info")
        grown = caller.ask("POST", "/train/incremental", INCREMENTAL)
        alone = caller.ask("POST", "/scan", REFRESH)
        listed = caller.ask("GET", "/cache/list")
        again = caller.ask("POST", "/scan", PRODUCTION)
        unknown = caller.ask("POST", "/train/incremental", EXPANDING, expect=422)
        cleared = caller.ask("DELETE", "/cache/clear")
        left = caller.ask("GET", "/cache/list")

    for answer in (cold, warm, alone, again):
        assert answer.keys() >= ANSWER and answer["statistics"].keys() >= STATISTICS
        assert answer["cache_info"].keys() >= INFO - {"tickers"}
        assert answer["origin"] == "synthetic" and answer["cache_info"]["origin"] == "synthetic"
        assert all(signal.keys() >= SIGNAL for signal in answer["signals"])
    assert [each["cache_info"]["source"] for each in (cold, warm, alone, again)] == [
        "trained", "memory", "trained", "memory",
    ]  # fmt: skip
    assert "MSFT" in [signal["ticker"] for signal in cold["signals"]]
    assert warm["signals"] == cold["signals"] == again["signals"]
    assert (cold["total_tickers_scanned"], cold["signals_found"]) == (3, len(cold["signals"]))
    assert info.keys() >= INFO and info["tickers"] == ["AAPL", "GOOGL", "MSFT"]
    assert [info[name] for name in ("config_hash", "model_hash")] == [
        cold["cache_info"][name] for name in ("config_hash", "model_hash")
    ]
    assert grown["parent"] == info["config_hash"] and grown["tickers"] == ["AAPL", "AMD", "GOOGL", "MSFT", "TSLA"]
    assert grown["training_samples"] > info["training_samples"]
    assert listed["total"] == len(listed["models"]) == 3 and listed["total_bytes"] > 0
    assert "tidewheel import NEW1.csv --symbol NEW1 --timeframe 1d --utc --offline" in unknown["detail"]
    assert (cleared["cleared"], cleared["freed_bytes"] > 0) == (3, True)
    assert (left["models"], left["total"], left["total_bytes"]) == ([], 0, 0)


def test_the_documented_calls_in_python(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor as printed, on the ledger of the settings; its methods and classes by their documented names."""
    monkeypatch.setenv("LEDGER_DB", place.dsn)
    monkeypatch.setenv("DATA_DIR", str(place.data_dir))
    monkeypatch.chdir(tmp_path)
    config = BounceHunterConfig.of(["AAPL", "MSFT", "GOOGL"])
    scanner = BounceHunter(
        config=config,
        use_cache=True,
        cache_dir=Path("./model_cache"),
        max_cache_age_hours=24,
    )
    fitted = scanner.fit()
    found = scanner.scan()
    grown = scanner.fit_incremental(["TSLA", "AMD"])
    scanner.close()

    assert "MSFT" in [signal.ticker for signal in found.signals]
    assert isinstance(fitted, ModelMetadata) and fitted.version == "1.0"
    assert grown.parent == fitted.config_hash and grown.training_samples > fitted.training_samples
    entries = sorted(path.name for path in (tmp_path / "model_cache").glob("bouncehunter_*"))
    assert entries == sorted(f"bouncehunter_{each.config_hash[:16]}" for each in (fitted, grown))
    cached = ModelCache(tmp_path / "model_cache").get(fitted.config_hash)
    assert isinstance(cached, CachedModel) and cached.metadata == fitted
