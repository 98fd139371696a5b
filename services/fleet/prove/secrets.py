"""Secrets: what is planted in the environment turns up in no log, error, page, metric, file or process list."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from services.fleet.local.embedded import valkey
from services.fleet.local.fleet import Fleet, Plan
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor
from services.fleet.prove.proof import Budget, Tally, Tell
from services.fleet.roles.wiring import HTTP_ROLES
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.roles import PORTS, Role

CLI = "services.fleet.cli"
_PAGES = (
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/model",
    "/streams",
    "/runs",
    "/schemas",
    "/nowhere",
)
_FLOWER = ("/workers", "/broker", "/tasks", "/api/workers?refresh=1", "/api/tasks", "/api/queues/length", "/metrics")
_POSTS = ("/ingest_once", "/train?wait=false", "/predict", "/model/rollback", "/model/promote/v2026-01-01-00000000")
_BAD = '{"logret": "x", "stream": "y"}'
WHOLE = 12  #: with so many trials and more, the fleet runs


@dataclass
class Search:
    """Texts that were searched, and where something was found."""

    secrets: Mapping[str, str]  #: what it is -> its text
    tally: Tally = field(default_factory=Tally)

    def text(self, where: str, text: str) -> None:
        """Search one text."""
        self.tally.trials += 1
        for name, secret in self.secrets.items():
            if secret in text:
                at = text.index(secret)
                self.tally.broken(f"{where} shows the {name}: ...{text[max(0, at - 60) : at]}HERE")

    def folder(self, folder: Path) -> None:
        """Search every file; a database's and a model's too."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                self.text(str(path.relative_to(folder)), path.read_bytes().decode("latin-1"))


def planted(seed: int) -> dict[str, str]:
    """A text of its own for everything that is secret; some hold what an address must not."""
    mark = f"{seed:04d}hunter2"
    return {
        "exchange key": f"exkey{mark}",
        "exchange secret": f"exsecret{mark}",
        "Flower password": f"flower{mark}",
        "broker password": f"broker{mark}",
        "ledger password": f"ledger{mark}",
        "password with signs": f"sign/s@{mark}",
        "API key": f"apikey{mark}",
    }


def prove(budget: Budget, tell: Tell, *, program: str = CLI) -> Tally:
    """A trial is a text that was searched: outputs of commands that fail, then all that a running fleet shows.

    A smaller budget than the whole tries so many commands, and leaves the fleet out.
    """
    home = budget.ground.folder / f"secrets-{budget.seed}"
    home.mkdir()
    search = Search(planted(budget.seed))
    commands = list(_commands(search.secrets, home))[: budget.trials]
    for number, (arguments, changes) in enumerate(commands):
        said = _run(program, arguments, _surroundings(search.secrets, home) | changes, home)
        search.text(f"`tidewheel {' '.join(arguments)}`", said)
        tell((number + 1) / (2 * len(commands)), "commands that fail")
    if budget.trials >= WHOLE:
        _fleet(search, home, tell)
    search.folder(home)
    return search.tally


def _surroundings(secrets: Mapping[str, str], home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TIDEWHEEL_HOME": str(home),
        "AUTH_MODE": "keys",
        "LOG_LEVEL": "debug",
        "EXCHANGE_API_KEY": secrets["exchange key"],
        "EXCHANGE_API_SECRET": secrets["exchange secret"],
        "FLOWER_BASIC_AUTH": f"desk:{secrets['Flower password']}",
    }


