"""The proof `bits` holds, and bites."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.fleet.prove import bits
from services.fleet.prove.proof import Budget, Tell
from tidewheel.contracts.errors import BadBundle
from tidewheel.modelstore import bundle, store
from tidewheel.modelstore.store import ModelStore


def test_no_flipped_bit_is_served(budget: Budget, tell: Tell) -> None:
    """Each flip in each file of a bundle is refused."""
    tally = bits.prove(budget, tell)

    assert (tally.trials, tally.violations, tally.first) == (budget.trials, 0, None)


@pytest.mark.parametrize("name", ["metadata.json", "weights.npz"])
def test_a_verifier_that_skips_a_digest_is_caught(
    name: str, budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file's digest is not looked at: the proof names a flip in that file."""
    sha256: Callable[[bytes], str] = bundle._sha256
    known: dict[str, str] = {}

    def reads(path: Path, *, version: str | None = None) -> bundle.OpenBundle:
        known.setdefault("digest", sha256((path / name).read_bytes()))
        content = (path / name).read_bytes()
        monkeypatch.setattr(bundle, "_sha256", lambda data: known["digest"] if data == content else sha256(data))
        return bundle.read_bundle(path, version=version)

    monkeypatch.setattr(store, "read_bundle", reads)
    tally = bits.prove(budget, tell)

    assert tally.violations > 0
    assert tally.first is not None
    assert f"of {name} was flipped" in tally.first


def test_a_store_that_refuses_everything_proves_nothing(budget: Budget, tell: Tell) -> None:
    """Refusing flipped bundles counts only where the intact one is opened."""

    class Closed(ModelStore):
        def open(self, family: str, version: str | None = None) -> bundle.OpenBundle:
            raise BadBundle("never")

    with pytest.raises(BadBundle, match="never"):
        bits.prove(budget, tell, store=Closed)
