"""The dips and the volatility of a universe, told ticker by ticker, so that one more ticker is one more reading."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.features.bounce import Dips, dips, require_adjusted, require_history
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.features.volatility import Squares, at_sessions, percentile
from tidewheel.models.bounce import DipRows


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Told:
    """What one ticker's bars tell."""

    dips: Dips
    squares: Squares
    until: UtcMillis  #: close of its newest session
    origin: Origin


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Gathered:
    """What the ledger told of a universe; every ticker is in `dips` or in `left_out`."""

    dips: Mapping[str, Dips]
    until: Mapping[str, UtcMillis]  #: by ticker, close of the newest session that was read
    origins: Mapping[str, Origin]  #: by ticker
    left_out: Mapping[str, str]  #: why a ticker is not part of it
    squares: Squares  #: of those that are

    @classmethod
    def of(cls, told: Mapping[str, Told], left_out: Mapping[str, str]) -> "Gathered":
        """Those tickers and no other."""
        return cls(
            dips={ticker: each.dips for ticker, each in told.items()},
            until={ticker: each.until for ticker, each in told.items()},
            origins={ticker: each.origin for ticker, each in told.items()},
            left_out=dict(left_out),
            squares=Squares.added(each.squares for each in told.values()),
        )

    def joined(self, more: "Gathered") -> "Gathered":
        """Both; they have no ticker in common."""
        return Gathered(
            dips={**self.dips, **more.dips},
            until={**self.until, **more.until},
            origins={**self.origins, **more.origins},
            left_out={**self.left_out, **more.left_out},
            squares=Squares.added([self.squares, more.squares]),
        )

    def rows(self, volatility: "Volatility") -> DipRows:
        """The dips in one order of time; one whose session has no percentile is not among them."""
        parts = [DipRows.empty()]
        for place, ticker in enumerate(sorted(self.dips)):
            found = self.dips[ticker]
            level = volatility.at(found.time)
            rows = DipRows(
                time=found.time,
                ticker=np.full(len(found), place),
                features=np.column_stack([found.features, level]),
                label=found.label,
                known_at=found.known_at,
            )
            parts.append(rows.take(~np.isnan(level)))
        return DipRows.joined(parts)


@dataclass(frozen=True, eq=False, slots=True)
class Volatility:
    """Percentile of the market's volatility by session."""

    time: Ints  #: open times, UTC ms, rising
    percentile: Floats  #: within (0, 1]

    def at(self, sessions: Ints) -> Floats:
        """The percentile [n] of each session, NaN where there is none."""
        return at_sessions(sessions, self.time, self.percentile)


def gather(bars: DailyBars, config: BounceHunterConfig, tickers: Iterable[str]) -> Iterable[tuple[str, Told | str]]:
    """What the whole history of each ticker tells, or why it is left out; one is in memory at a time.

    Raises:
        BadInput: `unknown_ticker`, `ambiguous_ticker`.
    """
    streams = bars.streams(tickers)
    for (ticker, stream), sessions in zip(streams.items(), bars.history(streams.values(), config.as_of), strict=True):
        why = why_unusable(ticker, sessions, config)
        yield (
            ticker,
            why or Told(
                dips=dips(sessions, config),
                squares=Squares.of(sessions),
                until=int(sessions.open_time[-1]) + DAY,
                origin=stream.origin,
            ),
        )  # fmt: skip


def why_unusable(ticker: str, sessions: CandleFrame, config: BounceHunterConfig) -> str | None:
    """Why a ticker's bars cannot be used, or None; begins with a code."""
    try:
        require_history(ticker, sessions)
        require_adjusted(ticker, sessions)
        if (sessions.close == sessions.close[0]).all():
            raise BadInput(f"{ticker} stands at {sessions.close[0]:g} in every session", code="constant_prices")
        if config.min_adv_usd > 0 and not sessions.volume.any():
            raise BadInput(f"the bars of {ticker} have no volume; import them with it", code="no_volume")
    except (NotEnoughData, BadInput) as why:
        return f"{why.code}: {why.detail}"
    return None


def volatility_of(bars: DailyBars, squares: Squares, as_of: UtcMillis | None) -> Volatility:
    """From the index where one is named, else of the universe itself.

    Raises:
        NotFound: the ledger has no such index.
    """
    index = bars.index(None, as_of)
    if index is None:
        return Volatility(*percentile(*squares.realised()))
    return Volatility(*percentile(index.open_time, index.close))
