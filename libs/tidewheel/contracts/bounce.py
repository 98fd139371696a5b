"""What BounceHunter calls a dip, a bounce and a signal: one frozen configuration, each number with its unit."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from typing import Any

from tidewheel.contracts.canonical import digest_of
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import UtcMillis, iso

MAX_TICKERS = 1_000  #: of one universe
LOW_VOLATILITY = 0.33  #: percentile of the volatility index below which it is called low
HIGH_VOLATILITY = 0.8  #: percentile of the volatility index from which on the higher threshold counts


@dataclass(frozen=True, kw_only=True, slots=True)
class BounceHunterConfig:
    """Shares are decimals: 0.03 is 3 %. Sessions are the daily bars of a ticker."""

    tickers: tuple[str, ...]  #: the universe, sorted, upper case
    z_score_drop: float = -1.5  #: a dip's five-session return, in standard deviations, is at most this
    rsi2_max: float = 10.0  #: its RSI(2), 0 to 100, is at most this
    rebound_pct: float = 0.03  #: share of the entry price that a bounce gains
    stop_pct: float = 0.03  #: share that must not be lost before
    horizon_days: int = 5  #: sessions that it has for it
    bcs_threshold: float = 0.62  #: least probability of a signal
    bcs_threshold_highvix: float = 0.68  #: the same where volatility is high
    max_dist_200dma: float = -0.12  #: a signal's distance from its 200-session mean is above this, share
    min_adv_usd: float = 5_000_000.0  #: least traded a session, mean of 21 sessions, price units
    min_event_samples: int = 40  #: dips with a known end that a fit takes, of the whole universe
    as_of: UtcMillis | None = None  #: what was known then is all that counts; None: whatever the ledger holds

    @classmethod
    def of(cls, tickers: Iterable[str], **changes: Any) -> "BounceHunterConfig":
        """The configuration of a universe, in whatever order and case its tickers come.

        Raises:
            BadInput: it is empty, or a number cannot be meant.
        """
        return cls(tickers=universe(tickers), **changes)

    def __post_init__(self) -> None:
        if self.tickers != universe(self.tickers):
            raise BadInput("tickers are upper case, sorted and unique; BounceHunterConfig.of(tickers) makes them so")
        for name, lowest, highest in _RANGES:
            value = getattr(self, name)
            if type(lowest) is int and type(value) is not int:
                raise BadInput(f"{name} = {value!r} is not a whole number")
            if not (isfinite(value) and lowest <= value <= highest):
                raise BadInput(f"{name} = {value} is not within {lowest:g} and {highest:g}")

    def with_tickers(self, tickers: Iterable[str]) -> "BounceHunterConfig":
        """The same of another universe."""
        return replace(self, tickers=universe(tickers))

    def to_json(self) -> dict[str, Any]:
        """As JSON values; equal configurations have equal ones."""
        said = {each.name: float(getattr(self, each.name)) for each in fields(self) if each.type is float}
        return {**asdict(self), **said, "tickers": list(self.tickers)}

    @classmethod
    def from_json(cls, said: Any) -> "BounceHunterConfig":
        """The configuration of `to_json()`.

        Raises:
            BadInput: it is none.
        """
        names = {each.name for each in fields(cls)}
        if not isinstance(said, dict) or set(said) != names or not isinstance(said["tickers"], list):
            raise BadInput(f"a configuration has exactly the members {', '.join(sorted(names))}")
        odd = [name for name in names - {"tickers", "as_of"} if type(said[name]) not in (int, float)]
        odd += ["tickers"] * any(not isinstance(ticker, str) for ticker in said["tickers"])
        odd += ["as_of"] * (said["as_of"] is not None and type(said["as_of"]) is not int)
        if odd:
            raise BadInput(f"{min(odd)} = {said[min(odd)]!r:.100} is not of its kind")
        return cls.of(**said)

    def digest(self, **versions: str) -> str:
        """sha256 (hex) of the configuration and of the `versions` that give its numbers their meaning."""
        return digest_of({**self.to_json(), "versions": versions})

    def threshold(self, volatility: float) -> float:
        """Least probability of a signal where the volatility index stands at this percentile, 0 to 1."""
        return self.bcs_threshold_highvix if volatility >= HIGH_VOLATILITY else self.bcs_threshold

    def __str__(self) -> str:
        until = "" if self.as_of is None else f" as of {iso(self.as_of)}"
        return f"{len(self.tickers)} tickers{until}"


def universe(tickers: Iterable[str]) -> tuple[str, ...]:
    """The tickers, upper case, sorted, each once.

    Raises:
        BadInput: there is none, there are more than 1,000, or one cannot be a ticker.
    """
    named = sorted({ticker.strip() for ticker in tickers})
    # Before they are upper case: of letters beyond ASCII some become those of another ticker.
    odd = next((ticker for ticker in named if not _TICKER.fullmatch(ticker)), None)
    if odd is not None:
        raise BadInput(f"ticker {odd[:40]!r} is not 1 to 40 of A-Z, 0-9 and . - _ ^ = / :, such as AAPL or BTC/USDT")
    found = tuple(sorted({ticker.upper() for ticker in named}))
    if not 1 <= len(found) <= MAX_TICKERS:
        raise BadInput(f"{len(found)} tickers; name 1 to {MAX_TICKERS:,}, such as AAPL")
    return found


_TICKER = re.compile(r"[A-Za-z0-9.^=_/:-]{1,40}")
_RANGES = (
    ("z_score_drop", -10.0, 0.0), ("rsi2_max", 0.0, 100.0), ("rebound_pct", 1e-4, 1.0), ("stop_pct", 1e-4, 0.99),
    ("horizon_days", 1, 60), ("bcs_threshold", 0.0, 1.0), ("bcs_threshold_highvix", 0.0, 1.0),
    ("max_dist_200dma", -1.0, 1.0), ("min_adv_usd", 0.0, 1e15), ("min_event_samples", 20, 1_000_000),
)  # fmt: skip
