"""Outbox, replicas and keys, on both dialects."""

import hashlib

import pytest
from sqlalchemy import update

from tidewheel.contracts.errors import BadInput, NotFound
from tidewheel.contracts.states import Scope
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.tables import api_keys, outbox, replicas


class TestOutbox:
    def test_pending_until_sent(self, ledger: Ledger) -> None:
        """Events come oldest first, stay until they are sent, and are then gone."""
        runs = [ledger.runs.start_or_join(f"c{n}", "hmm", "api")[0].id for n in range(3)]
        with ledger._db.write() as connection:  # on Postgres what was changed last lies last
            connection.execute(
                update(outbox).where(outbox.c.payload["run_id"].as_integer() == runs[0]).values(topic="x")
            )
        events = ledger.outbox.pending(limit=2)
        assert [event.payload["run_id"] for event in events] == runs[:2]
        ledger.outbox.sent([events[0].id])
        assert [event.payload["run_id"] for event in ledger.outbox.pending()] == runs[1:]
        ledger.outbox.sent([])
        assert len(ledger.outbox.pending()) == 2


class TestReplicas:
    def test_live_ones(self, ledger: Ledger) -> None:
        """A replica lives while it beats; its newest word counts; families are apart."""
        ledger.replicas.beat("p1", "predictor", "hmm", None, None)
        ledger.replicas.beat("p1", "predictor", "hmm", "v1", "v2: digest differs")
        ledger.replicas.beat("p2", "predictor", "lstm", "v1", None)
        (replica,) = ledger.replicas.live("hmm")
        assert (replica.id, replica.loaded, replica.error) == ("p1", "v1", "v2: digest differs")
        ledger.replicas.beat("p2", "worker", "hmm", "v1", None)
        ledger.replicas.beat("p0", "predictor", "hmm", None, None)
        assert [(each.id, each.role) for each in ledger.replicas.live("hmm")] == [
            ("p0", "predictor"), ("p1", "predictor"), ("p2", "worker"),
        ]  # fmt: skip
        ledger.replicas.leave("p0")
        assert [each.id for each in ledger.replicas.live("hmm")] == ["p1", "p2"]
        ledger.replicas.beat("p3", "predictor", "ppo", "v1", "v2: digest differs")
        assert [(each.loaded, each.error) for each in ledger.replicas.live("ppo")] == [("v1", "v2: digest differs")]
        with ledger._db.write() as connection:
            connection.execute(update(replicas).values(seen_at=0))
        assert ledger.replicas.live("hmm") == []
        ledger.replicas.beat("p1", "predictor", "hmm", "v2", None)
        assert [each.id for each in ledger.replicas.live("hmm")] == ["p1"]

    def test_a_role_is_heard_of(self, ledger: Ledger) -> None:
        """While one process of it beats, or several; another role's sign is not its own, nor is an old one."""
        ledger.replicas.beat("p1", "predictor", "hmm", None, None)
        assert not ledger.replicas.hears_of("trainer")
        for instance in ("t1", "t2"):
            ledger.replicas.beat(instance, "trainer", "", None, None)
        assert ledger.replicas.hears_of("trainer") and ledger.replicas.hears_of("predictor")
        assert ledger.replicas.live("hmm")[0].id == "p1"
        with ledger._db.write() as connection:
            connection.execute(update(replicas).where(replicas.c.role == "trainer").values(seen_at=0))
        assert not ledger.replicas.hears_of("trainer")
        ledger.replicas.beat("t1", "trainer", "", None, None)
        assert ledger.replicas.hears_of("trainer")


class TestKeys:
    def test_create_find_revoke(self, ledger: Ledger) -> None:
        """A key's text is shown once; the ledger keeps its hash, scopes and end."""
        other, _ = ledger.keys.create([Scope.READ], "another desk")
        key, text = ledger.keys.create([Scope.READ, Scope.TRAIN], "desk")
        prefix, key_id, secret = text.split("_", 2)
        assert (prefix, key_id) == ("twk", key.id)
        found = ledger.keys.find(key_id)
        assert found == key
        assert found.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
        assert found.scopes == {Scope.READ, Scope.TRAIN}
        revoked = ledger.keys.revoke(key_id)
        assert revoked.revoked_at is not None
        with ledger._db.write() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=7, created_at=0))
        assert ledger.keys.revoke(key_id).revoked_at == 7
        assert ledger.keys.all() == [ledger.keys.find(key_id), other]
        ledger.keys.create([Scope.READ], "a third")
        with ledger._db.write() as connection:
            connection.execute(update(api_keys).values(created_at=0))
        assert [each.id for each in ledger.keys.all()] == sorted(each.id for each in ledger.keys.all())

    def test_unknown_and_empty(self, ledger: Ledger) -> None:
        """No such key is None to find and NotFound to revoke; a key without scopes is refused."""
        assert ledger.keys.find("nobody") is None
        with pytest.raises(NotFound, match="no key 'nobody'"):
            ledger.keys.revoke("nobody")
        with pytest.raises(BadInput, match="at least one scope"):
            ledger.keys.create([], "x")
