"""That a trainer lives: who waits for a model need not wait where nobody could make it."""

from contextlib import suppress

from tidewheel.contracts.errors import TidewheelError
from tidewheel.contracts.roles import Role
from tidewheel.ledger.open import Ledger

LIVING_SECONDS = 3.0  #: between two signs; beside a fit, too, which has a process of its own
_SERVES = ""  #: no family


class Living:
    """Tells the ledger of this process. The broker need not answer for it, nor be quick."""

    def __init__(self, ledger: Ledger, instance: str) -> None:
        self._ledger, self._instance = ledger, instance

    def tell(self) -> None:
        """One sign of life."""
        self._ledger.replicas.beat(self._instance, Role.TRAINER, _SERVES, None, None)

    def leave(self) -> None:
        """The last sign, of an orderly end."""
        with suppress(TidewheelError):  # without the ledger it is taken for dead once it has been silent
            self._ledger.replicas.leave(self._instance)
