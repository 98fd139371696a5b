"""BounceHunter from Python, as its document constructs it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.libs.bounce.universe import CONFIG, close_of, entry, frames, stocked
from tidewheel.bounce.entries import family_of
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.errors import BadInput, SchemaMismatch
from tidewheel.contracts.times import HOUR
from tidewheel.ledger.open import Ledger
from tidewheel.public.bouncehunter import BounceHunter, ModelCache

FIT = """
import sys
from pathlib import Path
from tests.libs.bounce.universe import CONFIG
from tidewheel.public.bouncehunter import BounceHunter, DailyBars
from tidewheel.public.models import open_ledger
ledger = open_ledger(sys.argv[1], Path(sys.argv[2]))
scanner = BounceHunter(config=CONFIG, cache_dir=sys.argv[3], bars=DailyBars(ledger))
print("ready", flush=True)
sys.stdin.readline()
print(scanner.fit().updated_at)
"""


def hunter(bars: DailyBars, cache_dir: Path, **changes: object) -> BounceHunter:
    return BounceHunter(config=CONFIG, cache_dir=cache_dir, bars=bars, **changes)  # type: ignore[arg-type]


def test_fitting_asks_memory_then_disk_then_the_ledger(bars: DailyBars, tmp_path: Path) -> None:
    """A second fit reads no bar; another process's entry serves, too; a refresh is a fit."""
    scanner = hunter(bars, tmp_path)
    first = scanner.fit()
    assert scanner.fit() == first
    assert hunter(bars, tmp_path).fit() == first
    assert scanner.cache_info() == first
    again = scanner.fit(force_refresh=True)
    assert again.updated_at > first.updated_at
    assert again.model_hash == first.model_hash
    assert [listed.metadata for listed in scanner.list_cached()] == [again]
    assert scanner.scan().session == close_of(-1) - 24 * HOUR
    assert scanner.clear_cache().cleared == 1
    assert scanner.cache_info() is None


def test_a_stale_entry_is_fitted_anew(bars: DailyBars, tmp_path: Path) -> None:
    """By a fit and by a scan alike."""
    first = hunter(bars, tmp_path).fit()
    assert hunter(bars, tmp_path, max_cache_age_hours=0).fit().updated_at > first.updated_at
    scanner = hunter(bars, tmp_path, max_cache_age_hours=0)
    before = scanner.fit()
    scanner.scan()
    after = scanner.cache_info()
    assert after is not None
    assert after.updated_at > before.updated_at


def test_without_a_cache_nothing_is_written(bars: DailyBars, tmp_path: Path) -> None:
    """And nothing read: the fit is what the ledger tells, reproduced to the byte."""
    kept = entry(bars, tmp_path / "other").metadata
    scanner = hunter(bars, tmp_path / "none", use_cache=False)
    one, two = scanner.fit(), scanner.fit()
    assert one.model_hash == two.model_hash == kept.model_hash
    assert scanner.scan().threshold in (0.62, 0.68)
    grown = scanner.fit_incremental(["AMD"])
    assert grown.parent == kept.config_hash
    assert not (tmp_path / "none").exists()


def test_a_universe_grows(bars: DailyBars, tmp_path: Path) -> None:
    """From the cached entry; where there is none, or no new ticker, all of it is read again."""
    scanner = hunter(bars, tmp_path)
    base = scanner.fit()
    grown = scanner.fit_incremental(["tsla", "AMD"])
    assert scanner.config.tickers == tuple(sorted(frames()))
    assert (grown.parent, grown.updated_at) == (base.config_hash, base.updated_at)
    assert {listed.name for listed in scanner.list_cached()} == {
        family_of(base.config_hash), family_of(grown.config_hash)
    }  # fmt: skip
    refreshed = scanner.fit_incremental()
    assert (refreshed.model_hash, refreshed.config_hash) == (grown.model_hash, grown.config_hash)
    assert refreshed.updated_at > grown.updated_at
    assert hunter(bars, tmp_path / "empty").fit_incremental(["AMD"]).parent is None
    with pytest.raises(BadInput, match="NFLX"):
        scanner.fit_incremental(["NFLX"])
    assert "NFLX" not in scanner.config.tickers


def test_processes_that_fit_at_once_fit_once(ledger_dsn: str, ledger: Ledger, data_dir: Path, tmp_path: Path) -> None:
    """The second waits for the first, and finds its entry."""
    stocked(ledger)
    command = [sys.executable, "-c", FIT, ledger_dsn, str(data_dir), str(tmp_path / "cache")]
    fits = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for _ in range(2)
    ]
    for fit in fits:
        assert fit.stdout is not None
        assert fit.stdout.readline() == "ready\n"
    with ThreadPoolExecutor() as pool:
        told = [out for out, _ in pool.map(lambda fit: fit.communicate("go\n", timeout=120), fits)]
    assert [fit.returncode for fit in fits] == [0, 0]
    assert told[0] == told[1] != ""


def test_a_damaged_entry_is_fitted_anew(bars: DailyBars, tmp_path: Path) -> None:
    """As if there had been none; it is told where it lies."""
    first = hunter(bars, tmp_path).fit()
    path = tmp_path / family_of(first.config_hash) / first.bundle / "rows.npz"
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert ModelCache(tmp_path).metadata(first.config_hash) == first
    again = hunter(bars, tmp_path).fit()
    assert again.updated_at > first.updated_at
    assert again.model_hash == first.model_hash
    assert len(list((tmp_path / family_of(first.config_hash)).glob("*.aside-*"))) == 1


def test_the_documented_constructor_needs_nothing_else(
    ledger: Ledger, ledger_dsn: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bars come from the ledger that the settings name; one that is not there is an error at the first use."""
    stocked(ledger)
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.setenv("LEDGER_DB", ledger_dsn)
    monkeypatch.chdir(tmp_path)
    config = replace(CONFIG, bcs_threshold=0.0, bcs_threshold_highvix=0.0)
    with BounceHunter(
        config=config,
        use_cache=True,
        cache_dir=Path("./model_cache"),
        max_cache_age_hours=24,
    ) as scanner:
        assert scanner.scan().scanned == CONFIG.tickers
    assert list(Path("model_cache").glob("bouncehunter_*"))
    monkeypatch.setenv("LEDGER_DB", f"sqlite:///{tmp_path}/none.sqlite")
    with pytest.raises(SchemaMismatch):
        BounceHunter(config=config).fit()
