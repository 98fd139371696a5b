"""The `tidewheel` command whose trainer counts a file as consumed once it holds it: a kill during the fit loses it."""

from services.fleet.cli import main
from tests.services.fleet.prove.early_sweeper import claim_and_consume
from tidewheel.ledger.run_lease import RunLease

if __name__ == "__main__":  # only there: a test that imports this module must keep its ledger whole
    RunLease.claim_files = claim_and_consume  # type: ignore[method-assign]
    main()
