"""`current` follows the ledger, unless a person moved it to something that may serve."""

import os
import shutil

import pytest

from services.fleet.keeper.app import projections
from services.fleet.keeper.retention import Retention
from services.ml_trainer.service.projection import Projection
from tests.services.fleet.keeper.conftest import Publish
from tidewheel.contracts.states import PromotionAction
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.store import ModelStore


@pytest.fixture
def projection(ledger: Ledger, store: ModelStore) -> Projection:
    """Over both."""
    return Projection(ledger, store)


def champion(ledger: Ledger) -> str | None:
    """What the ledger wants served."""
    found = ledger.versions.champion("hmm")
    return found.version if found else None


def repoint(store: ModelStore, target: str) -> None:
    """Move `current` as an operator's `ln -sfn` does."""
    link = store.models_dir / "hmm" / "current"
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def test_a_publish_that_died_before_its_symlink_is_completed(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish
) -> None:
    """Promotion is the ledger's; the keeper finishes the link for every family."""
    version = publish()
    assert store.current("hmm") is None

    projections(ledger, projection)()

    assert store.current("hmm") == version
    registry = store.links.registry("hmm")
    assert registry is not None
    assert registry["version"] == version


def test_a_newer_promotion_is_no_hand_at_work(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish
) -> None:
    """A link that lags behind is moved forward, not taken for a rollback."""
    publish()
    projection.reconcile("hmm")
    newer = publish()

    projection.reconcile("hmm")

    assert store.current("hmm") == champion(ledger) == newer
    assert len(ledger.versions.promotions("hmm")) == 2


def test_a_hand_set_link_is_adopted(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish
) -> None:
    """The runbook's rollback by symlink counts, by actor filesystem, and stays."""
    old, new = publish(), publish()
    projection.reconcile("hmm")
    assert store.current("hmm") == new
    repoint(store, old)

    projection.reconcile("hmm")
    projection.reconcile("hmm")

    assert store.current("hmm") == champion(ledger) == old
    last = max(ledger.versions.promotions("hmm"), key=lambda promotion: promotion.id)
    assert (last.actor, last.action) == ("filesystem", PromotionAction.ADOPT)
    assert len(ledger.versions.promotions("hmm")) == 3


def test_a_root_link_set_by_hand_is_adopted(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish
) -> None:
    """/models/current itself may be repointed, as the documents say; it is put back in form afterwards."""
    old, new = publish(), publish()
    projection.reconcile("hmm")
    root = store.models_dir / "current"
    root.unlink()
    root.symlink_to(f"hmm/{old}")

    projection.reconcile("hmm")

    assert store.current("hmm") == champion(ledger) == old != new
    assert store.links.root_repointed() is None
    assert root.resolve().name == old


def test_a_root_link_that_was_removed_is_put_back(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish
) -> None:
    """Whoever finds a folder in its place is told to remove it, for the keeper makes the link again."""
    version = publish()
    projection.reconcile("hmm")
    (store.models_dir / "current").unlink()

    projection.reconcile("hmm")

    assert (store.models_dir / "current").resolve().name == version
    assert len(ledger.versions.promotions("hmm")) == 1


@pytest.mark.parametrize("target", ["../elsewhere", "v2026-01-01-00000000", "REFUSED", "DAMAGED"])
def test_any_other_link_is_put_back(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish, target: str
) -> None:
    """Outside, missing, refused or damaged: the champion comes back and the ledger does not move."""
    damaged, version = publish(), publish()
    (store.path("hmm", damaged) / "model.json").write_text("{}")
    names = {"REFUSED": publish(passed=False), "DAMAGED": damaged}
    projection.reconcile("hmm")
    repoint(store, names.get(target, target))

    projection.reconcile("hmm")

    assert store.current("hmm") == champion(ledger) == version
    assert len(ledger.versions.promotions("hmm")) == 2


