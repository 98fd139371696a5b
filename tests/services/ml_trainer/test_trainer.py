"""A run from claim to verdict, on both dialects."""

from pathlib import Path

import numpy as np
import pytest

from services.ml_trainer.settings import TrainerSettings
from tests.services.ml_trainer.conftest import BARS, BTC, CHILDREN, ETH, Build, Feed, Queue, claims, later, market
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import ClaimState, Origin, RunState
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore


def test_the_first_model_is_promoted(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, settings: TrainerSettings
) -> None:
    """Candles become a version that beat the baseline; ledger, bundle and symlink agree on it, and on its lineage."""
    files = [feed(market(BARS, 1)), feed(market(BARS, 2, size=2e-3), ETH)]

    run = build().run(queue())

    assert run is not None
    assert run.state is RunState.PROMOTED, run.reason
    assert (run.claimed_files, run.new_bars, run.window_bars) == (2, 2 * BARS, 2 * BARS)
    assert run.verdict is not None
    assert [step.step for step in run.verdict.steps] == ["schema", "digest", "enough_data", "canary", "champion"]
    assert run.verdict.steps[2].numbers["segments"] == 2
    assert run.verdict.steps[-1].numbers["quantile_05"] > 0
    assert store.current("hmm") == run.version
    assert (settings.models_dir / "current").resolve().name == run.version
    version = ledger.versions.get("hmm", run.version or "")
    assert version is not None
    assert version.lineage["files"] == [file.id for file in files]
    assert version.lineage["ranges"] == {str(file.key): [[file.start, file.end]] for file in files}
    assert store.open("hmm").metadata["seed"] == settings.train_seed
    assert claims(ledger) == {ClaimState.PROCESSED: 2}


