"""Celery tasks of the ingester."""

from services.ingester.service.ingester import Ingester
from tidewheel.contracts.messages import IngestSeal
from tidewheel.kit.service import Tasks


def tasks(ingester: Ingester) -> Tasks:
    """Message -> what handles it."""

    def ingest_seal(message: IngestSeal) -> object:
        return ingester.ingest_due(message.stream)

    return {IngestSeal: ingest_seal}
