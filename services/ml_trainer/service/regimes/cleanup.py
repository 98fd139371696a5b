"""DELETE_AFTER_PROCESS: the incoming CSV of a file goes once nobody waits for it; the archive stays."""

from collections.abc import Iterable
from pathlib import Path

from tidewheel.contracts.keys import REGISTRY_CONSUMERS
from tidewheel.contracts.states import ClaimState
from tidewheel.kit.logs import logger
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import SealedFile

_RECENT_RUNS = 500
_log = logger(__name__)


def delete_processed(ledger: Ledger, data_dir: Path, files: Iterable[SealedFile]) -> None:
    """Delete the CSV of those `files` that every consumer with a recent run has processed.

    Registered models are trained from the archive, and claim nothing.
    """
    recent = {run.consumer for run in ledger.runs.list(_RECENT_RUNS)}
    consumers = {consumer for consumer in recent if not consumer.startswith(REGISTRY_CONSUMERS)}
    processed = [
        {one.file_id for one in ledger.claims.consumption(consumer) if one.state == ClaimState.PROCESSED}
        for consumer in consumers
    ]
    for file in files:
        if all(file.id in done for done in processed):
            try:
                (data_dir / file.csv_path).unlink(missing_ok=True)
            except OSError as error:  # the run is published: nothing of it fails for a file too many
                _log.warning("csv_not_deleted", path=file.csv_path, detail=str(error))
