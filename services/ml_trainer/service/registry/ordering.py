"""Which registered models are trained on which stream, and when nobody asks."""

from collections.abc import Sequence

from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.keys import BASELINE, StreamKey, model_name, registry_consumer
from tidewheel.contracts.times import DAY, HOUR, UtcMillis, iso
from tidewheel.features.hourly import parts_of_hour
from tidewheel.gates.splits import HOLDOUT_PERCENT
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run, Stream
from tidewheel.ledger.registry.records import RegisteredModel
from tidewheel.ledger.streams import known_stream
from tidewheel.models.horizons import FAMILIES, HORIZONS, fewest_hours
from tidewheel.modelstore.loaders import forecasts_hours
from tidewheel.registry.hours import default_stream


def order(
    ledger: Ledger, name: str, key: StreamKey, trigger: str, *, schedule_key: str | None = None
) -> tuple[Run, bool]:
    """Queue a run that trains the model `name` on a stream, or join the active one; whether it was joined.

    A model trained already on another stream may be trained on this one: what enters it is relative to the price.

    Raises:
        BadInput: no trainer of ours makes such a model, or bars of the stream do not make up hours.
        NotFound: the ledger has no such stream.
    """
    family_of(name)
    trainable(ledger, key)
    params = {"stream": str(key)}
    return ledger.runs.start_or_join(registry_consumer(name), name, trigger, schedule_key=schedule_key, params=params)


def family_of(name: str) -> str:
    """The family that a model of this name is of: `baseline-eth` is a sibling of `baseline`.

    Raises:
        BadInput: we have no trainer for it.
    """
    if not forecasts_hours(model_name(name)):
        raise BadInput(
            f"no trainer of ours makes a model {name[:80]!r}; those are {' and '.join(FAMILIES)}, and siblings such as "
            f"{FAMILIES[-1]}-eth",
            code="no_trainer",
        )
    return name.partition("-")[0]


def trainable(ledger: Ledger, key: StreamKey) -> Stream:
    """The stream, where its bars make up hours.

    Raises:
        NotFound, BadInput: as `order`.
    """
    found = known_stream(key, ledger.streams.all())
    parts_of_hour(key.step)
    return found


def usual_stream(ledger: Ledger, name: str, symbols: Sequence[str]) -> StreamKey:
    """What the model is trained on where nobody says: what it was before, or the baseline, else what is forecast.

    Raises:
        NotEnoughData: there is no stream that makes up hours.
    """
    before = [ledger.registry.get(name), *ledger.registry.versions(name), ledger.registry.get(BASELINE)]
    trained_on = next((model.stream for model in before if model is not None and model.stream is not None), None)
    found = trained_on or default_stream([stream.key for stream in ledger.streams.all()], symbols)
    if found is None:
        raise NotEnoughData(
            "no stream of the ledger has bars that make up hours; import, backfill or ingest one of 1m to 1h"
        )
    return found


def needed_hours(horizon: int) -> int:
    """Unbroken hours without which a run has no forecaster of `horizon`: the last fifth is held out."""
    return -(-fewest_hours(horizon) * 100 // (100 - HOLDOUT_PERCENT))


class BaselineOrders:
    """Orders `baseline` as soon as a stream has hours enough, and again once they are enough for a further horizon.

    At most once a stream, horizon and day of its data: a run may find less than the count of bars promised. A baseline
    that a user has registered is his.
    """

    def __init__(self, ledger: Ledger, symbols: Sequence[str]) -> None:
        self._ledger, self._symbols = ledger, tuple(symbols)

    def __call__(self) -> None:
        """Order it, where it is due."""
        champion = self._ledger.registry.get(BASELINE)
        if champion is not None and champion.run_id is None:
            return
        served = () if champion is None else champion.prediction_horizons
        for stream in self._among(champion):
            reached = [horizon for horizon in HORIZONS if _hours(stream) >= needed_hours(horizon)]
            if reached and reached[-1] not in served:
                self._order(stream, reached[-1])
                return

    def _among(self, champion: RegisteredModel | None) -> list[Stream]:
        """The champion's stream, else all that make up hours, the one that is forecast by default first."""
        streams = {stream.key: stream for stream in self._ledger.streams.all() if HOUR % stream.key.step == 0}
        first = champion.stream if champion is not None else default_stream([*streams], self._symbols)
        rest = [] if champion is not None else [key for key in streams if key != first]
        return [streams[key] for key in (first, *rest) if key in streams]

    def _order(self, stream: Stream, horizon: int) -> None:
        consumer = registry_consumer(BASELINE)
        schedule_key = f"{consumer}@{stream.key}@{horizon}h@{iso((stream.next_open or 0) // DAY * DAY)[:10]}"
        newest = next(iter(self._ledger.runs.list(1, consumer)), None)
        if newest is None or (newest.state.final and newest.schedule_key != schedule_key):
            order(self._ledger, BASELINE, stream.key, "enough hours", schedule_key=schedule_key)


def retrain(ledger: Ledger, moment: UtcMillis) -> list[Run]:
    """Order a run for each model that we have trained before, on its stream; one a moment, whoever asks.

    A name whose champion a user brought is left to him.
    """
    ordered = []
    for name in sorted({model.model_name for model in ledger.registry.all() if model.run_id is not None}):
        champion, versions = ledger.registry.get(name), ledger.registry.versions(name)
        newest = next(model for model in versions if model.run_id is not None)
        model = newest if champion is None else champion
        if model.run_id is not None and model.stream is not None and forecasts_hours(name):
            key = f"{registry_consumer(name)}@{iso(moment)}"
            ordered.append(order(ledger, name, model.stream, "cron", schedule_key=key)[0])
    return ordered


def _hours(stream: Stream) -> int:
    """Hours that its bars would fill; an hour that lacks one counts in part."""
    return (stream.sealed_bars + stream.tail_bars) * stream.key.step // HOUR
