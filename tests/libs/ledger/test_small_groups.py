"""Outbox, replicas and keys, on both dialects."""

import hashlib
import time

import pytest

from tidewheel.contracts.errors import BadInput, NotFound
from tidewheel.contracts.states import Scope
from tidewheel.ledger.open import Ledger


class TestOutbox:
    def test_pending_until_sent(self, ledger: Ledger) -> None:
        """Events come oldest first, stay until they are sent, and are then gone."""
        runs = [ledger.runs.start_or_join(f"c{n}", "hmm", "api")[0].id for n in range(3)]
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
        time.sleep(0.02)
        assert ledger.replicas.live("hmm", within_ms=1) == []


class TestKeys:
    def test_create_find_revoke(self, ledger: Ledger) -> None:
        """A key's text is shown once; the ledger keeps its hash, scopes and end."""
        key, text = ledger.keys.create([Scope.READ, Scope.TRAIN], "desk")
        prefix, key_id, secret = text.split("_", 2)
        assert (prefix, key_id) == ("twk", key.id)
        found = ledger.keys.find(key_id)
        assert found == key
        assert found.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
        assert found.scopes == {Scope.READ, Scope.TRAIN}
        revoked = ledger.keys.revoke(key_id)
        assert revoked.revoked_at is not None
        assert ledger.keys.revoke(key_id) == revoked
        assert ledger.keys.all() == [revoked]

    def test_unknown_and_empty(self, ledger: Ledger) -> None:
        """No such key is None to find and NotFound to revoke; a key without scopes is refused."""
        assert ledger.keys.find("nobody") is None
        with pytest.raises(NotFound, match="no key 'nobody'"):
            ledger.keys.revoke("nobody")
        with pytest.raises(BadInput, match="at least one scope"):
            ledger.keys.create([], "x")
