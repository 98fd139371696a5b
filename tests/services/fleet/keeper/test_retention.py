"""Retention takes what nobody needs, and never what is in use: not by a race, not for a frozen process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.fleet.keeper.retention import Retention
from services.fleet.prove.cache import sound
from services.ml_trainer.service.promotions import Promotions
from tests.libs.ledger.registry.registering import new_model, new_prediction
from tests.services.fleet.keeper.conftest import BTC, Publish, stage
from tidewheel.bounce.entries import ModelCache, config_hash
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.files import shared
from tidewheel.modelstore.store import ModelStore

ORPHAN = "v2026-01-01-0a0b0c0d"
READER = """
import sys, time
from pathlib import Path
from tidewheel.modelstore.files import shared
with shared(Path(sys.argv[1])):
    print("reading", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def retention(ledger: Ledger, store: ModelStore, trained: ModelStore, cache: ModelStore) -> Retention:
    """Keeps no refused version."""
    return Retention(ledger, store, trained, cache, keep_refused=0)


@pytest.fixture
def orphan(store: ModelStore, publish: Publish) -> Path:
    """An old bundle that no run published."""
    path = store.path("hmm", ORPHAN)
    shutil.copytree(store.path("hmm", publish()), path)
    os.utime(path, (0, 0))
    return path


@pytest.fixture
def frozen_reader(store: ModelStore, publish: Publish) -> Iterator[str]:
    """A refused version that a process was reading when it was frozen."""
    version = publish(passed=False)
    reader = subprocess.Popen([sys.executable, "-c", READER, store.path("hmm", version)], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"reading\n"
    reader.send_signal(signal.SIGSTOP)
    yield version
    reader.kill()
    reader.communicate()


def test_a_plan_names_path_reason_and_bytes_and_removes_nothing(
    ledger: Ledger, store: ModelStore, retention: Retention, publish: Publish, orphan: Path
) -> None:
    """What `gc --dry-run` shows is what the keeper would do."""
    refused = store.path("hmm", publish(passed=False))
    link = store.models_dir / "hmm" / ".current-0a0b0c0d0e0f"
    link.symlink_to("nowhere")
    os.utime(link, (0, 0), follow_symlinks=False)

    plan = {doomed.path: doomed for doomed in retention.plan()}

    assert {path: doomed.why.split(",")[0] for path, doomed in plan.items()} == {
        refused: "refused",
        orphan: "no run published it",
        link: "left by a process that died",
    }
    assert plan[refused].bytes == sum(file.stat().st_size for file in refused.iterdir())
    assert refused.is_dir() and orphan.is_dir() and link.is_symlink()
    retention()
    assert not refused.exists() and not orphan.exists() and not link.is_symlink()
    assert retention.plan() == []


def test_a_version_promoted_after_the_plan_stays(
    ledger: Ledger, store: ModelStore, retention: Retention, publish: Publish
) -> None:
    """The plan said refused; then an admin forced it: the ledger is asked again when the lock is held."""
    publish()
    refused = publish(passed=False)
    (doomed,) = retention.plan()
    Promotions(ledger, store, "hmm").promote(refused, actor="olga", reason="I know better", force=True, admin=True)
    publish()
    store.point("hmm", publish())

    assert doomed.remove() is False
    assert store.open("hmm", refused).manifest.version == refused


def test_a_promotion_in_progress_holds_its_bundle(
    ledger: Ledger, store: ModelStore, retention: Retention, publish: Publish
) -> None:
    """Between the check of the bundle and the ledger's word nobody takes it away."""
    refused = publish(passed=False)

    with store.held("hmm", refused):
        retention()
        assert store.open("hmm", refused).manifest.version == refused
    retention()

    assert store.versions("hmm") == []


def test_a_bundle_found_again_by_a_run_in_flight_stays(
    ledger: Ledger, store: ModelStore, retention: Retention, publish: Publish
) -> None:
    """A retry fits the same bytes as an old orphan: from the moment that it is found, no prune takes it."""
    publish()
    path = store.publish(stage(store, number=99))
    os.utime(path, (0, 0))

    with store.publishing(stage(store, number=99)):
        retention()
        assert path.is_dir()
    os.utime(path, (0, 0))
    retention()

    assert not path.exists()


def test_what_a_frozen_process_reads_stays(
    ledger: Ledger, store: ModelStore, retention: Retention, publish: Publish, frozen_reader: str
) -> None:
    """Its lock holds while it is stopped, and pruning does not wait for it: the other versions go."""
    other = publish(passed=False)

    retention()

    assert store.versions("hmm") == [frozen_reader] != [other]


def test_what_a_silent_predictor_has_loaded_stays(
    ledger: Ledger, store: ModelStore, retention: Retention, publish: Publish
) -> None:
    """A predictor that has not been heard of for a minute may be frozen; what it loaded is kept for a day."""
    refused = publish(passed=False)
    ledger.replicas.beat("predictor-1", "predictor", "hmm", refused, None)

    assert retention.plan() == []


def test_the_archives_half_written_files_go_after_an_hour(data_dir: Path, retention: Retention) -> None:
    """Only what a dead seal left under a hidden name; whole files and young ones stay."""
    folder = data_dir / "blobs" / "aa"
    folder.mkdir(parents=True)
    young, old, whole = folder / ".a.parquet-0123456789ab", folder / ".b.parquet-0123456789ab", folder / "c.parquet"
    for file in (young, old, whole):
        file.write_bytes(b"12345")
    for file in (old, whole):
        os.utime(file, (0, 0))

    (doomed,) = retention.plan()
    retention()

    assert (doomed.path, doomed.bytes) == (old, 5)
    assert sorted(file.name for file in folder.iterdir()) == [young.name, whole.name]


def test_pruning_does_not_take_a_version_that_is_being_read(
    store: ModelStore, retention: Retention, publish: Publish
) -> None:
    """The shared lock of a reader of ours counts as well."""
    version = publish(passed=False)
    with shared(store.path("hmm", version)):
        retention()
    assert store.versions("hmm") == [version]


def test_a_refused_model_that_was_trained_here_goes_and_a_users_stays(
    ledger: Ledger, trained: ModelStore, retention: Retention
) -> None:
    """Its row stays with the verdict. What had an alias, or made a prediction that was saved, keeps its files."""
    ledger.streams.register(BTC, Origin.REPLAY)
    names = []
    for number in range(5):
        staged = stage(trained, number, "random_forest")
        trained.publish(staged)
        names.append(staged.version)
        files = {"digest": staged.digest, "content_digest": staged.digest, "version": staged.version}
        new = new_model(number, "random_forest", **files)
        if number == 4:
            ledger.registry.register(new, "desk")
            continue
        run, _ = ledger.runs.start_or_join("registry-random_forest", "random_forest", "test")
        lease = ledger.runs.lease(run.id, "test", 60_000)
        assert lease is not None
        verdict = Verdict(steps=(StepResult(step="forecast_champion", passed=number == 0, reason="a test said so"),))
        lease.publish_model(new, verdict)
    promoted, asked, staging, refused, theirs = names
    ledger.predictions.save(new_prediction(model_name="random_forest", model_version=asked))
    ledger.registry.move_alias("random_forest", "staging", staging, "desk", "to look at")

    assert [doomed.path.name for doomed in retention.plan()] == [refused]
    retention()

    assert set(trained.versions("random_forest")) == {promoted, asked, staging, theirs}
    assert {row.version for row in ledger.registry.versions("random_forest")} == set(names)


def test_of_the_cache_current_and_newest_damaged_stay(retention: Retention, cache: ModelStore) -> None:
    """A version that was replaced goes after a day, not before; what another configuration has is its own."""
    one, other = "bouncehunter_00112233445566aa", "bouncehunter_00112233445566bb"
    paths = [cache.publish(stage(cache, number, one)) for number in range(5)]
    current, replaced, fresh, damaged, still = paths
    kept = cache.publish(stage(cache, 0, other))
    cache.point(one, current.name)
    cache.point(other, kept.name)
    aside = []
    for path in (damaged, still):
        path.chmod(0o755)
        (path / "model.json").unlink()
        aside.append(cache.quarantine(one, path.name))
        time.sleep(0.05)  # the disk's clock may tick every 10 ms
    for path in (current, replaced, kept):
        os.utime(path, (0, 0))

    plan = {doomed.path: doomed.why for doomed in retention.plan()}
    retention()

    assert plan == {
        replaced: "not the current one of its configuration",
        aside[0]: "put aside as damaged, and not the newest such",
    }
    assert not replaced.exists() and cache.open(one, fresh.name)
    assert [path is not None and path.exists() for path in aside] == [False, True]
    assert (cache.open(one).manifest.version, cache.open(other).manifest.version) == (current.name, kept.name)
    assert retention.plan() == []


def test_an_entry_as_of_a_day_of_the_past_goes_after_a_week(retention: Retention, cache: ModelStore) -> None:
    """A study makes hundreds; what serves today stays, however old."""
    entries, week = ModelCache(cache.models_dir), 7 * DAY
    today, now = next(sound(seed=1)), time.time_ns() // 1_000_000
    past = replace(today.config, as_of=now - 1_000 * DAY)
    kept = entries.save(replace(today, read_at=now - 2 * week))
    for config, read_at in ((past, now - week - DAY), (replace(past, as_of=now - 999 * DAY), now - week + DAY)):
        entries.save(replace(today, config=config, config_hash=config_hash(config, "universe"), read_at=read_at))

    (doomed,) = retention.plan()
    retention()

    assert doomed.why == "as of a day of the past, and a week old"
    assert doomed.bytes > 10_000 and not doomed.path.exists()
    assert {each.metadata.config.as_of for each in entries.entries() if each.metadata} == {None, now - 999 * DAY}
    assert entries.get(kept.config_hash) is not None
    assert retention.plan() == []
