"""Death is seen at once, silence only after its time; on both dialects, with real processes."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.libs.ledger.test_processes import kill, start
from tidewheel.contracts.errors import FenceLost
from tidewheel.ledger.open import Ledger, open_ledger

LONG = 120_000  #: ms; far beyond any of these tests
_HOLD = """
lease = ledger.leases.acquire("keeper", "victim", int(sys.argv[3]))
print(lease.fence, flush=True)
time.sleep(600)
"""
_HOLD_RUN = """
run = ledger.runs.lease(int(sys.argv[3]), "victim", int(sys.argv[4]))
print(run.run.id, flush=True)
time.sleep(600)
"""


def holder(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that has taken what `script` takes."""
    process = start(script, *arguments)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_a_dead_holder_is_followed_at_once(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """While it lives nobody takes its lease; after kill -9 the next caller does, with a higher fence."""
    victim = holder(_HOLD, ledger_dsn, data_dir, LONG)
    assert ledger.leases.acquire("keeper", "heir", LONG) is None
    before = ledger.leases.get("keeper")
    kill(victim)
    begun = time.monotonic()

    while (lease := ledger.leases.acquire("keeper", "heir", LONG)) is None:
        assert time.monotonic() - begun < 5

    assert before is not None
    assert lease.owner == "heir"
    assert lease.fence > before.fence


def test_a_frozen_holder_keeps_its_time(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """A stopped process is not dead: its lease is taken over when its time has run out, and not before."""
    victim = holder(_HOLD, ledger_dsn, data_dir, 2_500)
    os.kill(victim.pid, signal.SIGSTOP)
    held = ledger.leases.get("keeper")
    assert held is not None

    while ledger.leases.acquire("keeper", "heir", LONG) is None:
        time.sleep(0.02)

    assert ledger.now() >= held.until
    kill(victim)


def test_a_dead_workers_run_is_stale_at_once(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """The keeper sees the run of a killed worker without waiting for its lease, and another worker takes it up."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "api")
    victim = holder(_HOLD_RUN, ledger_dsn, data_dir, run.id, LONG)
    assert ledger.runs.stale() == []
    kill(victim)
    begun = time.monotonic()

    while not ledger.runs.stale():
        assert time.monotonic() - begun < 5

    taken = ledger.runs.lease(run.id, "heir", LONG)
    assert taken is not None
    assert taken.run.attempts == 2


def test_threads_of_one_process_do_not_mistake_each_other_for_dead(ledger: Ledger) -> None:
    """A lease that this very process holds is held."""
    assert ledger.leases.acquire("keeper", "one", LONG) is not None

    assert ledger.leases.acquire("keeper", "two", LONG) is None


def test_another_ledger_object_of_the_process_is_another_holder(
    ledger: Ledger, ledger_dsn: str, data_dir: Path
) -> None:
    """Closing the ledger ends what it held, whichever process it was in."""
    other = open_ledger(ledger_dsn, data_dir)
    lease = other.leases.acquire("keeper", "one", LONG)
    assert lease is not None
    assert ledger.leases.acquire("keeper", "two", LONG) is None
    other.close()

    assert ledger.leases.acquire("keeper", "two", LONG) is not None
    with pytest.raises(FenceLost):
        ledger.leases.renew(lease, LONG)


def test_no_lock_file_is_left_behind(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """Lock files of dead processes go with the next process that begins to hold leases; on Postgres there are none."""
    folder = data_dir / "manifest.sqlite.pulse"
    kill(holder(_HOLD, ledger_dsn, data_dir, LONG))
    assert ledger.leases.acquire("other", "heir", LONG) is not None

    assert len(list(folder.glob("*"))) == (1 if ledger.dialect == "sqlite" else 0)


def test_a_session_that_the_server_ended_is_begun_again(ledger: Ledger, ledger_dsn: str, data_dir: Path) -> None:
    """After the server ended its sessions, a living holder's next renewal makes it visible again."""
    other = open_ledger(ledger_dsn, data_dir)
    lease = other.leases.acquire("keeper", "one", LONG)
    assert lease is not None
    if ledger.dialect == "postgresql":
        address = make_url(ledger_dsn).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    renewed = other.leases.renew(lease, LONG)

    assert renewed.fence == lease.fence
    assert ledger.leases.acquire("keeper", "two", LONG) is None
    other.close()
