"""HTTP face of the ingester, port 8001."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from services.ingester.schemas import Candles, Ingested, StreamList
from services.ingester.service.ingester import Ingester
from tidewheel.contracts.keys import StreamKey, path_part
from tidewheel.contracts.states import Scope
from tidewheel.contracts.times import UtcMillis, parse_time
from tidewheel.kit.auth import require
from tidewheel.kit.problems import problem
from tidewheel.ledger.formats import csv_text, parquet_bytes

MayRead = Depends(require(Scope.READ))
MayIngest = Depends(require(Scope.INGEST))
Start = Annotated[str | None, Query(max_length=40, examples=["2026-01-01T00:00Z"])]
End = Annotated[str | None, Query(max_length=40, examples=["2026-01-02T00:00Z"])]


def router(ingester: Ingester) -> APIRouter:
    """Routes over streams and their candles."""
    routes = APIRouter(tags=["candles"])

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
    def ingest_once(
        until: Annotated[
            str | None,
            Query(max_length=40, description="`now`, epoch ms or ISO-8601: go on, chunk after chunk, up to there."),
        ] = None,
    ) -> Ingested:
        """Fetch what has closed since each stream's watermark, at most BATCH_LIMIT bars a stream, and seal it.

        A stream that failed carries `error`; when all failed, the answer is a problem with the reports as `streams`.
        """
        if until == "now":
            return ingester.ingest_once(to_the_end=True)
        return ingester.ingest_once(_time(until))

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
    def candles(
        stream: Annotated[str, Query(max_length=200, examples=["binance:BTC/USDT:1m"])],
        start: Start = None,
        end: End = None,
        as_of: End = None,
        format: Literal["csv", "json", "parquet"] = "json",
    ) -> Response:
        """Bars with `start <= open_time < end`, each in its newest revision; as the ledger knew them at `as_of`."""
        key = StreamKey.parse(stream)
        frame = ingester.candles(key, _time(start), _time(end), _time(as_of))
        if format == "json":
            return Response(
                Candles(stream=str(key), bars=frame.rows()).model_dump_json(), media_type="application/json"
            )
        file = f"{key.exchange}-{path_part(key.symbol)}-{key.timeframe}.{format}"
        named = {"Content-Disposition": f'attachment; filename="{file}"'}
        if format == "csv":
            return Response(csv_text(frame), media_type="text/csv", headers=named)
        return Response(parquet_bytes(frame), media_type="application/vnd.apache.parquet", headers=named)

    return routes


def _time(text: str | None) -> UtcMillis | None:
    return None if text is None else parse_time(text)