def _commands(secrets: Mapping[str, str], home: Path) -> Iterator[tuple[Sequence[str], dict[str, str]]]:
    """Command lines with what they find in the environment; nearly all of them fail, each in its own way."""
    (nobody,) = free_ports(1)
    signs, broker, ledger = secrets["password with signs"], secrets["broker password"], secrets["ledger password"]
    away = {"LEDGER_DB": f"postgresql://desk:{ledger}@127.0.0.1:{nobody}/desk"}
    yield ("settings", "predictor"), away | {"DB_URL": f"postgresql://desk:{signs}@localhost/desk"}
    yield ("serve", "predictor"), away
    yield ("keys", "revoke", f"twk_abc_{secrets['API key']}"), {"LEDGER_DB": str(home / "none.sqlite")}
    yield ("settings",), away | {"REDIS_URL": f"redis://:{broker}@127.0.0.1:{nobody}/0"}
    yield ("settings", "--json"), away | {"REDIS_URL": f"redis://desk:{signs}@127.0.0.1:{nobody}/0"}
    yield ("settings", "predictor"), {"LEDGER_DB": f"mysql://desk:{signs}@localhost/desk"}
    yield ("settings", "predictor"), {"LEDGER_DB": f"postgresql://desk@localhost/desk?sslpassword={ledger}"}
    yield ("settings", "flower"), {"REDIS_URL": f"http://desk:{broker}@localhost"}
    yield ("serve", "flower"), {"FLOWER_BASIC_AUTH": secrets["Flower password"]}
    yield ("ledger", "migrate"), away
    yield ("status", "--json"), away


def _run(program: str, arguments: Sequence[str], environment: Mapping[str, str], home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def _fleet(search: Search, home: Path, tell: Tell) -> None:
    """Start all roles with everything planted, make them err, and search what they show."""
    import psutil

    names = [*PORTS, Role.EXCHANGE_SIM]
    *ports, broker_port = free_ports(len(names) + 1)
    password = search.secrets["broker password"]
    plan = Plan(
        home=home,
        cwd=home,
        host="127.0.0.1",
        ports=dict(zip(names, ports, strict=True)),
        environment=_surroundings(search.secrets, home),
        broker=f"redis://:{password}@127.0.0.1:{broker_port}/0",
        simulator=(),
    )
    broker = valkey(home, broker_port)
    guarded = replace(broker, argv=(*broker.argv, "--requirepass", password), ready=lambda: True)
    with Supervisor(home, lambda _: None) as supervisor:
        supervisor.start([guarded])
        Fleet(plan, supervisor).start(lambda part: tell(0.6, part))
        key = _run(CLI, ("keys", "create", "--scope", "admin"), _surroundings(search.secrets, home), home).split()[0]
        _provoke(search, plan, key)
        for process in psutil.Process().children(recursive=True):
            if "valkey" not in process.name():  # ours, whose password this proof itself gave on the command line
                search.text(f"the command line of {process.name()}", " ".join(process.cmdline()))
        tell(0.9, "stopping")


def _provoke(search: Search, plan: Plan, key: str) -> None:
    import httpx

    opened = httpx.get(f"{plan.url(Role.EDGE)}/runs", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    if opened.status_code != 200:
        raise Unavailable(f"the edge answered {opened.status_code} to the proof's own key; nothing was searched")
    keys = (f"Bearer {key}", f"Bearer twk_abc_{search.secrets['API key']}", "Bearer x")
    with httpx.Client(timeout=60, trust_env=False) as client:
        client.post(f"{plan.url(Role.EXCHANGE_SIM)}/_sim/refuse", json={"status": 500, "count": 5})
        for role in (Role.EDGE, *HTTP_ROLES):
            for bearer in keys:
                for method, path in [("GET", page) for page in _PAGES] + [("POST", path) for path in _POSTS]:
                    body = {"content": _BAD} if method == "POST" else {}
                    sent = {"Authorization": bearer, "Content-Type": "application/json"}
                    answer = client.request(method, f"{plan.url(role)}{path}", headers=sent, **body)  # type: ignore[arg-type]
                    search.text(f"{method} {path} of {role}", f"{answer.headers}{answer.text}")
        for page in _FLOWER:
            for account in (("desk", search.secrets["Flower password"]), ("desk", "wrong")):
                answer = client.get(f"{plan.url(Role.FLOWER)}{page}", auth=account)
                if account[1] != "wrong" and answer.status_code >= 400:
                    raise Unavailable(f"flower's {page} answered {answer.status_code}; nothing was searched there")
                search.text(f"flower's {page}", f"{answer.headers}{answer.text}")
