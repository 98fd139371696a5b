"""The training half of a fleet as processes, started as `up` starts them, and brought back whenever they are killed."""

import contextlib
import os
import signal
import time
from pathlib import Path

from services.fleet.local import embedded
from services.fleet.local.ports import free_ports
from services.fleet.local.processes import Child, Command
from services.fleet.prove.apparatus import beside
from services.fleet.prove.apparatus.stages import CONSUMER
from services.fleet.prove.ground import Place
from services.ml_trainer.service.fitting import CHILD_MODULE as FIT
from tidewheel.contracts.roles import Role

FLEET = "services.fleet.cli"
TRAINERS = ("trainer-1", "trainer-2")
KEEPER, BROKER, POSTGRES = "keeper", "valkey", "postgres"
LEASE_SECONDS = 2.0  #: of a run


class Crew:
    """Broker, keeper, two trainers, and a Postgres where the ledger is one. End it by `dismiss`."""

    def __init__(self, folder: Path, dialect: str, trainer: str) -> None:
        """`trainer` is the module that serves the trainers."""
        self._folder, self._trainer = folder, trainer
        broker, port = free_ports(2)
        self._commands = {BROKER: embedded.valkey(folder, broker)}
        self.redis_url = f"redis://127.0.0.1:{broker}/0"
        self.place = Place(f"sqlite:///{folder / 'manifest.sqlite'}", folder)
        self._children: dict[str, Child] = {}
        if dialect == "postgresql":
            server = embedded.postgres(folder, port)
            self._commands[POSTGRES] = server.command
            self.mend()
            server.ensure_database()
            self.place = Place(server.dsn, folder)

    def muster(self) -> None:
        """Start keeper and trainers; the ledger must be migrated."""
        self._commands |= {name: self._role(name, Role.TRAINER, self._trainer) for name in TRAINERS}
        self._commands[KEEPER] = self._role(KEEPER, Role.KEEPER, FLEET)
        self.mend()

    def mend(self) -> None:
        """Start what does not run, and wait until all is ready.

        Raises:
            Unavailable: a process does not come up.
        """
        missing = [name for name in self._commands if not self._runs(name)]
        for name in missing:
            (self._folder / f"{name}.ready").unlink(missing_ok=True)
            self._children[name] = Child(self._commands[name], self._folder / f"{name}.log")
        for name in missing:
            self._children[name].await_ready()

    def send(self, name: str, number: signal.Signals) -> None:
        """Signal one process."""
        os.kill(self._children[name].pid, number)

    def end(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal one process, and wait until it is gone."""
        self.send(name, number)
        self._children[name].wait_stopped(time.monotonic() + 30)

    def kill_fit(self, name: str) -> bool:
        """Kill the fit that a trainer has running, as the kernel does for want of memory; whether there was one."""
        import psutil

        for child in psutil.Process(self._children[name].pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if FIT in child.cmdline():
                    child.kill()
                    return True
        return False

    def dismiss(self) -> None:
        """Kill all; Postgres last, and in good order."""
        for name in sorted(self._children, key=lambda each: each == POSTGRES):
            if self._runs(name):
                self.send(name, signal.SIGCONT)
                self.end(name, signal.SIGINT if name == POSTGRES else signal.SIGKILL)

    def _runs(self, name: str) -> bool:
        return name in self._children and self._children[name].exit_code() is None

    def _role(self, name: str, role: Role, module: str) -> Command:
        settings = {
            "REDIS_URL": self.redis_url,
            "TIDEWHEEL_INSTANCE": name,
            "TRAIN_CONSUMER": CONSUMER,
            "EXACTLY_ONCE": "true",
            "MIN_TRAIN_BARS": "100",
            "TIDEWHEEL_TRAIN_RESTARTS": "3",
            "TIDEWHEEL_TRAIN_LEASE_SECONDS": str(LEASE_SECONDS),
            "INGEST_CRON": "off",
            "RETRAIN_CRON": "off",
        }
        return beside.serving(role, module, self.place, settings, name=name)
