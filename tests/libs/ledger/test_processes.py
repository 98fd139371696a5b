"""What only real processes show: kills, forks, many writers; on both dialects."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.libs.ledger.rows import PASSED, new_version, seal
from tests.waiting import until
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.open import Ledger

_OPEN = """
import sys, time, os
from pathlib import Path
from tidewheel.ledger.open import open_ledger
ledger = open_ledger(sys.argv[1], Path(sys.argv[2]))
"""
_HOLDER = """
lease = ledger.runs.lease(int(sys.argv[3]), "victim", int(sys.argv[4]))
print(len(lease.claim_files()), flush=True)
time.sleep(600)
"""
_IN_A_TRANSACTION = """
from sqlalchemy import update
from tidewheel.ledger.tables import claims
lease = ledger.runs.lease(int(sys.argv[3]), "victim", int(sys.argv[4]))
lease.claim_files()
with ledger._db.write() as connection:
    connection.execute(update(claims).values(state="processed"))
    print("inside", flush=True)
    time.sleep(600)
"""
_CLAIMER = """
total = 0
for number in range(25):
    lease = ledger.leases.acquire(f"name {number}", sys.argv[3], 60_000)
    total += lease is not None
    with ledger._db.read() as connection:
        ledger._db.now(connection)
print(total, flush=True)
time.sleep(600)
"""
_FORK = """
ledger.now()
child = os.fork()
for _ in range(50):
    taken = ledger.leases.acquire("x" if child else "y", "me", 60_000)
    assert taken is None or taken.name == ("x" if child else "y")
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(ledger.leases.get("x").name, ledger.leases.get("y").name)
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs `script` on the ledger."""
    return subprocess.Popen(
        [sys.executable, "-c", _OPEN + script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


class TestKilled:
    def test_run_of_a_killed_worker_is_finished_by_the_next(
        self, ledger: Ledger, ledger_dsn: str, data_dir: Path
    ) -> None:
        """After kill -9 the run is stale once its lease ends, and the next worker consumes each file once."""
        seal(ledger, range(4))
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        victim = start(_HOLDER, ledger_dsn, data_dir, run.id, 1_000)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "4\n"
        kill(victim)
        until(ledger.runs.stale)
        successor = ledger.runs.lease(run.id, "successor", 60_000)
        assert successor is not None
        assert len(successor.claim_files()) == 4
        assert successor.publish(new_version(1), PASSED).state is RunState.PROMOTED
        assert [(row.state, row.run_id) for row in ledger.claims.consumption("hmm")] == [
            (ClaimState.PROCESSED, run.id)
        ] * 4

    def test_kill_inside_a_transaction_leaves_nothing(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """What a killed process had written but not committed is gone, and its locks with it."""
        seal(ledger, range(2))
        run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
        victim = start(_IN_A_TRANSACTION, ledger_dsn, data_dir, run.id, 60_000)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "inside\n"
        kill(victim)
        ledger.runs.start_or_join("other", "hmm", "api")
        assert ledger.claims.states("hmm")[ClaimState.PROCESSED] == 0
        assert ledger.claims.states("hmm")[ClaimState.PROCESSING] == 2


class TestMany:
    def test_writers_in_many_processes(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """Processes that write and read at the same time all get through, and each lease goes to one of them."""
        processes = [start(_CLAIMER, ledger_dsn, data_dir, f"process {n}") for n in range(4)]
        # All stay alive until the last has asked: a lease whose holder is gone would be granted again.
        totals = [int(process.stdout.readline()) for process in processes if process.stdout is not None]
        for process in processes:
            kill(process)
        assert sum(totals) == 25

    def test_forked_child_has_connections_of_its_own(self, ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
        """Parent and forked child use the same Ledger object at the same time without mixing their answers."""
        assert start(_FORK, ledger_dsn, data_dir).communicate(timeout=60)[0] == "x y\n"
