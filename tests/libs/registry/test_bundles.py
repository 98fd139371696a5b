"""A bundle of ours that a user registers: what it says itself counts, and nothing is registered that is not whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.libs.models.test_horizons import reverting
from tests.libs.modelstore.bundles import AS_OF, forged
from tests.libs.modelstore.regimes import staged_regime
from tests.libs.registry.bundles import fitted, published
from tidewheel.contracts.errors import BadInput, BadModel, Conflict, ModelFileNotFound
from tidewheel.contracts.states import ModelFormat, Origin
from tidewheel.ledger.registry.records import NewModel
from tidewheel.models.horizons import HorizonModel
from tidewheel.modelstore.store import ModelStore
from tidewheel.registry.files import TrainedModels
from tidewheel.registry.registration import Registration, new_model


@pytest.fixture(scope="module")
def model() -> HorizonModel:
    return fitted(reverting(700))


def registered(root: Path, folder: str, **changes: Any) -> tuple[NewModel, list[str]]:
    said: dict[str, Any] = {
        "model_name": "mine",
        "model_type": "Linear",
        "prediction_horizons": [1, 24],
        "file_path": folder,
        "feature_config": None,
    }
    return new_model(TrainedModels(root), lambda _: {"never": "asked"}, Registration(**(said | changes)), now=AS_OF)


def test_a_bundle_says_itself_what_it_reads(tmp_path: Path, model: HorizonModel) -> None:
    """Columns, units, age and origin are the bundle's, and the answer says where the columns came from."""
    folder = published(tmp_path, model)
    new, warnings = registered(tmp_path, folder)

    own = {"features": {"1": list(model.features(1)), "24": list(model.features(24))}, "units": "relative"}
    assert (new.format, new.trusted, new.outputs, new.reference) == (ModelFormat.BUNDLE, True, 2, None)
    assert (new.feature_config, new.data_as_of, new.origin) == (own, AS_OF, Origin.REPLAY)
    assert new.content_digest.startswith(folder[-8:]) and new.metrics == {"score": 1.25}
    assert len(warnings) == 1 and warnings[0].startswith(f"feature_config was not sent; that of {folder} is taken")
    said, silent = registered(tmp_path, folder, feature_config=own)
    assert (said.digest, silent) == (new.digest, [])


def test_what_the_bundle_does_not_do_is_refused(tmp_path: Path, model: HorizonModel) -> None:
    """Another horizon, other columns and other units: feature_mismatch, with both sides."""
    folder = published(tmp_path, model)
    own = {"1": list(model.features(1)), "24": list(model.features(24))}
    told: list[tuple[dict[str, Any], str]] = [
        ({"prediction_horizons": [1, 3]}, r"forecasts \[1, 24\] h, and prediction_horizons names \[3\] too"),
        ({"feature_config": {"features": own}}, r"reads relative .* names price"),
        ({"feature_config": {"features": own | {"1": own["1"][::-1]}, "units": "relative"}}, "'price_change_1h', 'SMA"),
    ]
    for changes, sentence in told:
        with pytest.raises(BadInput, match=sentence) as refused:
            registered(tmp_path, folder, **changes)
        assert refused.value.code == "feature_mismatch"


def _extra(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _link(folder: Path) -> None:
    (folder / "h1.npz").rename(folder.parent / "elsewhere.npz")
    (folder / "h1.npz").symlink_to(folder.parent / "elsewhere.npz")


def _changed(folder: Path) -> None:
    content = (folder / "h1.npz").read_bytes()
    (folder / "h1.npz").chmod(0o644)
    (folder / "h1.npz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _lost(folder: Path) -> None:
    (folder / "h1.npz").unlink()


def _bare(folder: Path) -> None:
    (folder / "manifest.json").unlink()


DAMAGES: dict[Callable[[Path], None], str] = {
    _extra: "missing or extra files: notes.txt",
    _link: "file h1.npz is a symbolic link",
    _changed: "file h1.npz of the bundle at .* does not have the digest in its manifest",
    _lost: "missing or extra files: h1.npz",
    _bare: "file manifest.json is missing",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_not_whole_is_refused(
    tmp_path: Path, model: HorizonModel, damage: Callable[[Path], None]
) -> None:
    """What is wrong is named: `bad_model` where it is registered, `model_file_changed` where it had been."""
    folder, files = published(tmp_path, model), TrainedModels(tmp_path)
    digest = files.read_bundle(folder).manifest.digest
    (tmp_path / folder).chmod(0o755)
    damage(tmp_path / folder)

    with pytest.raises(BadModel, match=DAMAGES[damage]) as refused:
        registered(tmp_path, folder)
    assert refused.value.code == "bad_model" and refused.value.detail.startswith(folder)
    with pytest.raises(Conflict, match=DAMAGES[damage]) as changed:
        files.read_registered_bundle(folder, digest)
    assert changed.value.code == "model_file_changed"


def test_a_foreign_bundle_is_refused(tmp_path: Path, model: HorizonModel) -> None:
    """Sound bundles of something else, however well sealed, and another one in the place of the registered one."""
    regimes = staged_regime(ModelStore(tmp_path))
    nonsense = forged(tmp_path, {"model.json": b"{}"})
    with pytest.raises(BadModel, match="family 'hmm' does not forecast over hours"):
        registered(tmp_path, str(ModelStore(tmp_path).publish(regimes).relative_to(tmp_path)))
    with pytest.raises(BadModel, match="the canary ended with"):
        registered(tmp_path, str(nonsense.relative_to(tmp_path)))
    folder, files = published(tmp_path, model), TrainedModels(tmp_path)
    with pytest.raises(Conflict, match=r"no longer the bundle that was registered \(000000000000\.\.\., now"):
        files.read_registered_bundle(folder, "0" * 64)
    (tmp_path / "linked").symlink_to(tmp_path / folder)
    with pytest.raises(BadInput, match="symbolic link"):
        registered(tmp_path, "linked")
    with pytest.raises(ModelFileNotFound):
        files.read_registered_bundle(f"{folder}/none", "0" * 64)
