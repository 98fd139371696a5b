"""What the ingester's API answers."""

from pydantic import ConfigDict, Field

from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.schemas import Answer


class StreamError(Answer):
    """Why a stream could not be ingested; the members are those of a problem document."""

    code: str
    detail: str = Field(description="What happened and what to do.")


class StreamReport(Answer):
    """What one call brought for one stream."""

    stream: str = Field(description="exchange:symbol:timeframe.")
    fetched: int = Field(0, description="Closed bars that the exchange gave.")
    stored: int = Field(0, description="Those of them that the ledger did not know.")
    revised: int = Field(
        0, description="Bars that were known with other values, or had been missing; absent when there were none."
    )
    file_id: int | None = Field(None, description="The newest file that was sealed; null when nothing was.")
    watermark: UtcMillis | None = Field(
        None, description="Next expected open time, UTC ms; null before the first seal."
    )
    gaps: int = Field(0, description="Holes in the stream that nothing has filled or confirmed.")
    caught_up: bool = Field(False, description="Whether the exchange has no further closed bar.")
    error: StreamError | None = Field(None, description="Present only where the stream failed.")


class Ingested(Answer):
    """What one call brought, stream by stream."""

    streams: list[StreamReport]

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "streams": [
                    {
                        "stream": "binance:BTC/USDT:1m",
                        "fetched": 1000,
                        "stored": 1000,
                        "file_id": 1,
                        "watermark": 1767285600000,
                        "gaps": 0,
                        "caught_up": False,
                    }
                ]
            }
        }
    )


class StreamFailure(StreamError):
    """The last trouble with a stream, scheduled ingestion included."""

    stream: str = Field(description="exchange:symbol:timeframe; the symbol as it was written, if that is the trouble.")
    times: int = Field(description="Attempts that failed one after the other.")
    since: UtcMillis = Field(description="When the first of them failed, UTC ms.")
    failed_at: UtcMillis = Field(description="When the last of them failed, UTC ms.")
    over_at: UtcMillis | None = Field(description="When an attempt went well again; null while it fails.")


class StreamView(Answer):
    """A series of candles and how far it has come."""

    stream: str = Field(description="exchange:symbol:timeframe.")
    origin: Origin = Field(description="What the exchange said of itself at the first append; `import`: files.")
    watermark: UtcMillis | None = Field(description="Next expected open time, UTC ms; null before the first seal.")
    first_open: UtcMillis | None = Field(description="Open time of the oldest bar.")
    tail_bars: int = Field(description="Bars that wait for a seal.")
    sealed_bars: int = Field(description="Bars in sealed files.")
    files: int = Field(description="Sealed files, corrections included.")
    gaps_open: int = Field(description="Holes that nothing has filled or confirmed.")
    gaps_confirmed: int = Field(description="Holes of which two requests with different pages agreed that they are.")
    gaps_healed: int = Field(description="Holes that later bars have filled.")
    last_failure: StreamFailure | None = Field(description="What last went wrong; null where nothing ever did.")


class StreamList(Answer):
    """All streams of the ledger."""

    streams: list[StreamView]
    unknown: list[StreamFailure] = Field(description="What is wanted, fails and is no stream yet.")


class Candles(Answer):
    """Bars of one stream, oldest first."""

    stream: str
    bars: list[tuple[UtcMillis, float, float, float, float, float]] = Field(
        description="[open_time, open, high, low, close, volume]; `POST /predict` takes them as they are."
    )
