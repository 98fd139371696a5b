"""What BounceHunter calls a dip, a bounce and a signal: one frozen configuration, each number with its unit."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Any

from tidewheel.contracts.canonical import digest_of
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import UtcMillis, iso

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
        return cls(tickers=tuple(sorted({ticker.strip().upper() for ticker in tickers})), **changes)

    def __post_init__(self) -> None:
        if not self.tickers:
            raise BadInput("tickers is empty; name at least one, such as AAPL")
        for name, lowest, highest in _RANGES:
            value = getattr(self, name)
            if not (isfinite(value) and lowest <= value <= highest):
                raise BadInput(f"{name} = {value} is not within {lowest:g} and {highest:g}")

    def with_tickers(self, tickers: Iterable[str]) -> "BounceHunterConfig":
        """The same of another universe."""
        return replace(self, tickers=tuple(sorted({ticker.strip().upper() for ticker in tickers})))

    def digest(self, **versions: str) -> str:
        """sha256 (hex) of the configuration and of the `versions` that give its numbers their meaning."""
        said = {name: value for name, value in asdict(self).items() if name != "tickers"}
        return digest_of({**said, "tickers": list(self.tickers), "versions": versions})

    def threshold(self, volatility: float) -> float:
        """Least probability of a signal where the volatility index stands at this percentile, 0 to 1."""
        return self.bcs_threshold_highvix if volatility >= HIGH_VOLATILITY else self.bcs_threshold

    def __str__(self) -> str:
        until = "" if self.as_of is None else f" as of {iso(self.as_of)}"
        return f"{len(self.tickers)} tickers{until}"


_RANGES = (
    ("z_score_drop", -10.0, 0.0), ("rsi2_max", 0.0, 100.0), ("rebound_pct", 1e-4, 1.0), ("stop_pct", 1e-4, 0.99),
    ("horizon_days", 1, 60), ("bcs_threshold", 0.0, 1.0), ("bcs_threshold_highvix", 0.0, 1.0),
    ("max_dist_200dma", -1.0, 1.0), ("min_adv_usd", 0.0, 1e15), ("min_event_samples", 20, 1_000_000),
)  # fmt: skip
