"""The role `worker`: the sum of the services whose queues it takes."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tidewheel.contracts.messages import Queue
from tidewheel.contracts.roles import Role

if TYPE_CHECKING:
    from tidewheel.kit.service import Service
    from tidewheel.kit.settings import Settings

QUEUES = (Queue.INGEST, Queue.PREDICT, Queue.LEARN, Queue.SNAPSHOTS)


def build(settings: "Settings", queues: Iterable[Queue] = QUEUES) -> "Service":
    """One worker over `queues`; each service reads its own settings and is built only where its queue is taken.

    Raises:
        BadSetting: a setting of one of them cannot be used.
        SchemaMismatch, Unavailable: the ledger is not there.
    """
    from tidewheel.kit.service import Service

    with ExitStack() as stack:
        parts: list[Service] = []
        for queue in queues:
            if queue in _BUILDERS:
                part = _BUILDERS[queue](settings)
                for close in part.close:
                    stack.callback(close)
                parts.append(part)
        closing = stack.pop_all()
    return Service(
        name=Role.WORKER,
        settings=settings,
        tasks={kind: handler for part in parts for kind, handler in part.tasks.items()},
        pings=[ping for part in parts for ping in part.pings],
        spare=[ping for part in parts for ping in part.spare],
        loops=[loop for part in parts for loop in part.loops],
        on_shutdown=[notify for part in parts for notify in part.on_shutdown],
        close=[closing.close],
    )


def _ingester(settings: "Settings") -> "Service":
    from services.ingester.app import build as build_ingester
    from services.ingester.settings import IngesterSettings

    return build_ingester(_own(IngesterSettings, settings))


def _param_controller(settings: "Settings") -> "Service":
    from services.param_controller.app import build_worker
    from services.param_controller.settings import ParamSettings

    return build_worker(_own(ParamSettings, settings))


def _predictor(settings: "Settings") -> "Service":
    from services.predictor.app import build_worker
    from services.predictor.settings import PredictorSettings

    return build_worker(_own(PredictorSettings, settings))


def _own(kind: Any, settings: "Settings") -> Any:
    """The settings of a part, on whatever the worker itself was given."""
    from tidewheel.kit.settings import Settings, load

    if isinstance(settings, kind):
        return settings
    return load(kind, **{name: getattr(settings, name) for name in Settings.model_fields})


_BUILDERS: "dict[Queue, Callable[[Settings], Service]]" = {
    Queue.INGEST: _ingester,
    Queue.PREDICT: _predictor,
    Queue.LEARN: _param_controller,
}
