"""Leases and fences, on both dialects."""

import secrets
import threading
import time

import pytest
from sqlalchemy import update

from tidewheel.contracts.errors import FenceLost, LeaseTaken, NotFound
from tidewheel.ledger.leases import _TOLD
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Lease
from tidewheel.ledger.tables import leases as rows

TTL = 60_000


class TestLeases:
    def test_one_holder(self, ledger: Ledger) -> None:
        """While one holds it nobody else gets it, under any name of owner."""
        lease = ledger.leases.acquire("keeper", "a", TTL)
        assert lease is not None
        assert ledger.leases.acquire("keeper", "b", TTL) is None
        assert ledger.leases.acquire("keeper", "a", TTL) is None
        assert ledger.leases.get("keeper") == lease

    def test_release_frees_it_at_once(self, ledger: Ledger) -> None:
        """After a release the next one gets it, with a higher fence."""
        first = ledger.leases.acquire("keeper", "a", TTL)
        assert first is not None
        ledger.leases.release(first)
        assert ledger.leases.get("keeper") is None
        second = ledger.leases.acquire("keeper", "b", TTL)
        assert second is not None
        assert second.fence > first.fence

    def test_taken_over_after_its_end(self, ledger: Ledger) -> None:
        """A lease that was not renewed goes to the next one; the old holder can neither renew nor release it."""
        first = ledger.leases.acquire("keeper", "a", 1)
        assert first is not None
        time.sleep(0.01)
        with pytest.raises(FenceLost, match="a no longer holds keeper"):
            ledger.leases.renew(first, TTL)
        second = ledger.leases.acquire("keeper", "b", TTL)
        assert second is not None
        assert second.owner == "b"
        ledger.leases.release(first)
        with pytest.raises(FenceLost):
            ledger.leases.renew(first, TTL)
        assert ledger.leases.get("keeper") == second

    def test_renewal_moves_the_end(self, ledger: Ledger) -> None:
        """A renewed lease keeps its fence and ends later."""
        lease = ledger.leases.acquire("keeper", "a", TTL // 2)
        assert lease is not None
        renewed = ledger.leases.renew(lease, TTL)
        assert renewed.fence == lease.fence
        assert renewed.until > lease.until

    def test_the_dead_make_room_and_the_living_stay(self, ledger: Ledger) -> None:
        """Of two leases the one whose holder is gone is taken over, and its new holder counts as living."""
        other, dead = ledger.leases.acquire("other", "a", TTL), ledger.leases.acquire("keeper", "a", TTL)
        with ledger._db.write() as connection:
            nobody = secrets.randbits(62) + 1
            connection.execute(update(rows).where(rows.c.name == "keeper").values(pulse=nobody))
        heir = ledger.leases.acquire("keeper", "b", TTL)
        assert heir is not None
        assert heir.owner == "b"
        assert dead is not None
        assert heir.fence > dead.fence
        assert [ledger.leases.acquire(name, "c", TTL) for name in ("keeper", "other")] == [None, None]
        assert [ledger.leases.get(name) for name in ("keeper", "other")] == [heir, other]

    def test_a_lease_taken_over_lives_with_its_new_holder(self, ledger: Ledger) -> None:
        """That the former holder is gone says nothing about the one who took the lease after its end."""
        first = ledger.leases.acquire("keeper", "a", TTL)
        assert first is not None
        with ledger._db.write() as connection:
            connection.execute(update(rows).values(pulse=secrets.randbits(62) + 1))
        ledger.leases.release(first)
        assert ledger.leases.acquire("keeper", "b", TTL) is not None
        assert ledger.leases.acquire("keeper", "c", TTL) is None

    def test_a_refusal_names_those_that_are_held(self, ledger: Ledger) -> None:
        """The first of them, by name; one that has ended is not among them, nor can it be ended again."""
        held = [ledger.leases.acquire(f"{number:02}", "a", TTL) for number in range(_TOLD + 1, -1, -1)]
        ended = held[-1]
        assert ended is not None
        ledger.leases.release(ended)
        for name in ("keeper", ended.name):
            with pytest.raises(NotFound, match=f"'{name}'") as caught:
                ledger.leases.end(name)
            known = ", ".join(f"{number:02}" for number in range(1, _TOLD + 1))
            assert caught.value.detail.endswith(f"held now: {known}")

    def test_many_threads_one_winner(self, ledger: Ledger) -> None:
        """Of many who ask at once exactly one gets it; fences of successive winners only grow."""
        fences: list[int] = []
        for _ in range(5):
            got = [lease for lease in _all_at_once(ledger, 8) if lease is not None]
            assert len(got) == 1
            fences.append(got[0].fence)
            ledger.leases.release(got[0])
        assert fences == sorted(set(fences))

    def test_hold_renews_by_itself(self, ledger: Ledger) -> None:
        """Held for longer than its ttl, the lease is still ours; afterwards it is free."""
        with ledger.leases.hold("keeper", "a", 1_500) as held:
            time.sleep(2)
            assert not held.lost.is_set()
            with pytest.raises(LeaseTaken, match="held by a"), ledger.leases.hold("keeper", "b", 1_500):
                pass
        assert ledger.leases.get("keeper") is None

    def test_hold_tells_of_the_loss(self, ledger: Ledger) -> None:
        """When the right ends without our doing, `lost` is set within a third of the ttl."""
        with ledger.leases.hold("keeper", "a", 1_500) as held:
            ledger.leases.release(held.lease)
            assert held.lost.wait(5)


def _all_at_once(ledger: Ledger, count: int) -> list[Lease | None]:
    start = threading.Barrier(count)
    results: list[Lease | None] = []

    def ask(number: int) -> None:
        start.wait()
        results.append(ledger.leases.acquire("keeper", f"thread {number}", TTL))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == count
    return results
