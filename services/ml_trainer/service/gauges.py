"""What a dashboard watches of a consumer's claims."""

from tidewheel.contracts.states import ClaimState
from tidewheel.kit.metrics import CLAIMED_FILES, POISON_FILES
from tidewheel.ledger.open import Ledger

COUNT_SECONDS = 2.0  #: how old a figure may be


def count_claims(ledger: Ledger, consumer: str) -> None:
    """Bring `tidewheel_claimed_files` and `tidewheel_poison_files` of the consumer up to date."""
    states = ledger.claims.states(consumer)
    CLAIMED_FILES.labels(consumer).set(states[ClaimState.PROCESSING])
    POISON_FILES.labels(consumer).set(states[ClaimState.POISON])