def test_a_link_that_cannot_move_undoes_no_promotion(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """A published run is promoted whatever lies in the registry's way; the keeper finishes the rest."""
    feed(market(BARS, 1))
    store.models_dir.mkdir(exist_ok=True)
    (store.models_dir / "registry").touch()

    run = build(canned).run(queue())

    assert run is not None
    assert run.state is RunState.PROMOTED
    assert ledger.runs.get(run.id) == run
    assert claims(ledger) == {ClaimState.PROCESSED: 1}


def test_a_folder_that_cannot_be_written_poisons_no_file(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """Runs fail with the reason as often as they are tried; once it is mended the same files are trained."""
    feed(market(BARS, 1))
    in_the_way = store.models_dir / "hmm" / ".staged"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    trainer = build(canned)

    failed = trainer.run(queue())
    assert failed is not None and failed.state is RunState.FAILED
    assert ".staged" in (failed.reason or "")
    assert [(each.state, each.attempts) for each in ledger.claims.consumption("hmm")] == [(ClaimState.DOWNLOADED, 0)]

    in_the_way.unlink()
    mended = trainer.run(queue())
    assert mended is not None and mended.state is RunState.PROMOTED


@pytest.mark.parametrize("fault", ["damaged", "gone"])
def test_a_file_that_cannot_be_read_is_parked_and_the_others_are_trained(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str, data_dir: Path, fault: str
) -> None:
    """Strict: one rotten file of the archive stops no training; it is poison at once, and the run names it."""
    good, rotten = feed(market(BARS, 1)), feed(market(BARS, 2), ETH)
    blob = data_dir / rotten.blob_path
    intact = blob.read_bytes()
    blob.unlink()
    if fault == "damaged":
        blob.write_bytes(intact[:200] + bytes([intact[200] ^ 1]) + intact[201:])

    run = build(canned).run(queue())

    assert run is not None and run.state is RunState.PROMOTED
    assert f"left aside: file {rotten.id}: candle file {blob} is {fault.replace('gone', 'missing')}" in str(run.reason)
    assert claims(ledger) == {ClaimState.PROCESSED: 1, ClaimState.POISON: 1}
    version = ledger.versions.get("hmm", run.version or "")
    assert version is not None and version.lineage["files"] == [good.id]


def test_what_a_trial_left_is_ordered_at_once(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """After files failed together a run takes half; when that ends well the other half does not wait for a schedule."""
    feed(market(BARS, 1)), feed(market(BARS, 2), ETH)
    for _ in range(3):
        lease = ledger.runs.lease(queue(), "dying", 10_000)
        assert lease is not None
        lease.claim_files()
        lease.finish(RunState.FAILED, "the fit was killed")
    trainer = build(canned)

    half = trainer.run(queue())

    assert half is not None and (half.state, half.claimed_files) == (RunState.PROMOTED, 1)
    (rest,) = [run for run in ledger.runs.list() if run.state is RunState.QUEUED]
    assert rest.trigger == f"rest of run {half.id}"
    trainer.run(rest.id)
    assert not [run for run in ledger.runs.list() if run.state is RunState.QUEUED]
    assert claims(ledger) == {ClaimState.PROCESSED: 2}


def test_the_same_model_again_is_the_same_version(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """A window that did not move gives the version that exists; it cannot beat itself, and goes on serving."""
    trainer = build(canned, exactly_once=False, train_window_days=5)
    feed(market(BARS, 1))
    first = trainer.run(queue())
    feed(later(market(BARS, 1), -2 * BARS), ETH)  # a file to claim, before the window

    second = trainer.run(queue())

    assert first is not None
    assert second is not None
    assert (second.claimed_files, second.window_bars) == (1, BARS)
    assert (second.state, second.version) == (RunState.REFUSED, first.version)
    assert store.versions("hmm") == [first.version]
    assert store.current("hmm") == first.version


def test_a_run_waits_for_room_on_the_disk(ledger: Ledger, build: Build, feed: Feed, queue: Queue) -> None:
    """Below the floor nothing is claimed: the run stays queued, and counts no attempt."""
    feed(market(BARS, 1))
    run_id = queue()

    with pytest.raises(Unavailable, match="make room"):
        build(disk_floor_mb=10**9).run(run_id)

    waiting = ledger.runs.get(run_id)
    assert (waiting.state, waiting.attempts) == (RunState.QUEUED, 0)


def test_nothing_to_claim_is_a_skip(ledger: Ledger, build: Build, queue: Queue) -> None:
    """An empty ledger gives no version and says so."""
    run = build().run(queue())

    assert run is not None
    assert run.state is RunState.SKIPPED
    assert (run.reason or "").startswith("no_new_data: ")
    assert run.claimed_files == 0


@pytest.mark.parametrize("exactly_once", [True, False])
@pytest.mark.parametrize(
    ("bars", "learnt", "blocks"), [(400, 290, 1), (5_000, 3_970, 17)], ids=["too few to fit", "too few to judge"]
)
def test_too_little_data_waits_for_more(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str, exactly_once: bool, bars: int, learnt: int,
    blocks: int,
) -> None:  # fmt: skip
    """Bars that cannot be fitted, or that no verdict can be given on, are not consumed: the run says what is there and
    what is needed, no fit begins, and the files are trained once when more have come."""
    trainer = build(f"{CHILDREN}.failing", exactly_once=exactly_once)
    first = feed(market(bars, 1))

    run = trainer.run(queue())

    assert run is not None
    assert run.state is RunState.SKIPPED
    reason = run.reason or ""
    assert reason.startswith("not_enough_data: ")
    assert (
        f"{bars} bars, about 5855 unbroken ones are needed: {learnt} are training bars (MIN_TRAIN_BARS=500)" in reason
    )
    assert f"has {blocks} of the 20 blocks of 60 scored bars" in reason
    assert ("TRAIN_WINDOW_DAYS=30" in reason) is not exactly_once
    assert ledger.versions.all("hmm") == []
    assert claims(ledger) == {ClaimState.DOWNLOADED: 1}
    second = feed(later(market(BARS - bars, 2), bars))
    for _ in range(2):
        build(canned, exactly_once=exactly_once).run(queue())
    assert [version.lineage["files"] for version in ledger.versions.all("hmm")] == [[first.id, second.id]]
    assert claims(ledger) == {ClaimState.PROCESSED: 2}


def test_strict_trains_a_bar_once(ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str) -> None:
    """A second strict run sees the new file's bars only."""
    feed(market(BARS, 1))
    build(canned).run(queue())
    second_file = feed(later(market(BARS, 1), BARS))

    run = build(canned).run(queue())

    assert run is not None
    assert run.window_bars == run.new_bars == BARS
    version = ledger.versions.get("hmm", run.version or "")
    assert version is not None
    assert version.lineage["ranges"] == {str(BTC): [[second_file.start, second_file.end]]}


def test_the_window_slides(ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str) -> None:
    """A sliding run sees the last days of every stream, claimed or not."""
    day = 1_440
    trainer = build(canned, exactly_once=False, train_window_days=5)
    feed(market(5 * day, 1))
    trainer.run(queue())
    feed(later(market(5 * day, 3), 5 * day))

    run = trainer.run(queue())

    assert run is not None
    assert (run.new_bars, run.window_bars) == (5 * day, 5 * day)
    feed(market(day, 2), ETH)
    run = trainer.run(queue())
    assert run is not None
    assert (run.claimed_files, run.new_bars, run.window_bars) == (1, day, 5 * day)


def test_a_refused_version_is_stored_and_never_pointed_at(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """The very model of the champion is not surely better than it: refused with the number, and `current` stays."""
    feed(market(BARS, 1))
    first = build(canned).run(queue())
    feed(later(market(BARS, 1), BARS))

    second = build(canned).run(queue())

    assert first is not None
    assert second is not None
    assert second.state is RunState.REFUSED
    assert second.verdict is not None
    assert second.verdict.refusal is not None
    assert second.verdict.refusal.step == "champion"
    assert second.verdict.refusal.numbers["quantile_05"] <= 0
    assert store.current("hmm") == first.version
    assert store.path("hmm", second.version or "").is_dir()
    assert claims(ledger) == {ClaimState.PROCESSED: 2}


def test_a_constant_market_fails_with_its_reason(ledger: Ledger, build: Build, feed: Feed, queue: Queue) -> None:
    """A market that never moves gives a failed run that names it."""
    frame = market(BARS, 1)
    feed(type(frame).from_rows(frame.step, [(time, 5.0, 5.0, 5.0, 5.0, 1.0) for time in frame.open_time.tolist()]))

    run = build().run(queue())

    assert run is not None
    assert run.state is RunState.FAILED
    assert (run.reason or "").startswith("constant_market: ")


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("still", ["constant", "one bar"])
def test_a_stream_that_cannot_be_fitted_is_left_aside(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str, strict: bool, still: str
) -> None:
    """It is named in the run and in the version; the good stream is trained, and no file of it counts as failed."""
    frame = market(BARS, 1)
    rows = [(time, 5.0, 5.0, 5.0, 5.0, 1.0) for time in frame.open_time.tolist()]
    good = feed(frame)
    feed(type(frame).from_rows(frame.step, rows if still == "constant" else rows[:1]), ETH)

    run = build(canned, exactly_once=strict).run(queue())

    assert run is not None and run.state is RunState.PROMOTED
    assert (run.reason or "").startswith(f"left aside: constant_market: {ETH} is a constant market")
    (version,) = ledger.versions.all("hmm")
    assert list(version.lineage["left_aside"]) == [str(ETH)]
    assert list(version.lineage["ranges"]) == [str(good.key)]
    assert claims(ledger) == {ClaimState.PROCESSED: 2}


def test_synthetic_bars_are_never_promoted_beside_real_ones(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """A family whose streams include a real exchange does not serve a model that saw synthetic bars."""
    feed(market(BARS, 1))
    feed(market(BARS, 1), ETH, Origin.SYNTHETIC)

    run = build(canned).run(queue())

    assert run is not None
    assert run.state in (RunState.FAILED, RunState.REFUSED)
    assert "synthetic" in (run.reason or "")
    assert store.current("hmm") is None


def test_processed_csv_files_go(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str, data_dir: Path
) -> None:
    """DELETE_AFTER_PROCESS removes the incoming CSV of what was trained, never the archive; registered models
    are trained from that, and wait for no file."""
    sealed = feed(market(BARS, 1))
    assert (data_dir / sealed.csv_path).exists()
    ledger.runs.start_or_join("registry-baseline", "baseline", "test")

    build(canned, delete_after_process=True).run(queue())

    assert not (data_dir / sealed.csv_path).exists()
    assert (data_dir / sealed.blob_path).exists()
    assert len(ledger.bars.read(BTC)) == BARS


def test_a_strict_sibling_runs_beside_and_never_takes_current(
    ledger: Ledger, store: ModelStore, build: Build, feed: Feed, queue: Queue, canned: str, settings: TrainerSettings
) -> None:
    """hmm-strict claims the same file for itself, has a family of its own, and leaves its neighbour's runs alone."""
    feed(market(BARS, 1))
    sibling = build(canned, train_consumer="hmm-strict")
    own, neighbour = ledger.runs.start_or_join("hmm-strict", "hmm-strict", "test")[0].id, queue()

    assert sibling.run(neighbour) is None
    run = sibling.run(own)

    assert run is not None
    assert (run.state, run.claimed_files) == (RunState.PROMOTED, 1), run.reason
    assert store.current("hmm-strict") == run.version
    assert store.current("hmm") is None
    assert not (settings.models_dir / "current").exists()
    other = build(canned).run(neighbour)
    assert other is not None
    assert (other.state, other.claimed_files) == (RunState.PROMOTED, 1), other.reason


def test_another_timeframe_is_left_alone(ledger: Ledger, build: Build, feed: Feed, queue: Queue) -> None:
    """A consumer of 1m bars neither claims nor trains on 5m files."""
    frame = market(400, 1)
    rows = [(time * 5, *rest) for time, *rest in frame.rows()]
    feed(type(frame).from_rows(5 * frame.step, rows), StreamKey("binance", "BTC/USDT", "5m"))

    run = build().run(queue())

    assert run is not None
    assert (run.reason or "").startswith("no_new_data")
    assert claims(ledger) == {ClaimState.DOWNLOADED: 1}


def test_corrections_are_trained_by_the_window_only(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """A corrected bar was trained before, so strict mode leaves its file; the sliding window reads the newer copy."""
    frame = market(BARS, 1)
    feed(frame)
    build(canned).run(queue())
    time, opened, high, low, close, _ = frame.rows()[10]
    with ledger.leases.hold(f"stream:{BTC}", "test", 10_000) as held:
        corrected = type(frame).from_rows(frame.step, [(time, opened, high, low, close, 777.0)])
        assert ledger.bars.append(held.lease, BTC, corrected, "test").revised == 1

    strict = build(canned).run(queue())
    sliding = build(canned, exactly_once=False).run(queue())

    assert strict is not None
    assert (strict.reason or "").startswith("no_new_data")
    assert sliding is not None
    assert (sliding.claimed_files, sliding.new_bars, sliding.window_bars) == (1, 1, BARS)


def test_a_skip_tells_what_gaps_left_unusable(build: Build, feed: Feed, queue: Queue) -> None:
    """Of three unbroken runs of bars one is shorter than the 31 that give features, and the reason counts it."""
    feed(market(200, 1).take(np.r_[0:100, 110:140, 150:181]))

    run = build().run(queue())

    assert run is not None
    assert run.state is RunState.SKIPPED
    assert (run.reason or "").endswith("; 1 of 3 unbroken runs of bars are too short to use")


def test_a_champion_beyond_its_limit_freezes_the_fleet(
    ledger: Ledger, build: Build, feed: Feed, queue: Queue, canned: str
) -> None:
    """Each run tells how the champion does on later bars; the limit that it breaks trips the switch, once for all."""
    trainer = build(canned, exactly_once=False, train_window_days=5, kill_metrics=("champion_score>-100",))
    feed(market(BARS, 1))
    first = trainer.run(queue())
    assert first is not None and first.state is RunState.PROMOTED
    assert ledger.switches.tripped() == [], "there was no champion yet"
    feed(later(market(BARS, 1), BARS))

    second = trainer.run(queue())

    assert second is not None
    (switch,) = ledger.switches.tripped()
    assert (switch.scope, switch.cause, switch.tripped_by) == ("fleet", "metric", f"run {second.id}")
    assert switch.reason.startswith("champion_score is ") and "champion_score>-100 freezes" in switch.reason
    score = second.verdict.steps[-1].numbers["opponent_score"] if second.verdict else None
    assert score is not None and f"champion_score is {score:g}," in switch.reason
