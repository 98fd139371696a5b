"""What the status tells of a run."""

import pytest

from services.fleet.status.parts import _run
from tests.libs.ledger.rows import PASSED, REFUSED, new_version
from tests.libs.ledger.test_runs import started
from tidewheel.contracts.verdicts import Verdict
from tidewheel.ledger.open import Ledger


@pytest.mark.parametrize("verdict", [PASSED, REFUSED], ids=["passed", "refused"])
def test_a_run_that_left_something_aside_says_so(ledger: Ledger, verdict: Verdict) -> None:
    """The remark stands before the step that decided; a refusal is told once."""
    lease = started(ledger)
    run = lease.publish(new_version(1), verdict, remark="left aside: constant_market")

    step = verdict.refusal or verdict.steps[-1]
    decided = f"{step.step}: {step.reason}"
    told = _run(run)["reason"]

    assert told == (f"left aside: constant_market; {decided}" if verdict.passed else decided)
