"""TCP ports on this machine: who holds one, and which are free."""

import errno
import socket

from tidewheel.contracts.errors import BadSetting


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listened on a moment ago."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def owner(port: int) -> str:
    """Who listens on `port`, as far as this user may see: `process 4242 (nginx)`."""
    import psutil

    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another process"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                continue
    return "a process of another user"


def require_free(port: int, what: str, host: str = "127.0.0.1") -> None:
    """Check that `what` can listen on `port`.

    Raises:
        BadSetting: somebody listens there already, or this user may not; names the port and its owner.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As uvicorn does it: a port in TIME_WAIT is free, a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BadSetting(
                    f"port {port} for {what} is taken by {owner(port)}: stop it, or move all ports with --port-base",
                    code="port_taken",
                ) from None
            raise BadSetting(f"port {port} for {what} cannot be used on {host}: {error.strerror}") from None
