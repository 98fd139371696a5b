"""`POST /api/bouncehunter/backtest`. Shares are decimals, dates are of sessions, money is in price units."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from services.predictor.schemas.bounce import Ticker
from tidewheel.contracts.bounce import MAX_TICKERS
from tidewheel.contracts.states import Origin
from tidewheel.kit.schemas import Answer, RequestBody


class BacktestRequest(RequestBody):
    """What to trade, when, with what money and at what cost."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"tickers": ["AAPL", "MSFT"], "start": "2020-01-01", "end": "2022-12-31"}]}
    )

    tickers: list[Ticker] = Field(min_length=1, max_length=MAX_TICKERS)
    start: str = Field(max_length=40, description="Date of the first session.")
    end: str | None = Field(None, max_length=40, description="Date of the last one; else the newest.")
    capital: float = 100_000.0
    position_size: float = Field(0.1, description="Share of equity that a purchase takes, up to 1.")
    fee_bps: float = Field(1.0, description="Of the money moved, each way; 100 are 1 %.")
    slippage_bps: float = Field(5.0, description="How much worse than the bar's price, each way.")
    max_positions: int = Field(10, strict=True, description="Held at a time, up to 1,000.")


class TradeView(Answer):
    """Bought at an open, and sold."""

    ticker: str
    decided_on: str = Field(description="The session at whose close.")
    entry_date: str
    entry_price: float
    exit_date: str
    exit_price: float
    exit_reason: Literal["stop", "target", "horizon", "end"]
    quantity: float
    costs: float = Field(description="Of both ways.")
    pnl: float = Field(description="Costs taken off.")
    pnl_pct: float = Field(description="Share of what it cost.")
    probability: float
    model_known_at: str = Field(description="When the last end that its model has learnt was known.")


class EquityView(Answer):
    """At the close of a session."""

    date: str
    equity: float
    cash: float
    positions: int
    buy_and_hold: float = Field(description="Of equal money in every ticker from its first open on.")


class BacktestAnswer(Answer):
    """What trading the signals would have come to."""

    tickers: list[str] = Field(description="Those that could be traded.")
    left_out: dict[str, str] = Field(description="The others, and why.")
    origin: Origin = Field(description="The least real one of the tickers.")
    volatility_source: str
    trades: list[TradeView]
    equity: list[EquityView]
    metrics: dict[str, Any] = Field(
        description="Return, volatility, Sharpe ratio and drawdown, those of buy and hold beside them, trades, costs, "
        "and how many dips and signals were not traded and why; null where there is nothing to tell."
    )
    picture: str = Field(description="Both courses of equity as SVG.")
