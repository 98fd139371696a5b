"""`tidewheel prove` as a person meets it."""

import json

import pytest
from click.testing import CliRunner

from services.fleet.commands.prove import prove
from services.fleet.prove import proofs
from services.fleet.prove.proof import Budget, Proof, Tally, Tell


def _broken(budget: Budget, tell: Tell) -> Tally:
    tell(1.0)
    return Tally(trials=budget.trials, violations=2, first="the third trial went wrong", figures=["worst: 7"])


def test_a_violation_is_told_and_ends_with_status_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has a row for each proof; a broken one is told in words, and the exit status is 1."""
    extra = Proof(name="broken", promise="R0: never", trials=5, quick=3, run=_broken)
    monkeypatch.setattr(proofs, "PROOFS", (*(each for each in proofs.PROOFS if each.name == "bits"), extra))

    done = CliRunner().invoke(prove, ["--quick", "--json"])
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert [(row["trials"], row["violations"], row["first"]) for row in rows] == [
        (60, 0, None),
        (3, 2, "the third trial went wrong"),
    ]
    assert [row["figures"] for row in rows] == [[], ["worst: 7"]]
    assert CliRunner().invoke(prove, ["bits", "--quick"]).exit_code == 0


def test_an_unknown_proof_is_named_with_those_there_are() -> None:
    """A slip of the pen starts no server."""
    done = CliRunner().invoke(prove, ["swap"])
    assert done.exit_code == 2
    assert "there are claims, " in done.stderr


def test_help_names_every_proof_with_its_promise() -> None:
    """What can be tried is read off the command itself."""
    told = " ".join(CliRunner().invoke(prove, ["--help"]).stdout.split())
    for proof in proofs.PROOFS:
        assert f" {proof.name} {proof.promise}" in told
