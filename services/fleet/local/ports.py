"""TCP ports on this machine."""

import socket

from tidewheel.contracts.errors import BadSetting
from tidewheel.kit.serve import listen


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


def require_free(port: int, what: str, host: str = "127.0.0.1") -> None:
    """Check that `what` can listen on `port`.

    Raises:
        BadSetting: somebody listens there already, or this user may not; names the port and its owner.
    """
    try:
        listen(host, port).close()
    except BadSetting as error:
        raise BadSetting(f"{what}: {error.detail}", code="port_taken") from None
