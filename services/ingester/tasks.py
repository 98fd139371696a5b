"""Celery tasks of the ingester."""

from services.ingester.service.backfilling import Backfilling
from services.ingester.service.ingester import Ingester
from tidewheel.contracts.messages import IngestBackfill, IngestSeal
from tidewheel.kit.service import Tasks


def tasks(ingester: Ingester, backfilling: Backfilling) -> Tasks:
    """Message -> what handles it."""

    def ingest_seal(message: IngestSeal) -> object:
        return ingester.ingest_due(message.stream)

    def ingest_backfill(message: IngestBackfill) -> object:
        return backfilling.work(message.backfill_id)

    return {IngestSeal: ingest_seal, IngestBackfill: ingest_backfill}
