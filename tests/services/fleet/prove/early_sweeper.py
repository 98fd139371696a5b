"""A sweep over workers that count a file as consumed once they hold it: a death during the fit loses it."""

from typing import Any

from services.fleet.prove.programs.sweeper import main
from tidewheel.ledger import claims, leases
from tidewheel.ledger.records import SealedFile
from tidewheel.ledger.run_lease import RunLease

_claim = RunLease.claim_files


def claim_and_consume(self: RunLease, limit: int | None = None, **how: Any) -> list[SealedFile]:
    """Claim, and record the consumption at once."""
    held = _claim(self, limit, **how)
    with self._db.write() as connection:
        leases.guard(self._db, connection, self.lease)
        claims.consume(self._db, connection, self.run.id)
    return held


if __name__ == "__main__":  # only there: a test that imports this module must keep its ledger whole
    RunLease.claim_files = claim_and_consume  # type: ignore[method-assign]
    main()
