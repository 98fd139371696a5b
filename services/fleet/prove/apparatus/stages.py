"""A trainer on a ledger of its own, over real bars, for the proofs that kill it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from services.fleet.prove.ground import Place, Rows, plain
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import MINUTE
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.scenario import START

KEY = StreamKey("binance", "BTC/USDT", "1m")
CONSUMER = "hmm"
PART_BARS = 960  #: bars of a file, enough for a fit
JUDGED_BARS = 6_000  #: bars of a file that the gate can give a verdict on, alone


def settings_at(place: Place, **chosen: object) -> TrainerSettings:
    """Strict training of small files, on this place alone."""
    return load(
        TrainerSettings,
        tidewheel_home=place.data_dir,
        data_dir=place.data_dir,
        models_dir=place.data_dir / "models",
        ledger_db=place.dsn,
        auth_mode="dev",
        exactly_once=True,
        min_train_bars=100,
        restarts=3,
        **chosen,
    )


def part(number: int, seed: int, bars: int = PART_BARS) -> CandleFrame:
    """The `number`-th run of so many bars of a market whose volatility changes."""
    draw = np.random.default_rng([seed, number])
    returns = np.repeat([8e-4, 2e-3, 4e-4], bars // 3) * draw.standard_normal(bars)
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])
    times = START + (number * bars + np.arange(bars)) * MINUTE
    prices = [opened, np.maximum(opened, close), np.minimum(opened, close), close]
    return CandleFrame.from_rows(MINUTE, np.column_stack([times, *prices, np.ones(bars)]))


def seal(ledger: Ledger, frame: CandleFrame, owner: str) -> None:
    """What the ingester does with bars; safe to do again."""
    ledger.streams.register(KEY, Origin.REPLAY)
    with ledger.leases.hold(f"stream:{KEY}", owner, 10_000, wait_seconds=30) as held:
        ledger.bars.append(held.lease, KEY, frame, "prove")
        ledger.bars.seal(held.lease, KEY)


def training_faults(rows: Rows, sealed: int) -> list[str]:
    """What is wrong where every one of `sealed` files should have been trained exactly once, and nothing is under way.

    Asked of the tables in plain SQL: lineages, claims, runs and promotions.
    """
    trained: dict[int, list[str]] = {}
    for version, lineage in rows("SELECT version, lineage FROM versions ORDER BY created_at"):
        for file in _files(lineage):
            trained.setdefault(file, []).append(version)
    claims: dict[int, str] = dict(rows("SELECT file_id, state FROM claims WHERE consumer = ?", CONSUMER))
    files = [file for (file,) in rows("SELECT id FROM files ORDER BY id")]
    wrong = [] if len(files) == sealed else [f"{len(files)} files are sealed, and {sealed} parts were"]
    for file in files:
        times = len(trained.get(file, []))
        if times != 1:
            wrong.append(
                f"file {file} was trained {times} times, by {trained.get(file)}; its claim is {claims.get(file)}"
            )
        elif claims.get(file) != "processed":
            wrong.append(f"file {file} was trained, and its claim is {claims.get(file)}")
    wrong += [
        f"run {run} has not ended: it is {state}"
        for run, state in rows("SELECT id, state FROM runs WHERE state IN ('queued', 'running')")
    ]
    wrong += [
        f"version {version} was published by {count} runs"
        for version, count in rows("SELECT version, count(*) FROM verdicts GROUP BY version HAVING count(*) > 1")
    ]
    return wrong


def disk_faults(ledger: Ledger, models: Path) -> list[str]:
    """What `ledger fsck` finds, and `served_faults`."""
    return [f"fsck {each.check}: {each.detail}" for each in ledger.fsck() if not each.ok] + served_faults(
        ledger, models
    )


def served_faults(ledger: Ledger, models: Path) -> list[str]:
    """Whether `current` serves the champion, intact."""
    from tidewheel.modelstore.store import ModelStore

    champion, store = ledger.versions.champion(CONSUMER), ModelStore(models)
    current = store.current(CONSUMER)
    if current != (champion and champion.version):
        return [f"the champion is {champion and champion.version}, and `current` serves {current}"]
    if current is not None:
        store.open(CONSUMER)
    return []


def _files(lineage: object) -> list[int]:
    told: Mapping[str, list[int]] = plain(lineage)
    return told["files"]
