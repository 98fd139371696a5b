"""Workers that sleep past their lease before they publish, over a guard that any fence passes while the run runs."""

import time

from sqlalchemy import Connection, select

from services.fleet.prove.programs.workers import LEASE_MS, main
from tidewheel.contracts.errors import FenceLost
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger import leases
from tidewheel.ledger.engine import Database
from tidewheel.ledger.records import Lease, NewVersion, Run
from tidewheel.ledger.run_lease import RunLease
from tidewheel.ledger.tables import runs

_publish = RunLease.publish


def _any_fence(db: Database, connection: Connection, lease: Lease) -> None:
    run_id = int(lease.name.rpartition(":")[2])
    if connection.execute(select(runs.c.state).where(runs.c.id == run_id)).scalar_one() != "running":
        raise FenceLost(lease.name)


def _late(self: RunLease, version: NewVersion, verdict: Verdict) -> Run:
    time.sleep(1.5 * LEASE_MS / 1000)
    return _publish(self, version, verdict)


if __name__ == "__main__":  # only there: a test that imports this module must keep its ledger whole
    leases.guard = _any_fence
    RunLease.publish = _late  # type: ignore[method-assign, assignment]
    main()
