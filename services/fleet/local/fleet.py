"""The whole fleet as processes on this machine, for `up` and `demo` alike."""

import http.client
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.fleet.local.embedded import postgres, valkey
from services.fleet.local.ports import require_free
from services.fleet.local.processes import Command
from services.fleet.local.supervisor import Supervisor
from services.fleet.roles.wiring import HTTP_ROLES
from services.fleet.simulator.clock import clock
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.roles import Role

VALKEY, POSTGRES = "valkey", "postgres"
_ROLES = (*HTTP_ROLES, Role.WORKER, Role.TRAINER, Role.KEEPER, Role.FLOWER)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and where."""

    home: Path
    cwd: Path  #: working directory of the roles, where they look for `.env`
    host: str  #: address that the roles listen on
    ports: Mapping[str, int]  #: of every role with a port, and of the embedded servers that run
    environment: Mapping[str, str]  #: of every process; the plan's addresses are added
    broker: str | None = None  #: an existing broker's address; None = embedded Valkey
    simulator: tuple[str, ...] | None = (
        None  #: arguments of the simulated exchange, whose streams are ingested; None = a real one
    )
    settings: Mapping[str, str] = field(default_factory=dict)  #: further variables, which beat the environment

    def url(self, role: str) -> str:
        """Where this machine reaches a role."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports[role]}"


class Fleet:
    """The processes of one plan, in order: servers, tables, simulated exchange, roles, edge."""

    def __init__(self, plan: Plan, supervisor: Supervisor) -> None:
        self.plan = plan
        self._supervisor = supervisor
        self._environment = {
            **plan.environment,
            "TIDEWHEEL_HOME": str(plan.home),
            **{f"TIDEWHEEL_UPSTREAM_{role.name}": plan.url(role) for role in HTTP_ROLES},
            **plan.settings,
        }
        if plan.broker is not None:
            self._environment["REDIS_URL"] = plan.broker

    def start(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start everything; `tell` hears what comes next.

        Raises:
            BadSetting: a port is taken.
            Unavailable: a process did not come up, or the tables could not be migrated.
        """
        for name, port in self.plan.ports.items():
            require_free(port, name, self.plan.host if name in tuple(Role) else "127.0.0.1")
        self._supervisor.about = {"address": self.plan.url(Role.EDGE), "flower": self.plan.url(Role.FLOWER)}
        tell("servers")
        self._start_servers()
        tell("tables")
        self._migrate()
        if self.plan.simulator is not None:
            tell("simulated exchange")
            self._start_simulator(self.plan.simulator)
        tell("roles")
        self._supervisor.start([self._role(role) for role in _ROLES])
        tell("edge")
        self._supervisor.start([self._role(Role.EDGE)])

    def module(self, name: str, module: str, *arguments: str, ready: Callable[[], bool]) -> Command:
        """A process that runs one of our modules with the fleet's environment."""
        return Command(
            name=name,
            argv=(sys.executable, "-m", module, *arguments),
            env=self._environment,
            cwd=self.plan.cwd,
            ready=ready,
        )

    def _start_servers(self) -> None:
        plan = self.plan
        if plan.broker is None:
            port = plan.ports[VALKEY]
            self._environment["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
            self._supervisor.start([valkey(plan.home, port)])
        if POSTGRES in plan.ports:
            server = postgres(plan.home, plan.ports[POSTGRES])
            self._supervisor.start([server.command])
            server.ensure_database()
            self._environment["LEDGER_DB"] = server.dsn
            # So that `tidewheel status`, `promote` and the like find the ledger of this home.
            self._supervisor.about["ledger_db"] = server.dsn

    def _start_simulator(self, arguments: tuple[str, ...]) -> None:
        port = self.plan.ports[Role.EXCHANGE_SIM]
        url = self.plan.url(Role.EXCHANGE_SIM)
        command = self._serve(
            Role.EXCHANGE_SIM,
            "--port",
            str(port),
            "--host",
            self.plan.host,
            *arguments,
            ready=lambda: answers(f"{url}/_sim/clock"),
        )
        self._supervisor.start([command])
        told = clock(url)
        self._environment |= {
            "EXCHANGE": "binance",
            "EXCHANGE_TYPE": "spot",
            "EXCHANGE_URL": url,
            "SYMBOLS": ",".join(told["symbols"]),
            "TIMEFRAME": told["timeframes"][0],
            "START_TS": str(told["start"]),
            "SLEEP_MS": "0",
        }

    def _migrate(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "services.fleet.cli", "ledger", "migrate"],
            env=self._environment,
            cwd=self.plan.cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"the ledger could not be migrated: {done.stderr.strip().removeprefix('tidewheel: ')}")

    def _role(self, role: Role) -> Command:
        if role not in self.plan.ports:
            mark = self.plan.home / "run" / f"{role}.ready"
            mark.unlink(missing_ok=True)
            return self._serve(role, "--ready-file", str(mark), ready=mark.exists)
        url = self.plan.url(role)
        probe = f"{url}/healthcheck" if role is Role.FLOWER else f"{url}/ready"
        return self._serve(role, "--port", str(self.plan.ports[role]), ready=lambda: answers(probe))

    def _serve(self, role: Role, *arguments: str, ready: Callable[[], bool]) -> Command:
        return Command(
            name=role.value,
            argv=(sys.executable, "-m", "services.fleet.cli", "serve", role.value, *arguments),
            env=self._environment,
            cwd=self.plan.cwd,
            ready=ready,
            port=self.plan.ports.get(role),
        )


def answers(url: str) -> bool:
    """Whether `url` answers 200; straight, whatever proxy the environment names."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=2)
    try:
        connection.request("GET", f"/{path}")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
