"""Presets: immutable by content, retired and never deleted; on both dialects."""

import pytest

from tests.libs.ledger.control.deciding import ALIKE, BTC, ETH, FAST, SLOW, decide, menu, standing
from tidewheel.contracts.canonical import digest_of
from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.ledger.open import Ledger


class TestRegister:
    def test_new_and_again(self, ledger: Ledger) -> None:
        """The same content again is the same preset; the first registration's name stays on it."""
        preset, new = ledger.presets.register(BTC, "fast", FAST, "desk")
        assert (preset.key, preset.preset_id, preset.params, preset.created_by) == (BTC, "fast", FAST, "desk")
        assert preset.digest == digest_of(FAST) and new
        assert preset.retired_at is None and abs(preset.created_at - ledger.now()) < 60_000
        again = ledger.presets.register(BTC, "fast", dict(reversed(FAST.items())), "another")
        assert again == (preset, False)

    def test_other_params_under_the_name(self, ledger: Ledger) -> None:
        """A name stands for its first params; another pair's preset of that name is its own."""
        menu(ledger, BTC)
        with pytest.raises(Conflict, match="stands for other params") as caught:
            ledger.presets.register(BTC, "fast", SLOW, "desk")
        assert caught.value.code == "preset_differs"
        assert ledger.presets.register(ETH, "fast", SLOW, "desk")[1]
        assert ledger.presets.register(ALIKE, "fast", SLOW, "desk")[1]
        assert [each.params for each in ledger.presets.of(BTC)] == [FAST, SLOW]
        assert [each.params for each in ledger.presets.of(ALIKE)] == [SLOW]
        assert [ledger.presets.pair(key).key for key in (BTC, ETH, ALIKE)] == [BTC, ETH, ALIKE]

    def test_a_name_that_is_none(self, ledger: Ledger) -> None:
        """What cannot name a preset registers nothing, not even the pair."""
        with pytest.raises(BadInput, match="preset_id 'a/b'"):
            ledger.presets.register(BTC, "a/b", FAST, "desk")
        assert ledger.presets.pairs() == []


class TestRetire:
    def test_retired_for_good(self, ledger: Ledger) -> None:
        """A retired preset is kept with name and reason, is not live, and never comes back under its name."""
        menu(ledger, BTC, ETH)
        retired = ledger.presets.retire(BTC, "fast", "risk", "too risky")
        assert (retired.retired_by, retired.retired_reason) == ("risk", "too risky")
        assert retired.retired_at is not None and abs(retired.retired_at - ledger.now()) < 60_000
        assert ledger.presets.retire(BTC, "fast", "another", "again") == retired
        assert [each.retired_at is None for each in ledger.presets.of(BTC)] == [False, True]
        assert all(each.retired_at is None for each in ledger.presets.of(ETH))
        with pytest.raises(Conflict, match=r"was retired by risk \(too risky\)") as caught:
            ledger.presets.register(BTC, "fast", FAST, "desk")
        assert caught.value.code == "preset_retired"

    def test_a_choice_sees_live_ones_in_order(self, ledger: Ledger) -> None:
        """What was registered or retired a moment ago is seen by the next choice, and a retired incumbent is named."""
        menu(ledger, ETH, BTC)
        assert [each.preset_id for each in standing(ledger).presets] == ["fast", "slow"]
        decide(ledger)
        ledger.presets.register(BTC, "best", {"lookback": 7, "stop": 2.0}, "desk")
        ledger.presets.retire(BTC, "fast", "risk", "too risky")
        seen = standing(ledger)
        assert [each.preset_id for each in seen.presets] == ["slow", "best"]
        assert seen.incumbent is not None and seen.incumbent.retired_reason == "too risky"
        assert [each.preset_id for each in standing(ledger, ETH).presets] == ["fast", "slow"]

    def test_unknown(self, ledger: Ledger) -> None:
        """A pair or preset that nobody registered is not found, by name."""
        with pytest.raises(NotFound, match="no preset was ever registered for momentum/BTC/USDT") as caught:
            ledger.presets.retire(BTC, "fast", "risk", "x")
        assert caught.value.code == "unknown_pair"
        for ask in (ledger.presets.of, ledger.presets.pair):
            with pytest.raises(NotFound, match="momentum/BTC/USDT"):
                ask(BTC)
        menu(ledger, BTC, ETH)
        ledger.presets.register(ETH, "best", FAST, "desk")
        with pytest.raises(NotFound, match="has no preset 'best'"):
            ledger.presets.retire(BTC, "best", "risk", "x")


class TestAudit:
    def test_who_did_what(self, ledger: Ledger) -> None:
        """Registering and retiring leave a line each, newest first; what changed nothing leaves none."""
        menu(ledger, BTC, ETH)
        ledger.presets.register(BTC, "fast", FAST, "desk")
        ledger.presets.retire(BTC, "slow", "risk", "too slow")
        ledger.presets.retire(BTC, "slow", "risk", "too slow")
        told = [(each.actor, each.action, each.reason, each.detail) for each in ledger.audit.list(subject=str(BTC))]
        assert told == [
            ("risk", "preset.retire", "too slow", {"preset_id": "slow"}),
            ("desk", "preset.register", "", {"preset_id": "slow"}),
            ("desk", "preset.register", "", {"preset_id": "fast"}),
        ]
        assert abs(ledger.audit.list()[0].at - ledger.now()) < 60_000
        assert [each.subject for each in ledger.audit.list(limit=2)] == [str(BTC), str(ETH)]
        assert len(ledger.audit.list()) == 5

    def test_pairs(self, ledger: Ledger) -> None:
        """Pairs are told in the order of their first registration, each with where it stands."""
        menu(ledger, ETH, BTC)
        decide(ledger)
        assert [(each.key, each.incumbent, each.decisions) for each in ledger.presets.pairs()] == [
            (ETH, None, 0), (BTC, "fast", 1),
        ]  # fmt: skip
        assert ledger.presets.pair(BTC) == ledger.presets.pairs()[1]
