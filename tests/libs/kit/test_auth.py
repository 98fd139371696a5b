import hashlib
from dataclasses import dataclass

import pytest
from fastapi import APIRouter, Depends
from starlette.testclient import TestClient

from tidewheel.contracts.errors import NotAuthenticated
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import Doorkeeper, require
from tidewheel.kit.service import Service
from tidewheel.kit.settings import Settings, load
from tidewheel.kit.web import create_app


@dataclass
class Key:
    id: str
    secret_sha256: str
    scopes: frozenset[Scope]
    revoked_at: int | None = None


class Keyring:
    """Keys in memory, with the same face as the ledger's."""

    def __init__(self, *keys: Key) -> None:
        self.keys = {key.id: key for key in keys}
        self.asked = 0

    def find(self, key_id: str) -> Key | None:
        self.asked += 1
        return self.keys.get(key_id)


def key(key_id: str, secret: str, *scopes: Scope) -> Key:
    return Key(key_id, hashlib.sha256(secret.encode()).hexdigest(), frozenset(scopes))


def client(keyring: Keyring) -> TestClient:
    router = APIRouter()
    router.post("/train", dependencies=[Depends(require(Scope.TRAIN))])(lambda: {"ok": True})
    service = Service(name="desk", settings=load(Settings, auth_mode="keys"), routers=[router], keys=keyring)
    return TestClient(create_app(service))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_only_a_key_with_the_scope_enters() -> None:
    """The right key enters, admin enters, a key without the scope is told which one it lacks."""
    app = client(Keyring(key("a", "s_1", Scope.TRAIN), key("b", "s2", Scope.READ), key("c", "s3", Scope.ADMIN)))
    assert app.post("/train", headers=bearer("twk_a_s_1")).status_code == 200
    assert app.post("/train", headers=bearer("twk_c_s3")).status_code == 200
    refused = app.post("/train", headers=bearer("twk_b_s2"))
    assert refused.status_code == 403 and refused.json()["scope"] == "train"


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("twk_a_wrong"), bearer("twk_z_s1"), bearer("nonsense"), bearer("twk_a_"), {"authorization": "Basic x"}],
)
def test_everything_else_is_refused(headers: dict[str, str]) -> None:
    """Without a known key and its secret the answer is 401 and says how to send one."""
    refused = client(Keyring(key("a", "s1", Scope.TRAIN))).post("/train", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.json()["code"] == "not_authenticated"


def test_probes_need_no_key() -> None:
    """Health, readiness, metrics and docs are open in either mode."""
    app = client(Keyring())
    for path in ("/health", "/ready", "/metrics", "/docs", "/openapi.json"):
        assert app.get(path).status_code == 200


async def _admitted(doorkeeper: Doorkeeper, token: str) -> bool:
    try:
        await doorkeeper.admit(token)
    except NotAuthenticated:
        return False
    return True


def test_revoked_key_works_for_thirty_seconds_at_most() -> None:
    """A key is looked up again after 30 s, and not before."""
    import asyncio

    now = 0.0
    keyring = Keyring(key("a", "s1", Scope.TRAIN))
    doorkeeper = Doorkeeper(keyring, clock=lambda: now)

    async def scenario() -> None:
        nonlocal now
        assert await _admitted(doorkeeper, "twk_a_s1")
        keyring.keys["a"] = Key("a", keyring.keys["a"].secret_sha256, frozenset({Scope.TRAIN}), revoked_at=1)
        now = 29.0
        assert await _admitted(doorkeeper, "twk_a_s1")
        assert keyring.asked == 1
        now = 31.0
        assert not await _admitted(doorkeeper, "twk_a_s1")

    asyncio.run(scenario())


def test_scoped_routes_without_a_place_for_keys_do_not_start() -> None:
    """A service that forgot its keys is refused when it is built, not opened."""
    router = APIRouter()
    router.post("/train", dependencies=[Depends(require(Scope.TRAIN))])(lambda: None)
    with pytest.raises(ValueError, match="names no keys"):
        create_app(Service(name="desk", settings=load(Settings, auth_mode="keys"), routers=[router]))


def test_an_actor_is_named_after_its_key_and_has_its_scopes() -> None:
    """What is written beside a promotion is the key's public part, and nothing of its secret."""
    import asyncio

    keyring = Keyring(key("a", "s1", Scope.TRAIN, Scope.READ))
    actor = asyncio.run(Doorkeeper(keyring).admit("twk_a_s1"))

    assert (actor.name, actor.scopes) == ("key:a", frozenset({Scope.TRAIN, Scope.READ}))
    assert actor.may(Scope.TRAIN) and not actor.may(Scope.ADMIN)


def test_a_key_has_at_most_256_characters() -> None:
    """Longer ones are refused before anything is looked up."""
    import asyncio

    longest = "s" * (256 - len("twk_a_"))
    keyring = Keyring(key("a", longest, Scope.READ), key("b", longest + "s", Scope.READ))
    doorkeeper = Doorkeeper(keyring)

    assert asyncio.run(_admitted(doorkeeper, f"twk_a_{longest}"))
    assert not asyncio.run(_admitted(doorkeeper, f"twk_b_{longest}s"))
    assert keyring.asked == 1


def test_what_is_remembered_is_bounded_and_never_a_stranger() -> None:
    """1,024 keys are remembered; unknown ids are asked for each time, so that a new key works at once."""
    import asyncio

    keyring = Keyring(*(key(f"k{number}", "s", Scope.READ) for number in range(1_025)))
    doorkeeper = Doorkeeper(keyring, clock=lambda: 0.0)

    async def scenario() -> None:
        for number in range(1_024):
            assert await _admitted(doorkeeper, f"twk_k{number}_s")
        assert await _admitted(doorkeeper, "twk_k0_s")
        assert keyring.asked == 1_024
        assert await _admitted(doorkeeper, "twk_k1024_s")  # one too many: all are forgotten
        assert await _admitted(doorkeeper, "twk_k0_s")
        assert keyring.asked == 1_026
        for _ in range(2):
            assert not await _admitted(doorkeeper, "twk_stranger_s")
        assert keyring.asked == 1_028

    asyncio.run(scenario())


def test_a_key_is_looked_up_again_after_exactly_thirty_seconds() -> None:
    """The 30 s of a revoked key are the most, not about."""
    import asyncio

    now = 1_000.0
    keyring = Keyring(key("a", "s1", Scope.TRAIN))
    doorkeeper = Doorkeeper(keyring, clock=lambda: now)
    asyncio.run(_admitted(doorkeeper, "twk_a_s1"))
    now = 1_029.0
    asyncio.run(_admitted(doorkeeper, "twk_a_s1"))
    assert keyring.asked == 1
    now = 1_030.0
    asyncio.run(_admitted(doorkeeper, "twk_a_s1"))

    assert keyring.asked == 2


@pytest.mark.parametrize("sent", ["twk", "twk__s1", "xwk_a_s1", "TWK_a_s1", "_a_s1", "a_s1"])
def test_the_form_of_a_key_is_told(sent: str) -> None:
    """A malformed key is told the form that is meant; a wrong one is named by its public part alone."""
    app = client(Keyring(key("a", "s1", Scope.TRAIN)))

    assert "of the form twk_<id>_<secret>" in app.post("/train", headers=bearer(sent)).json()["detail"]
    assert "key 'a' is unknown" in app.post("/train", headers=bearer("twk_a_hunter2")).json()["detail"]
    assert "lacks" in client(Keyring(key("a", "s1"))).post("/train", headers=bearer("twk_a_s1")).json()["detail"]
