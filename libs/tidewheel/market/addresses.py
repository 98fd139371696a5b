"""The addresses of a ccxt client, and how to point all of them to another host."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tidewheel.contracts.errors import BadSetting

_URL_KINDS = ("api", "test", "demo")


def redirect(client: Any, url: str) -> None:
    """Let every REST and websocket address of a ccxt client point to `url`, each with its own path kept.

    Raises:
        BadSetting: `url` is not http(s)://host[:port][/prefix].
    """
    base = urlsplit(url)
    if base.scheme not in ("http", "https") or not base.netloc or base.query or base.fragment:
        raise BadSetting(f"EXCHANGE_URL {url!r} is not an address such as http://127.0.0.1:9000")
    web = {"http": "ws", "https": "wss"}[base.scheme]

    def moved(address: Any) -> Any:
        if isinstance(address, dict):
            return {name: moved(part) for name, part in address.items()}
        if isinstance(address, list):
            return [moved(part) for part in address]
        if not isinstance(address, str):
            return address
        old = urlsplit(address)
        scheme = web if old.scheme in ("ws", "wss") else base.scheme
        return urlunsplit((scheme, base.netloc, base.path.rstrip("/") + old.path, old.query, ""))

    client.urls = {kind: moved(part) if kind in _URL_KINDS else part for kind, part in client.urls.items()}


def first_address(part: Any) -> str:
    """Some address of a client, to name its host by."""
    while not isinstance(part, str):
        part = part.get("public", part.get("rest", next(iter(part.values()))))
    return part
