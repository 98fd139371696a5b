import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

import httpx
import pytest
from fastapi.testclient import TestClient

from services.fleet.prove.apparatus.beside import served
from services.predictor.app import build
from services.predictor.service.upkeep import Listener
from services.predictor.settings import PredictorSettings
from tests.libs.modelstore.regimes import published_regime, returns
from tests.services.predictor.conftest import BTC, bars, stored
from tests.waiting import until
from tidewheel.contracts.messages import Channels
from tidewheel.contracts.states import Scope
from tidewheel.kit.bus import Bus
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore

MINUTE = 60_000


def test_flips_under_requests_drop_and_mix_nothing(
    store: ModelStore, settings: Callable[..., PredictorSettings]
) -> None:
    """Threads ask while the version flips: every answer is 200 and names one version in header and body alike."""
    versions = [published_regime(store, drift / 10) for drift in range(1, 5)]
    store.point("hmm", versions[0])
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    done = threading.Event()

    def ask(address: str) -> None:
        with httpx.Client(base_url=address) as asking:
            while not done.is_set():
                answer = asking.post("/predict", json={"logret": returns(60)})
                named = answer.headers.get("X-Model-Version")
                if answer.status_code != 200 or answer.json()["model_version"] != named:
                    wrong.append(f"{answer.status_code} {named} {answer.text}")
                seen[str(named)] += 1

    def answered(version: str, before: int) -> bool:
        return seen[version] > before

    with served(create_app(build(settings()))) as address:
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for version in versions:
            store.point("hmm", version)
            until(partial(answered, version, seen[version]))
        done.set()
        for thread in threads:
            thread.join()

    assert wrong == []
    assert set(seen) == set(versions)


def test_the_listener_wakes_whom_it_concerns(redis_url: str) -> None:
    """A flip of the family wakes the loader, new candles the nowcasts; another family's flip wakes nobody."""
    bus, flipped, stored_bars = Bus(redis_url), threading.Event(), threading.Event()
    listener = Listener(bus, "hmm", flipped=flipped.set, stored=stored_bars.set)
    listener.start()

    def heard(channel: str, event: threading.Event) -> bool:
        bus.publish(channel, {})
        return event.wait(0.05)

    until(lambda: heard(Channels.candles(str(BTC)), stored_bars))
    assert not heard(Channels.models("hmm-strict"), flipped)
    until(lambda: heard(Channels.models("hmm"), flipped))
    listener.stop()
    bus.close()


def test_a_bad_version_keeps_the_last_good_one_and_shows(store: ModelStore, ledger: Ledger, client: TestClient) -> None:
    """/model and the ledger's replica row carry the error; /predict goes on."""
    good, bad = published_regime(store, 0.1), published_regime(store, 0.2)
    store.point("hmm", good)
    until(lambda: client.get("/model").json()["loaded"] == good)
    path = store.path("hmm", bad) / "model.json"
    path.chmod(0o644)
    path.write_bytes(b"{}")
    link = store.models_dir / "hmm" / "current"  # by hand: the store would not point at a damaged version
    link.unlink()
    link.symlink_to(bad)

    until(lambda: "digest" in (client.get("/model").json()["error"] or ""))
    answer = client.get("/model").json()
    assert (answer["loaded"], answer["current"]) == (good, bad)
    assert client.post("/predict", json={"logret": returns(60)}).headers["X-Model-Version"] == good
    until(lambda: [replica.error for replica in ledger.replicas.live("hmm")] == [answer["error"]])


def test_heartbeat_names_what_is_loaded(store: ModelStore, ledger: Ledger, client: TestClient) -> None:
    """The ledger knows this replica soon after its start, and the version soon after a promotion."""
    until(lambda: [replica.id for replica in ledger.replicas.live("hmm")] == ["predictor-test"])
    version = published_regime(store)
    store.point("hmm", version)

    until(lambda: [replica.loaded for replica in ledger.replicas.live("hmm")] == [version])
    (replica,) = ledger.replicas.live("hmm")
    assert (replica.role, replica.error) == ("predictor", None)


def test_an_orderly_end_leaves_no_silent_replica(ledger: Ledger, settings: Callable[..., PredictorSettings]) -> None:
    """Who stops in order is not missed: `status` would warn of it for ten minutes after each restart."""
    with TestClient(create_app(build(settings()))):
        until(lambda: [replica.id for replica in ledger.replicas.live("hmm")] == ["predictor-test"])
        ledger.replicas.beat("predictor-other", "predictor", "hmm", None, None)
    assert [replica.id for replica in ledger.replicas.live("hmm")] == ["predictor-other"]


def test_each_new_bar_and_each_flip_updates_the_regime_state(
    store: ModelStore, ledger: Ledger, client: TestClient
) -> None:
    """regime_state follows the newest bar of each stream and the version in service; it equals what /predict says."""
    first, second = published_regime(store, 0.1), published_regime(store, 0.9)
    store.point("hmm", first)
    frame = bars(90)
    stored(ledger, BTC, frame.take(slice(0, 60)))

    def state() -> tuple[int, str] | None:
        found = ledger.regimes.get(BTC)
        return None if found is None else (found.data_time, found.version)

    until(lambda: state() == (int(frame.open_time[59]), first))
    stored(ledger, BTC, frame)
    until(lambda: state() == (int(frame.open_time[89]), first))
    store.point("hmm", second)
    until(lambda: state() == (int(frame.open_time[89]), second))

    told, found = client.post("/predict", json={"stream": str(BTC)}).json(), ledger.regimes.get(BTC)
    assert found is not None
    assert dict(found.probs) == pytest.approx(told["probs"])
    assert found.state == told["state"]


def test_keys_are_asked_for(ledger: Ledger, store: ModelStore, settings: Callable[..., PredictorSettings]) -> None:
    """With AUTH_MODE=keys both routes need the scope read, and refusals name the version too."""
    version = published_regime(store)
    store.point("hmm", version)
    _, reader = ledger.keys.create([Scope.READ], "engine")
    _, ingester = ledger.keys.create([Scope.INGEST], "other")
    with TestClient(create_app(build(settings(auth_mode="keys")))) as client:
        asked = {"logret": returns(60)}
        bare = client.post("/predict", json=asked)
        other = client.post("/predict", json=asked, headers={"Authorization": f"Bearer {ingester}"})
        good = client.post("/predict", json=asked, headers={"Authorization": f"Bearer {reader}"})
        statuses = [client.get("/model").status_code, bare.status_code, other.status_code, good.status_code]

    assert statuses == [401, 401, 403, 200]
    assert {answer.headers["X-Model-Version"] for answer in (bare, other, good)} == {version}
