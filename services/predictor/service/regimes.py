"""Regimes by request and by stream, from whichever model is current."""

import numpy as np

from services.predictor.schemas.predicting import ModelAnswer, PredictRequest, RegimeAnswer
from tidewheel.contracts.errors import BadInput, NotEnoughData, TidewheelError, Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import STALE_BARS, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.features.returns import WINDOW, log_returns
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.streams import known_stream
from tidewheel.models.base import Regime
from tidewheel.models.regime import RegimeModel
from tidewheel.modelstore.bundle import OpenBundle
from tidewheel.modelstore.live import LiveModel, Loaded
from tidewheel.modelstore.loaders import regime_model
from tidewheel.modelstore.store import ModelStore

_MAX_RETURN = 20.0  #: of one bar, in nats; a price does not change by a factor of e^20
LiveRegime = LiveModel[RegimeModel]
Serving = Loaded[RegimeModel]


def load_warm(bundle: OpenBundle) -> RegimeModel:
    """The bundle's model, after it answered once: a request never pays for the first call.

    Raises:
        BadBundle: it cannot be loaded.
    """
    model = regime_model(bundle.manifest.family, bundle.files)
    model.filter([0.0] * (WINDOW * 2)).latest()
    return model


def nowcast(model: RegimeModel, frame: CandleFrame, stream: StreamKey | None) -> tuple[Regime, int]:
    """The regime at the frame's last bar, from the bars since its last gap; and how many log returns those are.

    Raises:
        NotEnoughData: fewer than 31 bars since the last gap.
        BadInput: a price moves by more than a factor of e^20 in one bar.
    """
    run = frame.segments()[-1] if len(frame) else frame
    if len(run) <= WINDOW:
        raise NotEnoughData(
            f"there are {len(run)} bars of {model.step // 1000} s without a gap up to the last one; "
            f"{WINDOW + 1} are needed",
            needed=WINDOW + 1,
            found=len(run),
        )
    with np.errstate(over="ignore"):
        ratios = run.close[1:] / run.close[:-1]
    if np.abs(np.log(ratios.clip(1e-300, 1e300))).max() > _MAX_RETURN:
        raise BadInput("a close differs from the one before it by more than a factor of e^20; check the bars")
    found = model.filter(log_returns(run.close), stream=None if stream is None else str(stream))
    return found.latest(), found.n_used


class Predictor:
    """Answers requests; each with the one model reference that it was given."""

    def __init__(
        self, ledger: Ledger, store: ModelStore, live: LiveRegime, *, instance: str, nowcast_bars: int
    ) -> None:
        self._ledger, self._store, self._live = ledger, store, live
        self._instance, self._bars = instance, nowcast_bars

    def predict(self, request: PredictRequest, serving: Serving | None) -> RegimeAnswer:
        """The regime at the last point of what was sent.

        Raises:
            Unavailable: no model is in service (code `no_model`).
            BadInput: the input is of another timeframe.
            BadCandles, NotFound, NotEnoughData: as they say.
        """
        if serving is None:
            raise self._no_model()
        if request.stream is not None:
            return self._of_stream(StreamKey.parse(request.stream), serving)
        if request.bars is not None:
            return self._of_bars(request.bars, serving)
        return self._of_returns(request.logret or [], serving)

    def _no_model(self) -> Unavailable:
        family, wanted = self._live.family, self._store.current(self._live.family)
        if wanted is not None and self._live.error is None:
            told = f"{wanted} of {family} was just promoted and is being loaded; ask again in a second"
            return Unavailable(told, code="no_model", retry_after=1)
        why = f" ({self._live.error})" if self._live.error else ""
        told = f"no model of {family} is in service{why}; train one with POST /train, or look at GET /model"
        return Unavailable(told, code="no_model")

    def _of_returns(self, logret: list[float], serving: Serving) -> RegimeAnswer:
        if len(logret) < WINDOW:
            raise NotEnoughData(
                f"{len(logret)} log returns were sent; {WINDOW} are needed", needed=WINDOW, found=len(logret)
            )
        found = serving.model.filter(logret)
        return _answer(found.latest(), found.n_used, None, None, serving)

    def _of_bars(self, bars: list[tuple[int, float, float, float, float, float]], serving: Serving) -> RegimeAnswer:
        step = serving.model.step
        frame = CandleFrame.from_rows(step, bars)
        regime, used = nowcast(serving.model, frame, None)
        last = int(frame.open_time[-1])
        return _answer(regime, used, last, _is_stale(self._ledger.now(), last, step), serving)

    def _of_stream(self, key: StreamKey, serving: Serving) -> RegimeAnswer:
        if key.step != serving.model.step:
            raise BadInput(f"{key} has bars of {key.step} ms; the model in service reads {serving.model.step} ms")
        streams = self._ledger.streams.all()
        stream = known_stream(key, streams)
        frame = self._ledger.bars.last(key, self._bars)
        regime, used = nowcast(serving.model, frame, key)
        last = int(frame.open_time[-1])
        return _answer(
            regime, used, last, _is_stale(self._ledger.streams.clock(stream, streams), last, key.step), serving
        )

    def replica(self, serving: Serving | None) -> ModelAnswer:
        """What this replica serves."""
        manifest = serving.manifest if serving else None
        try:
            current, error = self._store.current(self._live.family), self._live.error
        except TidewheelError as broken:
            current, error = None, broken.detail
        return ModelAnswer(
            id=self._instance,
            family=self._live.family,
            loaded=serving.version if serving else None,
            loaded_at=serving.loaded_at if serving else None,
            current=current,
            error=error,
            metrics=manifest.metrics if manifest else {},
            lineage=manifest.lineage if manifest else {},
            digest=manifest.digest if manifest else None,
            data_as_of=manifest.data_as_of if manifest else None,
        )


def _is_stale(now: UtcMillis, last_open: UtcMillis, step: int) -> bool:
    return now - (last_open + step) > STALE_BARS * step


def _answer(
    regime: Regime, used: int, data_time: UtcMillis | None, stale: bool | None, serving: Serving
) -> RegimeAnswer:
    return RegimeAnswer(
        probs=dict(regime.probs), state=regime.state, confidence=regime.confidence, n_used=used,
        data_time=data_time, stale=stale, model_version=serving.version,
    )  # fmt: skip
