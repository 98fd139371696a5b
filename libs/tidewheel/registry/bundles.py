"""A bundle of our own that a user registers: it says itself which columns it reads at which horizon."""

from collections.abc import Mapping
from typing import Any

from tidewheel.contracts.errors import BadBundle, BadInput, BadModel
from tidewheel.contracts.states import ModelFormat, Origin
from tidewheel.models.horizons import HorizonModel
from tidewheel.modelstore.canary import canary
from tidewheel.registry.config import FeatureConfig
from tidewheel.registry.files import TrainedModels
from tidewheel.registry.found import Found
from tidewheel.registry.loaded import Own


def look_at_bundle(
    files: TrainedModels, file_path: str, horizons: tuple[int, ...], feature_config: Mapping[str, Any] | None
) -> Found:
    """The bundle in the folder `file_path`, verified and tried in a child.

    Raises:
        BadInput: `feature_mismatch`: it does not forecast over one of `horizons`, or from other columns than
            `feature_config` says.
        BadModel, ModelFileNotFound: it is damaged, holds no forecaster of hours, or did not survive its trial.
    """
    relative = files.locate(file_path)
    bundle = files.read_bundle(relative)
    manifest = bundle.manifest
    tried = canary(files.path(relative))
    if not tried.passed or tried.numbers["version"] != manifest.version:
        raise BadModel(f"{relative}: {tried.reason}")
    try:
        model = Own.of(bundle).model
        origin = Origin(manifest.origin)
    except (BadBundle, ValueError) as refused:
        raise BadModel(f"{relative}: {refused}") from None
    if model.signature != manifest.feature_signature:
        raise BadModel(f"{relative} was made for other features than those that this program computes")
    absent = [horizon for horizon in horizons if horizon not in model.horizons]
    if absent:
        raise BadInput(
            f"{relative} forecasts {list(model.horizons)} h, and prediction_horizons names {absent} too",
            code="feature_mismatch",
        )
    own, warnings = own_config(model, horizons), []
    if feature_config is None:
        warnings.append(f"feature_config was not sent; that of {relative} is taken: relative, {own['features']}")
    elif (said := FeatureConfig.parse(feature_config, horizons)) != FeatureConfig.parse(own, horizons):
        raise BadInput(
            f"{relative} reads relative {own['features']}, and feature_config names "
            f"{'relative' if said.relative else 'price'} { {h: list(names) for h, names in said.features.items()} }; "
            "leave feature_config out",
            code="feature_mismatch",
        )
    return Found(
        file_path=relative,
        format=ModelFormat.BUNDLE,
        content_digest=manifest.digest,
        feature_config=own,
        outputs=len(model.horizons),
        warnings=warnings,
        data_as_of=manifest.data_as_of,
        origin=origin,
        metrics=manifest.metrics,
    )


def own_config(model: HorizonModel, horizons: tuple[int, ...]) -> dict[str, Any]:
    """The feature_config of a model of ours, which is asked over `horizons`."""
    return {"features": {str(horizon): list(model.features(horizon)) for horizon in horizons}, "units": "relative"}
