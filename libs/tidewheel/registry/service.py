"""The documented `ModelService`: models are put on record, loaded and asked. `db` is an open ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from tidewheel.contracts.errors import BadInput, Conflict, HorizonNotSupported, ModelNotFound, ModelNotTrusted
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import ModelFormat
from tidewheel.contracts.times import UtcMillis
from tidewheel.features import hourly
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import NewPrediction, RegisteredModel
from tidewheel.models.conformal import LEVEL
from tidewheel.models.drift import Drift, Reference
from tidewheel.modelstore.kept import KeptModels
from tidewheel.registry.config import FeatureConfig
from tidewheel.registry.drifting import drifts, reference_of, stored_reference
from tidewheel.registry.files import TrainedModels
from tidewheel.registry.forecasting import RECENT, Interval, interval, prices_of
from tidewheel.registry.formats.kinds import load
from tidewheel.registry.formats.regressor import Regressor
from tidewheel.registry.hours import meant_stream, recent_hours
from tidewheel.registry.loaded import Forecasts, OneFile, Own
from tidewheel.registry.registration import BLIND, Registration, new_model
from tidewheel.registry.scoring import HorizonErrors, errors_of

CACHE_BYTES = 512 * 2**20
_FAR = 2.0  #: times the price, or its fraction, beyond which a forecast is doubted


class Prediction(TypedDict):
    """A forecast as it is answered; times in UTC ms."""

    model_name: str
    model_version: str
    base_timestamp: UtcMillis  #: open time of the last complete hour
    prediction_horizon: int  #: hours
    predicted_value: float  #: close of the hour that opens at predicted_time
    predicted_time: UtcMillis
    current_price: float  #: close of the base hour
    stream: str
    stale: bool  #: whether the base hour lies more than 3 hours behind
    interval: dict[str, Any]  #: `forecasting.Interval`
    feature_signature: str
    prediction_id: int | None  #: where it was saved; None where it was not
    horizon_blind: bool  #: whether the model answers one number at all its horizons; a warning says so
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration."""

    model: RegisteredModel
    created: bool  #: False: it stood on record already
    warnings: list[str]


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A version with its model in memory."""

    row: RegisteredModel
    config: FeatureConfig
    forecasts: Forecasts

    @property
    def is_blind(self) -> bool:
        """Whether its forecasts of all horizons are one number."""
        return self.row.outputs == 1 and len(self.row.prediction_horizons) > 1 and self.config.one_for_all


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """What came of a version's predictions, of each horizon the newest 500."""

    row: RegisteredModel
    stream: StreamKey  #: whose predictions they were
    horizons: list[HorizonErrors]
    drift: dict[int, dict[str, Drift | None]]  #: horizon -> feature; None for one without a reference


