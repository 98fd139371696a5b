"""`/api/bouncehunter`: scans, and the cache that they are answered from."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from services.predictor.schemas.backtest import BacktestAnswer, BacktestRequest
from services.predictor.schemas.bounce import (
    MAX_AGE_HOURS,
    CacheInfo,
    CacheList,
    ClearedView,
    IncrementalAnswer,
    IncrementalRequest,
    PendingRun,
    ScanAnswer,
    ScanRequest,
)
from services.predictor.service.bounce.scans import Scans
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.states import Scope
from tidewheel.kit.auth import Actor, require
from tidewheel.kit.problems import problem
from tidewheel.kit.web import Json

MAY_READ = Depends(require(Scope.READ))
MAY_TRAIN = Depends(require(Scope.TRAIN))
Reader = Annotated[Actor, Depends(require(Scope.READ))]
Trainer = Annotated[Actor, Depends(require(Scope.TRAIN))]
MaxAge = Annotated[float, Query(ge=0, le=MAX_AGE_HOURS, description="An older entry is called stale.")]
_NONE = problem("no_cached_model", "No model is cached, or none of that configuration.")
_FITTING: dict[int | str, dict[str, Any]] = {
    202: {"model": PendingRun, "description": "The model is still being fitted; follow the run, then ask again."},
    409: problem("run_cancelled", "The run was cancelled, or its model cleared before it was read."),
    422: problem("unknown_ticker", "A ticker is not in the ledger; or there are too few dips: says how many."),
    429: problem("overloaded", "Others wait for their turn; come back when Retry-After has passed."),
    500: problem("fit_failed", "The run that was to fit the model failed; says why."),
    503: problem("role_away", "No trainer lives, or the ledger is away; `role` names the first."),
}
_TRADING: dict[int | str, dict[str, Any]] = {
    422: problem("no_sessions", "No ticker has a session in that time, or is known; or a term cannot be meant."),
    429: _FITTING[429],
}


def router(scans: Scans) -> APIRouter:
    """Scanning, and looking after what was fitted for it."""
    routes = APIRouter(prefix="/api/bouncehunter", tags=["bouncehunter"])

    @routes.post("/scan", response_model=ScanAnswer, responses=_FITTING)
    async def scan(body: ScanRequest, actor: Reader) -> Response:
        """The tickers that have dipped in the newest session and will probably bounce before they fall further.

        The bars are the ledger's of this moment; the model is cached. Where none is cached that is young enough one is
        fitted, which needs the scope `train` and is waited for up to SCAN_WAIT_SECONDS.
        """
        return _answer(await scans.scan(body, actor))

    @routes.get("/cache/info", dependencies=[MAY_READ], responses={404: _NONE})
    def cache_info(
        config_hash: Annotated[str | None, Query(max_length=64, description="Which entry.")] = None,
        tickers: Annotated[str | None, Query(max_length=50_000, description="Of a universe: AAPL,MSFT")] = None,
        max_cache_age_hours: MaxAge = 24.0,
    ) -> CacheInfo:
        """Age, training samples and metrics of an entry; the one updated last unless one is named."""
        if config_hash is not None and tickers is not None:
            raise BadInput("config_hash and tickers both name an entry; keep one of them")
        named = None if tickers is None else tickers.split(",")
        return scans.entries.info(config_hash, named, max_cache_age_hours)

    @routes.get("/cache/list", dependencies=[MAY_READ])
    def cache_list(max_cache_age_hours: MaxAge = 24.0) -> CacheList:
        """Every entry, and the room that they take."""
        return scans.entries.all(max_cache_age_hours)

    @routes.delete("/cache/clear", dependencies=[MAY_TRAIN])
    def cache_clear(
        older_than_days: Annotated[
            float | None, Query(ge=0, le=36_500, description="Only those whose data were read longer ago.")
        ] = None,
    ) -> ClearedView:
        """Remove entries; the next scan fits anew."""
        return scans.entries.clear(older_than_days)

    @routes.post("/train/incremental", response_model=IncrementalAnswer, responses={**_FITTING, 404: _NONE})
    async def incremental(body: IncrementalRequest, actor: Trainer) -> Response:
        """Let an entry grow by tickers, of which alone the history is read; or read all of its own again."""
        return _answer(await scans.grow(body, actor))

    @routes.post("/backtest", dependencies=[MAY_READ], response_model=BacktestAnswer, responses=_TRADING)
    async def backtest(body: BacktestRequest) -> Response:
        """What trading the signals would have come to: decided at a close, bought at the next open, each judged by a
        model of what was known then.

        It runs for seconds to minutes in a process with limits.
        """
        return Response(await scans.backtests.trade(body), media_type="application/json")

    return routes


def _answer(answer: ScanAnswer | IncrementalAnswer | PendingRun) -> Response:
    return Json(answer.model_dump(mode="json"), status_code=202 if isinstance(answer, PendingRun) else 200)
