"""Fixtures that all rooms share, and the count of ledger tests per dialect."""

import gc
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest
import redis

from tests import servers
from tests.databases import Databases
from tests.servers import PostgresServer
from tidewheel.ledger.open import Ledger, migrate, open_ledger

DIALECTS = ("sqlite", "postgresql")
_TEMPLATE = "tidewheel_template"
_ABOVE = ("tests/services/", "tests/libs/bounce/")  #: where tests stand that use the ledger and do not try it out


def pytest_collection_finish() -> None:
    """Spare the collector what the imports left: it would look through a million lasting objects again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="session", autouse=True)
def _away_from_dotenv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Work in an empty folder, for the .env of a checkout is its owner's fleet's; children still find `tests`."""
    with pytest.MonkeyPatch.context() as session:
        session.chdir(tmp_path_factory.mktemp("cwd"))
        session.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One Postgres for the session, or for each xdist worker."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a migrated database to copy."""
    name = f"{_TEMPLATE}_{uuid.uuid4().hex[:8]}"
    postgres_server.run(f"CREATE DATABASE {name}")
    migrate(postgres_server.dsn(name), tmp_path_factory.mktemp("template"))
    return name


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: PostgresServer, postgres_template: str) -> Iterator[Databases]:
    """Where a test gets its database from."""
    databases = Databases(postgres_server, postgres_template)
    yield databases
    databases.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file to copy."""
    folder = tmp_path_factory.mktemp("template")
    migrate(str(folder / "ledger.sqlite"), folder)
    return folder / "ledger.sqlite"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The ledger's own tests run on both dialects; those above it on one, by their name, unless `--both` is asked."""
    if "dialect" in metafunc.fixturenames:
        above = metafunc.definition.nodeid.startswith(_ABOVE)
        apart = above and not metafunc.config.getoption("--both")
        one = DIALECTS[crc32(metafunc.function.__qualname__.encode()) % len(DIALECTS)]
        metafunc.parametrize("dialect", [one] if apart else DIALECTS, indirect=True)


@pytest.fixture
def dialect(request: pytest.FixtureRequest) -> str:
    """What a test's ledger lies on."""
    request.node.user_properties.append(("ledger_dialect", request.param))
    return str(request.param)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """An empty DATA_DIR."""
    folder = tmp_path / "ml"
    folder.mkdir()
    return folder


@pytest.fixture
def ledger_dsn(dialect: str, data_dir: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a fresh, migrated ledger."""
    if dialect == "sqlite":
        file = data_dir / "manifest.sqlite"
        file.write_bytes(request.getfixturevalue("sqlite_template").read_bytes())
        yield f"sqlite:///{file}"
        return
    databases: Databases = request.getfixturevalue("postgres_databases")
    with databases.fresh() as dsn:
        yield dsn


@pytest.fixture
def ledger(ledger_dsn: str, data_dir: Path) -> Iterator[Ledger]:
    """A fresh ledger, on each dialect in turn."""
    opened = open_ledger(ledger_dsn, data_dir)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Redis-protocol server for the session, or for each xdist worker."""
    with servers.redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """An empty server's address."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at the end of the whole run: for figures that a reader wants to see, pass or fail."""
    return lambda line: request.node.user_properties.append(("report", line))


class Figures:
    """Prints what tests told through `report`, from xdist's workers too."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self._lines += [str(line) for name, line in report.user_properties if name == "report"]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in sorted(self._lines):
            terminalreporter.write_line(line)


class DialectCount:
    """Counts ledger tests per dialect where reports arrive, so that xdist's workers are counted too."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter(dict.fromkeys(DIALECTS, 0))

    @property
    def uneven(self) -> bool:
        return len(set(self.ran.values())) > 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        dialect = dict(report.user_properties).get("ledger_dialect")
        its_own = report.nodeid.startswith("tests/libs/") and not report.nodeid.startswith(_ABOVE)
        if dialect is not None and its_own and report.when == "call" and not report.skipped:
            self.ran[str(dialect)] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.uneven and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = ", ".join(f"{dialect} {self.ran[dialect]}" for dialect in DIALECTS)
        terminalreporter.write_line(f"ledger tests run: {counts}")
        if self.uneven:
            terminalreporter.write_line("FAILED: the dialects did not run the same ledger tests", red=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--both`: see pytest_generate_tests."""
    parser.addoption("--both", action="store_true", help="run the services' tests on both dialects too")


def pytest_configure(config: pytest.Config) -> None:
    """Count where the whole selection is run; a hand-picked test may well be of one dialect."""
    on_xdist_worker = hasattr(config, "workerinput")
    hand_picked = config.option.keyword or config.option.maxfail or any("::" in each for each in config.args)
    if not on_xdist_worker:
        config.pluginmanager.register(Figures(), "figures")
    if not on_xdist_worker and not hand_picked:
        config.pluginmanager.register(DialectCount(), "dialect-count")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which servers the tests will use."""
    return f"postgres: {servers.postgres_kind()}, redis: {servers.redis_kind()}"
