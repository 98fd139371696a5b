"""A trainer on a ledger of its own, over real bars, for the proofs that kill it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from services.fleet.prove.ground import Place, Rows, plain
from services.ml_trainer.settings import TrainerSettings
from tidewheel.contracts.keys import BASELINE, StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import HOUR, MINUTE
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.settings import load
from tidewheel.ledger.open import Ledger
from tidewheel.market.sim.scenario import START

KEY = StreamKey("binance", "BTC/USDT", "1m")
CONSUMER = "hmm"
PART_BARS = 960  #: bars of a file, enough for a fit
HOURLY = StreamKey("binance", "ETH/USDT", "1h")
FIRST_HOURS = 345  #: the fewest that a baseline is trained on
JUDGED_BARS = 6_000  #: bars of a file that the gate can give a verdict on, alone


def settings_at(place: Place, **chosen: object) -> TrainerSettings:
    """Strict training of small files, on this place alone."""
    return load(
        TrainerSettings,
        tidewheel_home=place.data_dir,
        data_dir=place.data_dir,
        models_dir=place.data_dir / "models",
        trained_models_dir=place.data_dir / "trained_models",
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
    store(ledger, KEY, frame, owner)
    with ledger.leases.hold(f"stream:{KEY}", owner, 10_000, wait_seconds=30) as held:
        ledger.bars.seal(held.lease, KEY)


def store(ledger: Ledger, key: StreamKey, frame: CandleFrame, owner: str) -> None:
    """The same, of any stream, without a file."""
    ledger.streams.register(key, Origin.REPLAY)
    with ledger.leases.hold(f"stream:{key}", owner, 10_000, wait_seconds=30) as held:
        ledger.bars.append(held.lease, key, frame, "prove")


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


def hours_until(number: int, seed: int) -> CandleFrame:
    """The hours of another market, as they stand when `number` parts are there: a further one each time."""
    moves = np.random.default_rng(seed).normal(0.0, 4e-3, FIRST_HOURS + number)
    close = 100.0 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[100.0], close[:-1]])
    times = START // HOUR * HOUR + np.arange(len(close)) * HOUR
    prices = [opened, np.maximum(opened, close), np.minimum(opened, close), close]
    return CandleFrame.from_rows(HOUR, np.column_stack([times, *prices, np.ones(len(close))]))


def model_faults(ledger: Ledger, trained: Path, versions: int) -> list[str]:
    """What is wrong where so many versions of `baseline` should have been published, each once, bundle and row."""
    from tidewheel.modelstore.store import ModelStore

    store, rows = ModelStore(trained), ledger.registry.versions(BASELINE)
    known, named = sorted(row.version for row in rows), store.versions(BASELINE)
    wrong = [] if len(known) == versions else [f"{versions} histories gave {len(known)} versions of {BASELINE}"]
    wrong += [] if known == named else [f"versions {known} of {BASELINE} are on record, and bundles {named} lie there"]
    opened = {version: store.open(BASELINE, version).manifest.digest for version in named}
    wrong += [f"{row.version} holds another digest" for row in rows if opened.get(row.version) != row.content_digest]
    champion = ledger.registry.get(BASELINE)
    return wrong if champion is not None else [*wrong, f"{BASELINE} has no champion"]


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
