"""Talks to a running simulated exchange: what it tells, and its clock."""

from typing import Any

from tidewheel.contracts.errors import Unavailable


def clock(url: str) -> dict[str, Any]:
    """`now`, `start`, `phase_ends` (UTC ms), `symbols`, `timeframes`, `speed`, ...

    Raises:
        Unavailable: it does not answer.
    """
    return _ask("GET", url)


def turn_clock(url: str, **move: float) -> dict[str, Any]:
    """Move the clock by `now`, `advance_ms`, `phase` or `speed`; answers as `clock`.

    Raises:
        Unavailable: it does not answer, or refuses the move.
    """
    return _ask("POST", url, move)


def _ask(method: str, url: str, body: dict[str, float] | None = None) -> dict[str, Any]:
    import httpx  # which most commands that import this module never need

    try:
        with httpx.Client(trust_env=False, timeout=10) as client:
            answer = client.request(method, f"{url}/_sim/clock", json=body)
    except httpx.TransportError as error:
        raise Unavailable(f"the simulated exchange at {url} does not answer: {error}") from None
    if answer.status_code != 200:
        raise Unavailable(f"the simulated exchange at {url} refused {body}: {answer.text}")
    state: dict[str, Any] = answer.json()
    return state
