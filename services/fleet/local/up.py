"""`tidewheel up`: the fleet on this machine, until it is told to stop."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from services.fleet.local.fleet import POSTGRES, VALKEY, Fleet, Plan
from services.fleet.local.home import wants_postgres
from services.fleet.local.ports import free_ports
from services.fleet.local.supervisor import Supervisor, interrupt_on_stop_signals
from services.fleet.roles.flower import FlowerSettings, account
from services.fleet.roles.wiring import READERS, settings_type
from services.fleet.simulator.clock import clock, turn_clock
from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import BadSetting, Unavailable
from tidewheel.contracts.roles import PORTS, Role
from tidewheel.contracts.times import iso
from tidewheel.kit.settings import Settings, is_loopback, load

_WATCH_SECONDS = 0.25
_CLOCK_SECONDS = 5.0
_SIM_SPEED = 60.0
_SYMBOLS = "BTC/USDT,ETH/USDT"
_FLOWER_OFFSET = 9  # from the port base: 5555 is no neighbour of the others


def up(*, simulate: bool, with_postgres: bool, port_base: int | None, say: Callable[[str], None]) -> None:
    """Run the fleet until SIGINT or SIGTERM, restarting what crashes.

    A simulated fleet lives in `sim` under the home, or in the home where that is a simulated fleet's already: its
    candles never meet those of a real exchange.

    Raises:
        BadSetting, Conflict, Unavailable: the fleet cannot start, and why; nothing is left running.
    """
    settings = load(Settings)
    plan = plan_of(settings, simulate=simulate, with_postgres=with_postgres, port_base=port_base)
    plan.home.mkdir(parents=True, exist_ok=True)
    interrupt_on_stop_signals()
    try:
        with Supervisor(plan.home, say) as supervisor:
            Fleet(plan, supervisor).start(lambda part: say(f"starting {part}"))
            if simulate:
                resume_clock(plan, say)
                say(f"for the other commands: export TIDEWHEEL_HOME={plan.home}")
            say(f"API pages: {plan.url(Role.EDGE)}/docs")
            say(f"Celery's dashboard: {plan.url(Role.FLOWER)} ({_flower_account()})")
            say("The fleet is up; Ctrl-C stops it.")
            _watch(supervisor, plan if simulate else None)
    except KeyboardInterrupt:
        say("stopped; the next `tidewheel up` goes on from here")


def plan_of(settings: Settings, *, simulate: bool, with_postgres: bool, port_base: int | None) -> Plan:
    """What `up` runs, as its options and the user's settings have it.

    Raises:
        BadSetting: an option and a setting contradict each other, or a role would refuse its settings.
    """
    given = settings.model_fields_set
    _check(settings.auth_mode if "auth_mode" in given else "dev", settings.listen)
    home = simulated_home(settings.tidewheel_home) if simulate else settings.tidewheel_home
    ports: dict[str, int] = {role.value: port for role, port in PORTS.items()}
    if port_base is not None:
        ports = {role: port_base + port - PORTS[Role.EDGE] for role, port in PORTS.items() if role is not Role.FLOWER}
        ports[Role.FLOWER] = port_base + _FLOWER_OFFSET
    postgres = wants_postgres(settings, home, with_postgres)
    servers = [VALKEY] * ("redis_url" not in given) + [POSTGRES] * postgres + [Role.EXCHANGE_SIM] * simulate
    ports |= zip(servers, free_ports(len(servers)), strict=True)
    return Plan(
        home=home,
        cwd=Path.cwd(),
        host=settings.listen,
        ports=ports,
        environment=os.environ,
        broker=settings.redis_url if "redis_url" in given else None,
        simulator=("--speed", str(_SIM_SPEED)) if simulate else None,
        settings=_defaults(settings),
    )


def _check(auth_mode: str, listen: str) -> None:
    """Refuse before anything runs what a role would refuse, or leave open, once it is started."""
    if auth_mode == "dev" and not is_loopback(listen):
        raise BadSetting(
            f"AUTH_MODE=dev opens every route, so `up` does not listen on {listen}; take BIND and TIDEWHEEL_LISTEN "
            "back to 127.0.0.1, or set AUTH_MODE=keys and create keys with `tidewheel keys create`"
        )
    for role in READERS:
        load(settings_type(role), auth_mode=auth_mode)
    account(load(FlowerSettings, auth_mode=auth_mode))


def _flower_account() -> str:
    given = load(FlowerSettings).flower_basic_auth
    return "user and password: tidewheel" if given is None else "the account of FLOWER_BASIC_AUTH"


def _defaults(settings: Settings) -> dict[str, str]:
    """What `up` decides unless the user did."""
    wanted = load(IngesterSettings)
    chosen = {} if "auth_mode" in settings.model_fields_set else {"AUTH_MODE": "dev"}
    return chosen if wanted.symbols or wanted.symbol else {**chosen, "SYMBOLS": _SYMBOLS}


def _watch(supervisor: Supervisor, simulated: Plan | None) -> NoReturn:
    saved = 0.0
    while True:
        supervisor.watch()
        if simulated is not None and time.monotonic() - saved > _CLOCK_SECONDS:
            saved = time.monotonic()
            save_clock(simulated)
        time.sleep(_WATCH_SECONDS)


def simulated_home(home: Path) -> Path:
    """The folder `sim` of `home`, or `home` where it is one already: `up` tells people to set TIDEWHEEL_HOME to it."""
    return home if _is_simulated(home) else home / "sim"


def _is_simulated(home: Path) -> bool:
    return _clock_file(home).exists()


def _clock_file(home: Path) -> Path:
    return home / "run" / "sim-clock.json"


def save_clock(plan: Plan) -> None:
    """Note where the simulated exchange's clock stands."""
    with suppress(Unavailable):  # it crashed, and the supervisor is about to start it again
        now = clock(plan.url(Role.EXCHANGE_SIM))["now"]
        fresh = _clock_file(plan.home).with_suffix(".new")
        fresh.write_text(json.dumps({"now": now}))
        fresh.replace(_clock_file(plan.home))


def resume_clock(plan: Plan, say: Callable[[str], None]) -> None:
    """Move the simulated exchange's clock to where the last `up` left it: the ledger remembers those candles."""
    if _clock_file(plan.home).exists():
        now = json.loads(_clock_file(plan.home).read_text())["now"]
        turn_clock(plan.url(Role.EXCHANGE_SIM), now=now)
        say(f"the simulated exchange goes on at {iso(now)}")
