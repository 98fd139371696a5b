"""The training half of a fleet as processes, started as `up` starts them, and brought back whenever they are killed."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from services.fleet.local import embedded
from services.fleet.local.ports import free_ports
from services.fleet.local.processes import Child, Command, tail
from services.fleet.prove.apparatus.stages import CONSUMER
from services.ml_trainer.service.fitting import CHILD_MODULE as FIT
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.roles import Role

FLEET = "services.fleet.cli"
TRAINERS = ("trainer-1", "trainer-2")
KEEPER, BROKER, POSTGRES = "keeper", "valkey", "postgres"
LEASE_SECONDS = 2.0  #: of a run
_START_SECONDS = 90.0


class Crew:
    """Broker, keeper, two trainers, and a Postgres where the ledger is one. End it by `dismiss`."""

    def __init__(self, folder: Path, dialect: str, trainer: str) -> None:
        """`trainer` is the module that serves the trainers."""
        self._folder, self._trainer = folder, trainer
        self.data_dir = folder / "ml"
        self.data_dir.mkdir()
        broker, port = free_ports(2)
        self._commands = {BROKER: embedded.valkey(folder, broker)}
        self.redis_url = f"redis://127.0.0.1:{broker}/0"
        self.dsn = f"sqlite:///{self.data_dir / 'manifest.sqlite'}"
        self._children: dict[str, Child] = {}
        if dialect == "postgresql":
            server = embedded.postgres(folder, port)
            self._commands[POSTGRES] = server.command
            self.mend()
            server.ensure_database()
            self.dsn = server.dsn

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
            self._mark(name).unlink(missing_ok=True)
            self._children[name] = Child(self._commands[name], self._folder / f"{name}.log")
        deadline = time.monotonic() + _START_SECONDS
        for name in missing:
            while not self._commands[name].ready():
                if not self._runs(name) or time.monotonic() > deadline:
                    raise Unavailable(f"{name} did not come up:\n{tail(self._folder / f'{name}.log')}")
                time.sleep(0.02)

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

    def _mark(self, name: str) -> Path:
        return self._folder / f"{name}.ready"

    def _role(self, name: str, role: Role, module: str) -> Command:
        mark = self._mark(name)
        return Command(
            name=name,
            argv=(sys.executable, "-m", module, "serve", role.value, "--ready-file", str(mark)),
            env={**os.environ, **self._settings(name)},
            cwd=self._folder,
            ready=mark.exists,
        )

    def _settings(self, name: str) -> Mapping[str, str]:
        return {
            "TIDEWHEEL_HOME": str(self._folder),
            "DATA_DIR": str(self.data_dir),
            "MODELS_DIR": str(self._folder / "models"),
            "LEDGER_DB": self.dsn,
            "REDIS_URL": self.redis_url,
            "AUTH_MODE": "dev",
            "BIND": "127.0.0.1",
            "TIDEWHEEL_INSTANCE": name,
            "TRAIN_CONSUMER": CONSUMER,
            "EXACTLY_ONCE": "true",
            "MIN_TRAIN_BARS": "100",
            "TIDEWHEEL_TRAIN_RESTARTS": "3",
            "TIDEWHEEL_TRAIN_LEASE_SECONDS": str(LEASE_SECONDS),
            "INGEST_CRON": "off",
            "RETRAIN_CRON": "off",
        }
