import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.libs.modelstore.bundles import mark_of, meta, published
from tidewheel.contracts.errors import BadBundle, Unavailable
from tidewheel.modelstore.bundle import OpenBundle
from tidewheel.modelstore.live import LiveModel
from tidewheel.modelstore.store import ModelStore


def load(bundle: OpenBundle) -> int:
    """The bundle's mark; 13 is one that this loader cannot use."""
    mark = mark_of(bundle.files)
    if mark == 13:
        raise BadBundle("13 cannot be loaded")
    return mark


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


@pytest.fixture
def live(store: ModelStore) -> Iterator[LiveModel[int]]:
    store.point("hmm", published(store, 1))
    watching = LiveModel(store, "hmm", load)
    watching.start()
    yield watching
    watching.stop()


def serves(live: LiveModel[int], mark: int, within: float) -> bool:
    """Whether `mark` comes into service within so many seconds."""
    start = time.monotonic()
    while time.monotonic() < start + within:
        loaded = live.get()
        if loaded is not None and loaded.model == mark:
            return True
        time.sleep(0.005)
    return False


def test_a_flip_is_served_without_being_told(store: ModelStore, live: LiveModel[int]) -> None:
    """Polling alone brings a new version into service: here, once a second, within 1.5 s."""
    store.point("hmm", published(store, 2))

    assert serves(live, 2, within=1.5)


def test_a_nudge_beats_the_poll(store: ModelStore) -> None:
    """One who is told of a flip does not wait for the next poll."""
    store.point("hmm", published(store, 1))
    watching = LiveModel(store, "hmm", load, poll_seconds=3_600)
    watching.start()
    store.point("hmm", published(store, 2))
    assert not serves(watching, 2, within=0.1)

    watching.nudge()

    assert serves(watching, 2, within=5)
    watching.stop()


def test_a_bad_version_leaves_the_last_good_one(store: ModelStore, live: LiveModel[int]) -> None:
    """What cannot be loaded shows in `error`; going back, or forward to a good one, clears it."""
    good = live.get()
    store.point("hmm", published(store, 13))

    assert not live.refresh()
    assert live.get() is good
    assert live.error == "13 cannot be loaded"

    store.point("hmm", published(store, 1))
    live.refresh()
    assert live.error is None and live.get() is good

    store.point("hmm", published(store, 4))
    assert live.refresh()
    assert serves(live, 4, within=0.1)


def test_damage_after_the_flip_leaves_the_last_good_one(store: ModelStore, live: LiveModel[int]) -> None:
    """A bundle that rots between promotion and load is not served."""
    live.stop()
    version = published(store, 2)
    store.point("hmm", version)
    path = store.path("hmm", version) / "model.json"
    path.chmod(0o644)
    path.write_text('{"mark": 3}')

    live.refresh()

    assert serves(live, 1, within=0.1)
    assert live.error is not None and "digest" in live.error


def test_current_gone_leaves_the_last_good_one(store: ModelStore, live: LiveModel[int]) -> None:
    """A removed or broken link is an error that shows, not an outage."""
    link = store.models_dir / "hmm" / "current"
    link.unlink()
    live.refresh()
    assert live.error == "no version of hmm is current"

    link.symlink_to("nowhere")
    live.refresh()
    assert live.error is not None and "not a version" in live.error
    assert serves(live, 1, within=0.1)


def test_changes_are_told(store: ModelStore) -> None:
    """`on_change` hears each swap and each new error, and nothing else."""
    told: list[str | None] = []
    watching = LiveModel(store, "hmm", load, on_change=lambda: told.append(watching.error))
    watching.refresh()
    store.point("hmm", published(store, 1))
    watching.refresh()
    watching.refresh()
    store.point("hmm", published(store, 13))
    watching.refresh()
    watching.refresh()

    assert told == [None, "13 cannot be loaded"]


def test_a_dead_watcher_is_not_ready(store: ModelStore) -> None:
    """A process whose watching ended says so to /ready."""
    watching = LiveModel(store, "hmm", load)
    with pytest.raises(Unavailable):
        watching.ping()
    watching.start()
    watching.ping()
    watching.stop()
    with pytest.raises(Unavailable):
        watching.ping()


def test_version_and_model_always_belong_together(store: ModelStore) -> None:
    """Threads that take the reference during flips never see one version's name with another's model."""
    versions = {published(store, mark): mark for mark in range(1, 6)}
    store.point("hmm", next(iter(versions)))
    watching = LiveModel(store, "hmm", load, poll_seconds=0.002)
    watching.start()
    done, mixed, seen = threading.Event(), [], set()

    def take() -> None:
        while not done.is_set():
            loaded = watching.get()
            assert loaded is not None
            seen.add(loaded.version)
            if versions[loaded.version] != loaded.model or loaded.manifest.version != loaded.version:
                mixed.append(loaded)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version in list(versions) * 4:
        store.point("hmm", version)
        time.sleep(0.02)
    done.set()
    for thread in threads:
        thread.join()
    watching.stop()

    assert mixed == []
    assert len(seen) > 1


def test_another_familys_bundle_is_not_served(store: ModelStore) -> None:
    """A bundle copied into another family's folder is refused."""
    staged = store.stage("hmm-strict", {"model.json": b'{"mark": 1}'}, meta())
    path = store.publish(staged)
    (store.models_dir / "hmm").mkdir()
    path.rename(store.models_dir / "hmm" / path.name)

    with pytest.raises(BadBundle, match="hmm-strict"):
        store.open("hmm", path.name)
