"""What the ingester reads from its environment."""

from typing import ClassVar, Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.roles import Role
from tidewheel.contracts.times import step_millis
from tidewheel.kit.settings import CommaSeparated, Moment, Settings


class IngesterSettings(Settings):
    """Which candles to fetch, from where, how many at a time, and when to seal them."""

    role: ClassVar[str] = Role.INGESTER

    exchange: str = Field("binance", description="ccxt's id of the exchange.")
    exchange_type: Literal["spot", "futures"] = Field(
        "spot", description="spot or futures; EXCHANGE=binance with futures is binanceusdm."
    )
    exchange_url: str | None = Field(
        None, description="Address that replaces every REST and websocket address of the exchange (the simulator's)."
    )
    exchange_api_key: SecretStr | None = Field(None, description="The exchange's API key; public candles need none.")
    exchange_api_secret: SecretStr | None = Field(None, description="The secret of EXCHANGE_API_KEY.")
    symbols: CommaSeparated = Field(
        (), description="Symbols, comma-separated: `BTC/USDT,ETH/USDT` or `btcusdt,ethusdt`. Beats SYMBOL."
    )
    symbol: str | None = Field(None, description="One symbol, where SYMBOLS is not set.")
    timeframe: str = Field(
        "1m", validation_alias=AliasChoices("TIMEFRAME", "INTERVAL"), description="Length of a bar, such as 1m or 4h."
    )
    batch_limit: int = Field(
        1_000, ge=1, le=100_000, description="Bars that one `POST /ingest_once` fetches and seals for each stream."
    )
    start_ts: Moment | None = Field(
        None,
        description="Where a new stream begins: epoch ms or ISO-8601 UTC. Default: 30 days before the first ingestion.",
    )
    end_ts: Moment | None = Field(None, description="Bars that open at or after this time are not fetched.")
    sleep_ms: int = Field(0, ge=0, le=60_000, description="Pause between two requests to the exchange, in ms.")
    seal_bars: int = Field(60, ge=1, description="Scheduled ingestion seals a file when this many bars wait.")
    seal_seconds: int = Field(
        300,
        ge=0,
        validation_alias="TIDEWHEEL_SEAL_SECONDS",
        description="Scheduled ingestion seals earlier when the oldest waiting bar was stored this long ago.",
    )
    overlap_bars: int = Field(
        10,
        ge=0,
        le=1_000,
        validation_alias="TIDEWHEEL_OVERLAP_BARS",
        description="Newest known bars that each ingestion asks for once more, so that corrections become revisions.",
    )
    retention_days: float | None = Field(
        None,
        gt=0,
        description="Days that sealed CSV files stay under incoming/; the archive keeps the candles. Default: ever.",
    )
    lease_wait_seconds: float = Field(
        20.0,
        ge=0,
        le=300,
        validation_alias="TIDEWHEEL_LEASE_WAIT_SECONDS",
        description="How long `POST /ingest_once` waits for another process that is ingesting the same stream. "
        "A dead one's right ends after 15 seconds.",
    )

    @field_validator("timeframe")
    @classmethod
    def _known_timeframe(cls, value: str) -> str:
        try:
            step_millis(value)
        except BadInput as problem:
            raise ValueError(problem.detail) from None
        return value

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> "IngesterSettings":
        if self.start_ts is not None and self.end_ts is not None and self.end_ts <= self.start_ts:
            raise ValueError(f"END_TS ({self.end_ts}) is not after START_TS ({self.start_ts}); exchange them")
        return self

    @property
    def wanted_symbols(self) -> tuple[str, ...]:
        """The symbols as the user wrote them, without repeats."""
        named = self.symbols or ((self.symbol,) if self.symbol else ("BTC/USDT", "ETH/USDT"))
        return tuple(dict.fromkeys(named))