class ModelService:
    """Registers, loads and asks the models under `models_directory`; safe to share between threads."""

    def __init__(
        self,
        models_directory: str | Path,
        *,
        symbols: Sequence[str] = (),
        level: float = LEVEL,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Where no stream is named, the first of `symbols` in the ledger is forecast, else its first stream."""
        self._files = TrainedModels(Path(models_directory))
        self._symbols, self._level = tuple(symbols), level
        self._cache: KeptModels[Forecasts] = KeptModels(cache_bytes)

    def register_model(
        self,
        model_name: str,
        model_type: str,
        prediction_horizons: Sequence[int],
        file_path: str,
        feature_config: Mapping[str, Any] | None = None,
        *,
        db: Ledger,
        actor: str = "python",
    ) -> RegisteredModel:
        """The version on record; raises as `register`."""
        said = Registration(
            model_name=model_name,
            model_type=model_type,
            prediction_horizons=prediction_horizons,
            file_path=file_path,
            feature_config=feature_config,
        )
        return self.register(db, said, actor).model

    def register(self, db: Ledger, said: Registration, actor: str) -> Registered:
        """Put a file below the models directory on record, after a child process has tried it out.

        Raises:
            BadInput, BadModel, ModelFileNotFound: as `registration.new_model`.
            Conflict: `version_taken`.
        """
        new, warnings = new_model(
            self._files, lambda config: reference_of(db, self._symbols, config), said, now=db.now()
        )
        model, created = db.registry.register(new, actor)
        return Registered(model, created, warnings)

    def load_model(self, model_name: str, db: Ledger, *, version: str | None = None) -> LoadedModel:
        """The version that is meant (by default the champion), loaded or from memory.

        Raises:
            ModelNotFound: nothing of that name is active.
            Conflict: `no_champion`; or `model_file_changed` since it was registered.
            ModelNotTrusted: it is a pickle that nobody has had converted.
            ModelFileNotFound, BadModel: its file is gone, or cannot be loaded.
        """
        return self._loaded(self._meant(model_name, version, db))

    def make_prediction(
        self,
        model_name: str,
        horizon: int,
        db: Ledger,
        save_to_db: bool = False,
        *,
        stream: StreamKey | None = None,
        version: str | None = None,
    ) -> Prediction:
        """The close `horizon` hours after the last complete hour, and the interval around it.

        Raises:
            HorizonNotSupported: the model was not registered for it.
            NoHistoricalData, NotEnoughData: there are no hours, or a feature lacks some (`history_has_gaps`).
            NotFound: the ledger has no such stream.
            Conflict: `prediction_differs`: it was saved before with another value.
            BadModel: it answers what no price can be.
            as `load_model`.
        """
        row = self._meant(model_name, version, db)
        if horizon not in row.prediction_horizons:
            raise HorizonNotSupported(horizon, model_name, row.prediction_horizons)
        loaded = self._loaded(row)
        found, around, stale = self._forecast(loaded, horizon, db, stream or row.stream)
        saved = db.predictions.save(found)[0] if save_to_db else None
        return Prediction(
            model_name=model_name,
            model_version=row.version,
            base_timestamp=found.timestamp,
            prediction_horizon=horizon,
            predicted_value=found.predicted_value,
            predicted_time=found.predicted_time,
            current_price=found.current_price,
            stream=str(found.stream),
            stale=stale,
            interval=asdict(around),
            feature_signature=found.feature_signature,
            prediction_id=None if saved is None else saved.id,
            horizon_blind=loaded.is_blind,
            warnings=[
                *([BLIND] if loaded.is_blind else []),
                *_of_another_market(row, found.stream),
                *_far_off(found.predicted_value, found.current_price, loaded.config),
            ],
        )

    def _forecast(
        self, loaded: LoadedModel, horizon: int, db: Ledger, stream: StreamKey | None
    ) -> tuple[NewPrediction, Interval, bool]:
        """The forecast as it may be saved, the interval around it, and whether its base hour is stale."""
        row = loaded.row
        names, relative = loaded.config.features[horizon], loaded.config.relative
        recent = recent_hours(db, stream, self._symbols, max(hourly.lookback(names), hourly.VOLATILITY_HOURS) + 1)
        inputs = hourly.latest(recent.frame, names, horizon=horizon, relative=relative)
        answers, close = loaded.forecasts.answers(horizon, inputs[None, :]), recent.frame.close[-1:]
        (predicted,) = prices_of(answers, close, relative=relative).tolist()
        outcomes = db.predictions.scored(row.model_name, row.version, recent.stream, horizon, RECENT)
        scale = loaded.forecasts.scale(horizon, recent.frame)
        around = interval(predicted, scale, loaded.forecasts.band(horizon), outcomes, self._level)
        found = NewPrediction(
            model_name=row.model_name,
            model_version=row.version,
            stream=recent.stream,
            timestamp=int(recent.frame.open_time[-1]),
            prediction_horizon=horizon,
            predicted_value=predicted,
            current_price=float(close[0]),
            lower=around.lower,
            upper=around.upper,
            level=None if around.lower is None else around.level,
            interval_source=around.source,
            features=dict(zip(names, inputs.tolist(), strict=True)),
            feature_signature=row.feature_signatures[horizon],
        )
        return found, around, recent.stale

    def metrics(
        self, model_name: str, db: Ledger, *, version: str | None = None, stream: StreamKey | None = None
    ) -> ModelMetrics:
        """How good the saved predictions of a version were on one stream, and how far its inputs have drifted.

        Where no stream is named, on the one that it would forecast.

        Raises:
            NotFound, NoHistoricalData: there is no such stream, or none at all.
            as `load_model`.
        """
        loaded = self._loaded(self._meant(model_name, version, db))
        row = loaded.row
        key = meant_stream(db.streams.all(), stream or row.stream, self._symbols).key
        counts = db.predictions.counts(model_name, row.version, key)
        by_horizon: list[HorizonErrors] = []
        drift: dict[int, dict[str, Drift | None]] = {}
        for horizon in row.prediction_horizons:
            scored = db.predictions.scored(model_name, row.version, key, horizon, RECENT)
            by_horizon.append(errors_of(horizon, scored, counts.get(horizon, {})))
            made = db.predictions.latest(model_name, horizon, RECENT, model_version=row.version, stream=key)
            drift[horizon] = drifts(made, _reference(loaded, horizon))
        return ModelMetrics(row, key, by_horizon, drift)

    def _loaded(self, row: RegisteredModel) -> LoadedModel:
        config = FeatureConfig.parse(row.feature_config, row.prediction_horizons)
        return LoadedModel(row, config, self._cache.get(row.digest, lambda: self._load(row)))

    def _meant(self, model_name: str, version: str | None, db: Ledger) -> RegisteredModel:
        row = db.registry.get(model_name, version)
        if row is not None and row.is_active:
            return row
        others = [each for each in db.registry.versions(model_name) if each.is_active]
        if row is not None or version is not None or not others:
            raise ModelNotFound(model_name if version is None else f"{model_name} {version}")
        told = "; ".join(each.version + _refusal(each) for each in others[:5])
        raise Conflict(
            f"{model_name} has no champion; its versions are {told}: name one as model_version, or give one the alias",
            code="no_champion",
        )

    def _load(self, row: RegisteredModel) -> Forecasts:
        if not row.trusted:
            raise ModelNotTrusted(
                f"{row.file_path} is a pickle, which may run code when it is loaded; where you know who made it, "
                f"`tidewheel models trust {row.content_digest}` converts it once"
            )
        if row.format is ModelFormat.BUNDLE:
            return Own.of(self._files.read_registered_bundle(row.file_path, row.content_digest))
        path, digest = row.file_path, row.content_digest
        kind = row.format
        if row.converted_path is not None and row.converted_digest is not None:
            path, digest, kind = row.converted_path, row.converted_digest, ModelFormat.SKOPS
        regressor = load(kind, self._files.read_registered(path, digest))
        _require_fit(regressor, row)
        return OneFile(regressor, row.prediction_horizons)


def _require_fit(regressor: Regressor, row: RegisteredModel) -> None:
    """Of a pickle nobody could know before it was converted what goes in and comes out."""
    try:
        FeatureConfig.parse(row.feature_config, row.prediction_horizons).require_fit(regressor)
    except BadInput as refused:
        raise BadInput(
            f"{row.model_name} {row.version}: {refused.detail}; register it again with the feature_config and horizons "
            "of its training",
            code=refused.code,
        ) from None


def _of_another_market(row: RegisteredModel, asked: StreamKey) -> list[str]:
    if row.stream in (None, asked):
        return []
    return [
        f"{row.model_name} {row.version} learnt {row.stream} and never saw {asked}: interval and skill are of there"
    ]


def _far_off(predicted: float, price: float, config: FeatureConfig) -> list[str]:
    """Units that were mistaken at registration give an answer like any other: only its size tells."""
    if price / _FAR <= predicted <= price * _FAR:
        return []
    learnt, fitting, said = ("prices", "price", "relative") if config.relative else ("returns", "relative", "price")
    return [
        f"{predicted:g} is far from the price {price:g}, and the units are {said}: a model that learnt {learnt} is "
        f'registered with "units": "{fitting}" in its feature_config'
    ]


def _refusal(model: RegisteredModel) -> str:
    refused = None if model.verdict is None else model.verdict.refusal
    return "" if refused is None else f", refused by {refused.step}: {refused.reason}"


def _reference(loaded: LoadedModel, horizon: int) -> Mapping[str, Reference]:
    own = loaded.forecasts.reference(horizon)
    if own or loaded.row.reference is None:
        return own
    return stored_reference(loaded.row.reference)
