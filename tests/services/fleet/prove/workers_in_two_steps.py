"""Workers that record the consumption in one transaction and the version in the next: a kill between loses files."""

import time

from sqlalchemy import Connection

from services.fleet.prove.programs.workers import main
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger import claims, leases
from tidewheel.ledger.records import NewVersion, Run
from tidewheel.ledger.run_lease import RunLease

_whole = RunLease.publish


def _in_two_steps(self: RunLease, version: NewVersion, verdict: Verdict) -> Run:
    connection: Connection
    with self._db.write() as connection:
        leases.guard(self._db, connection, self.lease)
        claims.consume(self._db, connection, self.run.id)
    time.sleep(0.05)  # until the bundle is copied, say
    return _whole(self, version, verdict)


if __name__ == "__main__":  # only there: a test that imports this module must keep its ledger whole
    RunLease.publish = _in_two_steps  # type: ignore[method-assign, assignment]
    main()
