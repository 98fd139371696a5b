"""P11: BounceHunter warm beside cold, and a model grown by one ticker beside one fitted anew: 500 tickers, 10 years.

Cold: nothing is cached; every file is read, a model fitted and the newest session scanned. Warm: the model is cached,
and the newest bars are read from the ledger all the same. Goals: 10 times, and 5 times. Peaks of memory are those of
processes of their own, which do the work once.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.files import insert_file
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.ledger.recorded import Recorded
from tidewheel.ledger.tables import streams
from tidewheel.market.sim.dips import dips_market
from tidewheel.public.bouncehunter import BounceHunter, BounceHunterConfig, DailyBars

TICKERS = tuple(f"S{number:03d}" for number in range(500))
SESSIONS = 2_520
ROUNDS = 3


def opened(root: Path) -> Ledger:
    """The ledger, with nothing of it in memory."""
    return open_ledger(str(root / "ledger.sqlite"), root / "ml")


def hunter(ledger: Ledger, cache: Path, tickers: tuple[str, ...] = TICKERS) -> BounceHunter:
    """One that knows no model yet."""
    return BounceHunter(BounceHunterConfig.of(tickers), cache_dir=cache, bars=DailyBars(ledger))


def stocked(root: Path) -> None:
    """A ledger as an import leaves it, but written in one transaction."""
    market = dips_market(TICKERS, SESSIONS)
    migrate(str(root / "ledger.sqlite"), root / "ml")
    ledger, archive = opened(root), Archive(root / "ml")
    for ticker in TICKERS:
        ledger.streams.register(StreamKey("stocks", ticker, "1d"), Origin.SYNTHETIC)
    with ledger._db.write() as connection:
        now = ledger._db.now(connection)
        for row in connection.execute(select(streams)).all():
            key = StreamKey.parse(row.key)
            frame = market.frames[key.symbol]
            insert_file(connection, row.id, Recorded.at(frame, now), archive.store(key, frame), "bench", now)
            end = int(frame.open_time[-1]) + key.step
            connection.execute(update(streams).where(streams.c.id == row.id).values(watermark=end))
    ledger.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger, and the cache `base` of all tickers but the last; made by a process that takes its memory with it."""
    where = tmp_path_factory.mktemp("bouncehunter")
    child("prepare", where)
    return where


@pytest.fixture(scope="module")
def ledger(root: Path) -> Iterator[Ledger]:
    """For what is warm."""
    found = opened(root)
    yield found
    found.close()


def child(work: str, root: Path) -> dict[str, float]:
    """What a process of its own tells of the work: seconds and peak megabytes."""
    done = subprocess.run([sys.executable, __file__, work, str(root)], capture_output=True, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.benchmark(group="P11 scan of 500 tickers x 10 years")
def test_cold(benchmark: Any, root: Path) -> None:
    """Everything is read, a model fitted and kept, the newest session scanned."""
    number = iter(range(100))

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (opened(root), root / f"cold{next(number)}"), {}

    benchmark.pedantic(lambda ledger, cache: hunter(ledger, cache).scan(), setup=setup, rounds=ROUNDS)

    benchmark.extra_info["peak_mb"] = child("cold", root)["peak_mb"]


@pytest.mark.benchmark(group="P11 scan of 500 tickers x 10 years")
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_warm(benchmark: Any, root: Path, ledger: Ledger, where: str) -> None:
    """The model is in memory, or on disk; its bars are read from the ledger as they are now."""
    cold = hunter(ledger, root / "warm")
    expected = cold.scan()

    found = benchmark.pedantic(
        lambda: (cold if where == "memory" else hunter(ledger, root / "warm")).scan(), rounds=ROUNDS, warmup_rounds=1
    )

    assert found == expected
    benchmark.extra_info["peak_mb"] = child("warm", root)["peak_mb"]


@pytest.mark.benchmark(group="P11 fit of 500 tickers x 10 years")
def test_full_fit(benchmark: Any, root: Path, ledger: Ledger) -> None:
    """All 500 are read."""
    benchmark.pedantic(lambda: hunter(ledger, root / "full").fit(force_refresh=True), rounds=ROUNDS)

    benchmark.extra_info["peak_mb"] = child("full", root)["peak_mb"]


@pytest.mark.benchmark(group="P11 fit of 500 tickers x 10 years")
def test_fit_incremental(benchmark: Any, root: Path, ledger: Ledger) -> None:
    """An entry of 499 is there, and one more ticker is read; the model is that of all 500, to 1e-9."""
    number = iter(range(100))

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        cache = root / f"grown{next(number)}"
        shutil.copytree(root / "base", cache, symlinks=True)
        base = hunter(ledger, cache, TICKERS[:-1])
        base.fit()
        return (base,), {}

    benchmark.pedantic(lambda base: base.fit_incremental(TICKERS[-1:]), setup=setup, rounds=ROUNDS)

    grown, full = hunter(ledger, root / "grown0"), hunter(ledger, root / "full")
    models = [each._cache.get(each.fit().config_hash) for each in (grown, full)]
    assert models[0] is not None and models[1] is not None
    for name in ("weights", "intercept", "slope", "offset"):
        np.testing.assert_allclose(getattr(models[0].model, name), getattr(models[1].model, name), rtol=1e-9)
    benchmark.extra_info["peak_mb"] = child("incremental", root)["peak_mb"]


def main(work: str, root: Path) -> None:
    """In a process of its own: do it once, and say what it took."""
    if work == "prepare":
        stocked(root)
    ledger = opened(root)
    jobs: dict[str, Callable[[], Any]] = {
        "prepare": lambda: hunter(ledger, root / "base", TICKERS[:-1]).fit(),
        "cold": lambda: hunter(ledger, root / "cold").scan(),
        "warm": lambda: hunter(ledger, root / "warm").scan(),
        "full": lambda: hunter(ledger, root / "full").fit(force_refresh=True),
        "incremental": lambda: hunter(ledger, root / "base", TICKERS[:-1]).fit_incremental(TICKERS[-1:]),
    }
    began = time.perf_counter()
    jobs[work]()
    took = time.perf_counter() - began
    sys.stdout.write(json.dumps({"seconds": round(took, 3), "peak_mb": peak_megabytes()}))


def peak_megabytes() -> int:
    """Of this process; Linux's `ru_maxrss` is that of the process which started it where that was more."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
