"""What a dashboard watches of a consumer's claims; the ledger is asked every few seconds."""

import threading

from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.states import ClaimState
from tidewheel.kit.logs import logger
from tidewheel.kit.metrics import CLAIMED_FILES, POISON_FILES
from tidewheel.ledger.open import Ledger

_SECONDS = 2.0


class ClaimGauges:
    """Keeps `tidewheel_claimed_files` and `tidewheel_poison_files` of a consumer up to date, in a thread."""

    def __init__(self, ledger: Ledger, consumer: str) -> None:
        self._ledger, self._consumer = ledger, consumer
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="claim-gauges", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                states = self._ledger.claims.states(self._consumer)
            except Unavailable as away:
                logger(__name__).warning("claims_unknown", detail=away.detail)
            else:
                CLAIMED_FILES.labels(self._consumer).set(states[ClaimState.PROCESSING])
                POISON_FILES.labels(self._consumer).set(states[ClaimState.POISON])
            if self._stopping.wait(_SECONDS):
                return
