"""A run of BounceHunter's from daily bars to an entry of the cache."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.service.trainer import Trainer
from services.ml_trainer.service.trainings import build_trainer
from services.ml_trainer.settings import TrainerSettings
from tests.services.ml_trainer.hourly import FitHere
from tests.tickers import stock
from tests.waiting import until
from tidewheel.bounce import fitting
from tidewheel.bounce.entries import ModelCache, config_hash
from tidewheel.bounce.gathering import Told, gather
from tidewheel.bounce.market import UNIVERSE, DailyBars
from tidewheel.bounce.ordering import FitOrder, order
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.states import RunState
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run
from tidewheel.market.sim.dips import DipsMarket, dips_market

TICKERS = ("AAPL", "AMD", "MSFT", "TSLA")
THREE = BounceHunterConfig.of(TICKERS[:3])
FOUR = BounceHunterConfig.of(TICKERS)
Fit = Callable[..., Run]
Found = tuple[str, Told | str]


@pytest.fixture(scope="module")
def market() -> DipsMarket:
    """Four tickers, each of which dips some forty times."""
    return dips_market(TICKERS, 1_000)


@pytest.fixture
def cache(settings: TrainerSettings) -> ModelCache:
    """What the trainer keeps, as another process finds it."""
    return ModelCache(settings.model_cache_dir)


@pytest.fixture
def fit(ledger: Ledger, settings: TrainerSettings) -> Fit:
    """Order a fit and carry it out, by default in this process."""

    def carried_out(wanted: FitOrder, by: Trainer | None = None) -> Run:
        trainer = by or build_trainer(ledger, FitHere(settings.data_dir / "work"), settings)
        run = trainer.run(order(ledger, wanted, UNIVERSE, "test")[0].id)
        assert run is not None
        return run

    return carried_out


def digest(config: BounceHunterConfig) -> str:
    return config_hash(config, UNIVERSE)


def test_dips_become_an_entry_that_other_processes_find(
    ledger: Ledger, settings: TrainerSettings, market: DipsMarket, cache: ModelCache, fit: Fit
) -> None:
    """A child fits; the run ends promoted with the entry's version, and names whom it left out. The same bars again
    are the same version to the byte; a universe that grows by a ticker reads that one alone and is the whole's."""
    stock(ledger, {**market.frames, "NEW": market.frames["AAPL"].take(slice(50))})
    five = BounceHunterConfig.of([*TICKERS, "NEW"])
    child = build_trainer(ledger, FitChild(settings.data_dir / "work"), settings)

    first = fit(FitOrder(config=five), by=child)
    again = fit(FitOrder(config=five))

    assert (first.state, first.verdict, first.claimed_files) == (RunState.PROMOTED, None, 0), first
    assert first.progress == {"tickers": 5, "dips": first.progress["dips"]} and first.progress["dips"] > 100
    assert (first.reason or "").startswith("left out: NEW: not_enough_data: ")
    entry = cache.get(digest(five))
    assert entry is not None and entry.metadata.bundle == first.version == again.version
    assert (entry.metadata.tickers, [*entry.metadata.left_out]) == (TICKERS, ["NEW"])
    assert ledger.versions.families() == []

    base = fit(FitOrder(config=THREE))
    grown = fit(FitOrder(config=FOUR, base=digest(THREE)))
    whole = fit(FitOrder(config=FOUR, keep=False))

    child_entry = cache.get(digest(FOUR))
    assert child_entry is not None and child_entry.metadata.bundle == grown.version
    assert child_entry.metadata.parent == digest(THREE) and base.state is RunState.PROMOTED
    full = cache.read(digest(FOUR), whole.version or "")
    assert full.model.to_payload() == child_entry.model.to_payload()


def test_what_is_not_kept_serves_who_names_it(ledger: Ledger, market: DipsMarket, cache: ModelCache, fit: Fit) -> None:
    """A fit for one scan alone leaves the entry as it is, or absent."""
    stock(ledger, market.frames)

    run = fit(FitOrder(config=THREE, keep=False))

    assert run.state is RunState.PROMOTED and run.version is not None
    assert cache.get(digest(THREE)) is None
    assert cache.read(digest(THREE), run.version).metadata.bundle == run.version