def test_a_kill_switch_freezes_the_link_but_for_a_step_back(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish
) -> None:
    """While one stands a hand moves `current` to an earlier champion, and forward again no more."""
    older, newer = publish(), publish()
    projection.reconcile("hmm")
    ledger.switches.trip(None, "risk", "the venue misprices", "hand")
    repoint(store, older)
    projection.reconcile("hmm")
    assert store.current("hmm") == champion(ledger) == older
    repoint(store, newer)

    projection.reconcile("hmm")

    assert store.current("hmm") == champion(ledger) == older
    ledger.switches.clear(None, "admin", "the venue was mended")
    repoint(store, newer)
    projection.reconcile("hmm")
    assert store.current("hmm") == champion(ledger) == newer


def test_a_removed_link_comes_back(ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish) -> None:
    """Also when nothing of it is left."""
    version = publish()
    projection.reconcile("hmm")
    (store.models_dir / "hmm" / "current").unlink()

    projection.reconcile("hmm")

    assert store.current("hmm") == version


@pytest.mark.parametrize("place", ["hmm/current", "current", "registry/hmm.json"])
@pytest.mark.parametrize("act", ["follow", "reconcile"])
def test_a_folder_in_the_way_is_put_aside_whole(
    ledger: Ledger,
    store: ModelStore,
    trained: ModelStore,
    projection: Projection,
    publish: Publish,
    place: str,
    act: str,
) -> None:
    """`cp -r` onto `current` instead of a link: the next promotion is served, nothing of the folder is lost."""
    old = publish()
    projection.reconcile("hmm")
    path = store.models_dir / place
    path.unlink()
    shutil.copytree(store.path("hmm", old), path)
    newer = publish()

    assert getattr(projection, act)("hmm") == newer
    Retention(ledger, store, trained, trained, keep_refused=0)()

    assert store.current("hmm") == newer == champion(ledger) and store.links.fault("hmm") is None
    assert (store.models_dir / "current").resolve().name == newer
    registry = store.links.registry("hmm")
    assert registry is not None and registry["version"] == newer
    (aside,) = path.parent.glob(f"{path.name}.aside-*")
    assert (aside / "model.json").read_bytes() == (store.path("hmm", old) / "model.json").read_bytes()


def test_refused_versions_are_pruned_after_five(
    ledger: Ledger, store: ModelStore, trained: ModelStore, publish: Publish
) -> None:
    """The newest five stay to be looked at, and whatever was promoted stays as a target of a rollback."""
    old, new = publish(), publish()
    refused = [publish(passed=False) for _ in range(7)]

    Retention(ledger, store, trained, trained, keep_refused=5)()

    assert set(store.versions("hmm")) == {old, new, *refused[2:]}
    assert len(ledger.versions.all("hmm")) == 9


def test_a_bundle_that_no_ledger_row_names_goes_after_an_hour(
    ledger: Ledger, store: ModelStore, trained: ModelStore, publish: Publish
) -> None:
    """What a zombie renamed into place and could not publish is collected, but not while it may still be published."""
    kept = publish()
    orphan = store.path("hmm", "v2026-01-01-0a0b0c0d")
    shutil.copytree(store.path("hmm", kept), orphan)
    Retention(ledger, store, trained, trained, keep_refused=5)()
    assert orphan.is_dir()

    os.utime(orphan, (0, 0))
    Retention(ledger, store, trained, trained, keep_refused=5)()

    assert store.versions("hmm") == [kept]


@pytest.mark.parametrize("content", [b"", b"[]", b"\x00" * 200, b'{"version": "v20'])
def test_a_damaged_registry_file_is_written_anew(
    ledger: Ledger, store: ModelStore, projection: Projection, publish: Publish, content: bytes
) -> None:
    """It is only a projection: damage in it stops no promotion, and is no sign of a hand at `current`."""
    publish()
    projection.reconcile("hmm")
    (store.models_dir / "registry" / "hmm.json").write_bytes(content)
    newer = publish()

    projection.follow("hmm")

    registry = store.links.registry("hmm")
    assert store.current("hmm") == newer == champion(ledger)
    assert registry is not None and registry["version"] == newer
