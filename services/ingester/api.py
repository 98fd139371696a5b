"""HTTP face of the ingester, port 8001."""

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Annotated, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Response
from starlette.responses import StreamingResponse

from services.ingester.schemas import BackfillList, BackfillOrder, BackfillView, Candles, Ingested, StreamList
from services.ingester.service.backfilling import Backfilling
from services.ingester.service.ingester import Ingester
from tidewheel.contracts.keys import StreamKey, path_part
from tidewheel.contracts.states import Scope
from tidewheel.contracts.times import UtcMillis, parse_time
from tidewheel.features.frames import CandleFrame
from tidewheel.kit.auth import Actor, require
from tidewheel.kit.problems import problem
from tidewheel.kit.web import LongBodyRoute
from tidewheel.ledger.formats import CSV_HEADER, csv_text, parquet_bytes

_PIECE = 500  #: bars that are written at once, with every other thread of the process at a halt
_INGESTING = 4  #: threads; each waits for the exchange, for minutes perhaps

MayRead = Depends(require(Scope.READ))
MayIngest = Depends(require(Scope.INGEST))
Start = Annotated[str | None, Query(max_length=40, examples=["2026-01-01T00:00Z"])]
End = Annotated[str | None, Query(max_length=40, examples=["2026-01-02T00:00Z"])]


def router(ingester: Ingester, backfilling: Backfilling) -> APIRouter:
    """Routes over streams and their candles."""
    routes = APIRouter(route_class=LongBodyRoute, tags=["candles"])
    # Threads of their own, so that short requests do not wait behind long ones. One reads bars and one writes them
    # down: two would be no faster, and whoever answers the others would wait for each of them in turn.
    ingesting, reading, writing = CapacityLimiter(_INGESTING), CapacityLimiter(1), CapacityLimiter(1)

    @routes.post(
        "/ingest_once",
        dependencies=[MayIngest],
        response_model_exclude_unset=True,
        responses={
            409: problem("lease_taken", "Another process is ingesting the streams."),
            422: problem("unknown_symbol", "A setting names what the exchange does not have."),
            429: problem("exchange_refused", "The exchange wants no requests now; Retry-After says for how long."),
            503: problem("exchange_unavailable", "The exchange cannot be reached."),
        },
    )
    async def ingest_once(
        until: Annotated[
            str | None,
            Query(max_length=40, description="`now`, epoch ms or ISO-8601: go on, chunk after chunk, up to there."),
        ] = None,
        stream: Annotated[
            str | None,
            Query(
                max_length=200,
                examples=["binance:BTC/USDT:1d"],
                description="This one alone, of any symbol and timeframe of the exchange; else all of SYMBOLS.",
            ),
        ] = None,
    ) -> Ingested:
        """Fetch what has closed since each stream's watermark, at most BATCH_LIMIT bars a stream, and seal it.

        A stream that failed carries `error`; when all failed, the answer is a problem with the reports as `streams`.
        """
        to_the_end = until == "now"
        end = None if to_the_end else _time(until)
        ingest = partial(ingester.ingest_once, end, to_the_end=to_the_end, stream=stream)
        return await run_sync(ingest, limiter=ingesting)

    @routes.post(
        "/backfill",
        status_code=202,
        dependencies=[MayIngest],
        responses={
            422: problem("bad_input", "A stream is unknown here, or the interval is none."),
            429: problem("exchange_refused", "The exchange wants no requests now; Retry-After says for how long."),
            503: problem("exchange_unavailable", "The exchange cannot be reached."),
        },
    )
    def backfill(order: BackfillOrder) -> BackfillList:
        """Fetch history in the background, page by page, beside live ingestion; follow it at `GET /backfill/{id}`.

        Asked again, the same order is the same backfill: it goes on where it stands; a finished one is not repeated.
        """
        return BackfillList(backfills=backfilling.start(order.streams, parse_time(order.start), _time(order.end)))

    @routes.get("/backfill", dependencies=[MayRead])
    def backfills(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> BackfillList:
        """Backfills, newest first."""
        return BackfillList(backfills=backfilling.newest(limit))

    @routes.get("/backfill/{backfill_id}", dependencies=[MayRead], responses={404: problem("not_found")})
    def get_backfill(backfill_id: int) -> BackfillView:
        """One backfill and how far it is."""
        return backfilling.get(backfill_id)

    @routes.post("/backfill/{backfill_id}/cancel", responses={404: problem("not_found")})
    def cancel(backfill_id: int, actor: Annotated[Actor, MayIngest]) -> BackfillView:
        """Stop a backfill after the page in hand; what came stays. One that has ended stays as it is."""
        return backfilling.cancel(backfill_id, actor.name)

    @routes.get("/streams", dependencies=[MayRead])
    def streams() -> StreamList:
        """All streams: origin, watermark, bars, files, gaps, and what last went wrong with each."""
        return ingester.streams()

    @routes.get(
        "/candles",
        dependencies=[MayRead],
        response_model=Candles,
        responses={
            200: {"content": {"text/csv": {}, "application/vnd.apache.parquet": {}}},
            404: problem("not_found", "The ledger has no such stream."),
        },
    )
    async def candles(
        stream: Annotated[str, Query(max_length=200, examples=["binance:BTC/USDT:1m"])],
        start: Start = None,
        end: End = None,
        as_of: End = None,
        format: Literal["csv", "json", "parquet"] = "json",
    ) -> Response:
        """Bars with `start <= open_time < end`, each in its newest revision; as the ledger knew them at `as_of`."""
        key = StreamKey.parse(stream)
        wanted = (_time(start), _time(end), _time(as_of))
        frame = await run_sync(ingester.candles, key, *wanted, limiter=reading)
        if format == "json":
            return StreamingResponse(_in_turn(_json(key, frame), writing), media_type="application/json")
        file = f"{key.exchange}-{path_part(key.symbol)}-{key.timeframe}.{format}"
        named = {"Content-Disposition": f'attachment; filename="{file}"'}
        if format == "csv":
            return StreamingResponse(_in_turn(_csv(frame), writing), media_type="text/csv", headers=named)
        packed = await run_sync(parquet_bytes, frame, limiter=writing)
        return Response(packed, media_type="application/vnd.apache.parquet", headers=named)

    return routes


def _time(text: str | None) -> UtcMillis | None:
    return None if text is None else parse_time(text)


async def _in_turn(pieces: Iterator[str], writing: CapacityLimiter) -> AsyncIterator[str]:
    """The pieces, each written when it is this answer's turn."""
    while piece := await run_sync(next, pieces, "", limiter=writing):
        yield piece


def _pieces(frame: CandleFrame) -> Iterator[CandleFrame]:
    """The frame in short pieces: writing a long one in one go would keep the role from answering others."""
    for start in range(0, len(frame), _PIECE):
        yield frame.take(slice(start, start + _PIECE))


def _json(key: StreamKey, frame: CandleFrame) -> Iterator[str]:
    yield f'{{"stream":{json.dumps(str(key))},"bars":['
    for number, piece in enumerate(_pieces(frame)):
        yield ("," if number else "") + json.dumps(piece.rows(), separators=(",", ":"), allow_nan=False)[1:-1]
    yield "]}"


def _csv(frame: CandleFrame) -> Iterator[str]:
    yield CSV_HEADER + "\n"
    for piece in _pieces(frame):
        yield csv_text(piece).removeprefix(CSV_HEADER + "\n")
