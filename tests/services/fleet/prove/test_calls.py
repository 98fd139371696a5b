"""The proof `calls` holds, and bites."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from services.fleet.prove import calls
from services.fleet.prove.proof import Budget, Tell
from tests.services.fleet.prove import early_sweeper

# In a process of its own: this one may have threads, and is not to be forked.
_THREE_FILES = """
import os, sys
from pathlib import Path
from services.fleet.prove.apparatus.tracing import killed_at
folder = Path(sys.argv[1])
def work():
    for name in "abc":
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))
for number in (2, 0):
    print(len(killed_at(number, work)), *sorted(each.name for each in folder.iterdir()))
"""


def test_a_worker_may_die_at_any_call(budget: Budget, tell: Tell) -> None:
    """Deaths spread over seal, claim, publish and promotion, on both dialects: every file is trained once."""
    tally = calls.prove(budget, tell)

    assert tally.first is None
    assert (tally.trials, tally.violations) == (budget.trials, 0)
    assert len(tally.figures) == 2


def test_files_consumed_too_early_are_seen(budget: Budget, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the claim is the consumption. A death between the two loses the file."""
    monkeypatch.setattr(calls, "DIALECTS", ("sqlite",))
    tally = calls.prove(replace(budget, trials=14), tell, program=early_sweeper.__name__)

    assert tally.first is not None
    assert "was trained 0 times" in tally.first


def test_the_tracer_kills_before_the_call_it_names(tmp_path: Path) -> None:
    """Of three files, the child that dies at the second's making leaves one; unharmed, it makes all."""
    done = subprocess.run(
        [sys.executable, "-c", _THREE_FILES, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["2", "a", "3", "a", "b", "c"]
