"""From what a user says of a file or bundle to the row that is stored: tried in a child, named by its digest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from tidewheel.contracts.canonical import digest_of
from tidewheel.contracts.errors import BadInput, ModelFileNotFound
from tidewheel.contracts.keys import model_name, version_name
from tidewheel.contracts.states import ModelFormat
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.hourly import BASE, CATALOGUE
from tidewheel.ledger.registry.records import NewModel
from tidewheel.registry.bundles import look_at_bundle
from tidewheel.registry.config import FeatureConfig, horizons_of
from tidewheel.registry.files import TrainedModels, sha256
from tidewheel.registry.formats.kinds import kind_of
from tidewheel.registry.found import Found
from tidewheel.registry.trial import try_out

MAX_TYPE = 50  #: characters, as documented
BLIND = (
    "one output and the same features at every horizon: the forecasts of all horizons are one number; give a model "
    "with an output for each horizon, or name the feature `horizon`"
)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Registration:
    """What a user says of his model."""

    model_name: str
    model_type: str  #: what it is, in his words
    prediction_horizons: Sequence[int]  #: hours
    file_path: str  #: below TRAINED_MODELS_DIR, which /app/trained_models names everywhere
    feature_config: Mapping[str, Any] | None = None  #: as `FeatureConfig.parse` reads it


def new_model(
    files: TrainedModels,
    reference: Callable[[FeatureConfig], dict[str, Any] | None],
    said: Registration,
    *,
    now: UtcMillis,
) -> tuple[NewModel, list[str]]:
    """The model as it will stand on record, and what its user should know of it.

    `reference` tells how the inputs of a file's model are distributed; a bundle of ours knows that itself.

    Raises:
        BadInput: a field cannot be meant (`path_outside_root`, `feature_mismatch`, `unknown_feature` and others).
        BadModel: it is no sound model of its format, or did not survive its trial.
        ModelFileNotFound: there is no such file or folder.
    """
    name = model_name(said.model_name)
    if not said.model_type.isprintable() or not 1 <= len(said.model_type.strip()) <= MAX_TYPE:
        raise BadInput(f"model_type {said.model_type[:80]!r} is not 1 to {MAX_TYPE} printable characters")
    horizons = horizons_of(said.prediction_horizons)
    look_at = look_at_bundle if files.is_folder(files.locate(said.file_path)) else _look_at_file
    found = look_at(files, said.file_path, horizons, said.feature_config)
    kept_config = None if found.feature_config is None else dict(found.feature_config)
    config = FeatureConfig.parse(kept_config, horizons)
    meaning = {
        "content": found.content_digest,
        "model_type": said.model_type,
        "horizons": list(horizons),
        "feature_config": kept_config,
        "format": found.format.value,
    }
    digest = digest_of(meaning)
    new = NewModel(
        model_name=name,
        version=version_name(now, digest),
        model_type=said.model_type,
        prediction_horizons=horizons,
        file_path=found.file_path,
        feature_config=kept_config,
        digest=digest,
        content_digest=found.content_digest,
        format=found.format,
        feature_signatures=config.signatures(),
        outputs=found.outputs,
        trusted=found.format is not ModelFormat.JOBLIB,
        data_as_of=found.data_as_of,
        origin=found.origin,
        metrics=None if found.metrics is None else dict(found.metrics),
        reference=None if found.format is ModelFormat.BUNDLE else reference(config),
    )
    return new, found.warnings


def _look_at_file(
    files: TrainedModels, file_path: str, horizons: tuple[int, ...], feature_config: Mapping[str, Any] | None
) -> Found:
    config = FeatureConfig.parse(feature_config, horizons)
    path, content, warnings = _read(files, file_path)
    kind, digest, outputs = kind_of(path), sha256(content), None
    if kind is ModelFormat.JOBLIB:
        warnings.append(f"{path} is a pickle, which may run code: `tidewheel models trust {digest}` converts it")
    else:
        seen = try_out(kind, content, max(len(names) for names in config.features.values()))
        if feature_config is None and tells_features(seen.names):
            feature_config = {"features": list(seen.names)}
            config = FeatureConfig.parse(feature_config, horizons)
            told = f"feature_config was not sent; {path} names its columns, and they are taken, in prices: "
            warnings.append(told + ", ".join(seen.names))
        config.require_fit(seen)
        outputs = seen.outputs
        if outputs == 1 and len(horizons) > 1 and config.one_for_all:
            warnings.append(BLIND)
    return Found(
        file_path=path,
        format=kind,
        content_digest=digest,
        feature_config=feature_config,
        outputs=outputs,
        warnings=warnings,
    )


def tells_features(names: tuple[str, ...] | None) -> TypeGuard[tuple[str, ...]]:
    """Whether a file's own names are features of ours, and others than those that are meant where nobody says any."""
    return names is not None and names != BASE and len(set(names)) == len(names) and CATALOGUE.issuperset(names)


def _read(files: TrainedModels, file_path: str) -> tuple[str, bytes, list[str]]:
    """The file that is meant and its content: the conversion stands for a .joblib that is not there."""
    relative = files.locate(file_path)
    stem = relative.removesuffix(f".{ModelFormat.JOBLIB}")
    try:
        return relative, files.read(relative), []
    except ModelFileNotFound:
        if stem == relative:
            raise ModelFileNotFound(file_path) from None
    converted = f"{stem}.{ModelFormat.SKOPS}"
    try:
        content = files.read(converted)
    except ModelFileNotFound:
        raise ModelFileNotFound(file_path) from None
    return converted, content, [f"{relative} is not there; its conversion {converted} stands for it"]