def test_too_few_dips_are_a_skip_that_says_how_many(ledger: Ledger, market: DipsMarket, fit: Fit) -> None:
    """The fit's own word, and why tickers were left out; where none can be used, why."""
    apple = market.frames["AAPL"]
    flat = CandleFrame.from_rows(apple.step, [(time, 5.0, 5.0, 5.0, 5.0, 1e7) for time in apple.open_time.tolist()])
    stock(ledger, {"AAPL": apple.take(slice(300)), "FLAT": flat})

    few = fit(FitOrder(config=BounceHunterConfig.of(["AAPL", "FLAT"])))
    none = fit(FitOrder(config=BounceHunterConfig.of(["FLAT"])))

    assert (few.state, none.state) == (RunState.SKIPPED, RunState.SKIPPED)
    assert few.reason is not None and few.reason.startswith("not_enough_data: 5 dips are known")
    assert "35 more dips with a known end" in few.reason and "left out: FLAT: constant_prices: " in few.reason
    assert (none.reason or "").startswith("not_enough_data: none of 1 tickers can be used: constant_prices")


def test_a_worker_that_dies_between_entry_and_ledger_leaves_one_version(
    ledger: Ledger, settings: TrainerSettings, market: DipsMarket, cache: ModelCache
) -> None:
    """kill -9 when the entry serves and the ledger knows nothing: the next attempt ends with the same version."""
    stock(ledger, market.frames)
    run = order(ledger, FitOrder(config=THREE), UNIVERSE, "test")[0]
    given = {
        "TIDEWHEEL_HOME": str(settings.tidewheel_home),
        "DATA_DIR": str(settings.data_dir),
        "LEDGER_DB": settings.ledger_db,
        "TIDEWHEEL_TRAIN_LEASE_SECONDS": "1",
    }

    dying = [sys.executable, "-m", "tests.services.ml_trainer.dying", str(run.id)]
    killed = subprocess.run(dying, env=os.environ | given, stdout=subprocess.DEVNULL, check=False)

    assert killed.returncode == -signal.SIGKILL
    kept = cache.metadata(digest(THREE))
    assert kept is not None and ledger.runs.get(run.id).version is None
    trainer = build_trainer(ledger, FitHere(settings.data_dir / "work"), settings)
    until(lambda: trainer.run(run.id))
    ended = ledger.runs.get(run.id)
    assert (ended.state, ended.version, ended.attempts) == (RunState.PROMOTED, kept.bundle, 2)
    (folder,) = settings.model_cache_dir.glob("bouncehunter_*")
    assert sorted(path.name for path in folder.glob("v*")) == [kept.bundle]


def test_a_wish_to_cancel_is_heard_between_two_tickers(
    ledger: Ledger, market: DipsMarket, cache: ModelCache, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the universe, the run ends cancelled within a ticker's reading, and nothing is kept."""
    stock(ledger, market.frames)
    told: list[str] = []

    def endless(bars: DailyBars, config: BounceHunterConfig, tickers: Iterable[str]) -> Iterator[Found]:
        first = next(iter(gather(bars, config, tickers)))
        ledger.runs.cancel(ledger.runs.list(1)[0].id, "olga")
        while len(told) < 600:
            yield first
            told.append(first[0])
            time.sleep(0.05)

    monkeypatch.setattr(fitting, "gather", endless)
    ended = fit(FitOrder(config=THREE))

    assert (ended.state, ended.reason) == (RunState.CANCELLED, "cancelled by olga")
    assert len(told) < 600 and cache.entries() == []


def test_a_trainer_of_another_index_says_so(ledger: Ledger, settings: TrainerSettings, market: DipsMarket) -> None:
    """Its model would never be found by who ordered it: the run fails with both settings' name."""
    stock(ledger, market.frames)
    run = order(ledger, FitOrder(config=THREE), UNIVERSE, "test")[0]
    other = settings.model_copy(update={"bounce_vix": "stooq:VIX:1d"})

    ended = build_trainer(ledger, FitHere(settings.data_dir / "work"), other).run(run.id)

    assert ended is not None and ended.state is RunState.FAILED
    assert "the same BOUNCE_VIX" in (ended.reason or "")


def test_a_base_that_is_gone_is_read_anew(
    ledger: Ledger, settings: TrainerSettings, market: DipsMarket, cache: ModelCache, fit: Fit
) -> None:
    """Between order and fit somebody cleared it: the whole universe is read, and the run says so."""
    stock(ledger, market.frames)

    run = fit(FitOrder(config=FOUR, base=digest(THREE)))

    assert run.state is RunState.PROMOTED
    assert run.reason == f"the entry {digest(THREE)} is gone, so every ticker was read"
    entry = cache.get(digest(FOUR))
    assert entry is not None and entry.metadata.parent is None
