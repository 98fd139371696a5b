"""What the ingester's API answers."""

from typing import Annotated

from pydantic import ConfigDict, Field

from tidewheel.contracts.states import BackfillState, Origin
from tidewheel.contracts.times import UtcMillis
from tidewheel.kit.schemas import Answer, RequestBody


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


class BackfillOrder(RequestBody):
    """Which history to fetch."""

    streams: list[Annotated[str, Field(max_length=200)]] = Field(
        [], max_length=100, description="exchange:symbol:timeframe; default: all of SYMBOLS."
    )
    start: str = Field(max_length=40, description="First open time: epoch ms or ISO-8601 UTC.")
    end: str | None = Field(
        None,
        max_length=40,
        description="Bars that open before it. Default: up to what ingestion has brought; on a new stream, up to now.",
    )

    model_config = ConfigDict(
        json_schema_extra={"example": {"streams": ["binance:BTC/USDT:1m"], "start": "2026-01-01T00:00Z"}}
    )


class BackfillView(Answer):
    """History that is fetched for one stream, and how far it is."""

    backfill_id: int
    stream: str = Field(description="exchange:symbol:timeframe.")
    start: UtcMillis = Field(description="Open time of the first bar wanted.")
    end: UtcMillis = Field(description="Bars that open before it are wanted.")
    cursor: UtcMillis = Field(description="Next open time to ask for; everything before it is stored.")
    progress: float = Field(description="0 to 1, in time.")
    state: BackfillState = Field(
        description="What a failed or cancelled one has not fetched stays an open gap that ingestion leaves alone, "
        "until the same is ordered again."
    )
    fetched: int = Field(description="Closed bars that the exchange gave, known ones included.")
    reason: str | None = Field(description="Why it failed, was cancelled, or had to wait last.")
    created_at: UtcMillis
    changed_at: UtcMillis = Field(description="When it last came on, or had to wait.")


class BackfillList(Answer):
    """Backfills, newest first, or as they were ordered."""

    backfills: list[BackfillView]


class Candles(Answer):
    """Bars of one stream, oldest first."""

    stream: str
    bars: list[tuple[UtcMillis, float, float, float, float, float]] = Field(
        description="[open_time, open, high, low, close, volume]; `POST /predict` takes them as they are."
    )
