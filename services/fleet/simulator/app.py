"""The HTTP face of the simulated exchange: Binance's spot and USD-M market data, and a clock to turn."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from tidewheel.contracts.errors import BadInput, TidewheelError
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.kit.serve import serve_http
from tidewheel.market.sim.clock import VirtualClock
from tidewheel.market.sim.engine import Face, Refused, SimulatedExchange
from tidewheel.market.sim.faults import Faults, RudeExchange
from tidewheel.market.sim.replay import replayed
from tidewheel.market.sim.scenario import scenario as scenario_of

FACES = {"/api/v3": Face.SPOT, "/fapi/v1": Face.USDM}


class ClockMove(BaseModel):
    """What to do to the clock; the speed is set first, then one jump at most is made."""

    model_config = ConfigDict(extra="forbid")

    now: UtcMillis | None = Field(None, description="Jump to this time, UTC ms.")
    advance_ms: int | None = Field(None, ge=0, description="Jump this far.")
    phase: int | None = Field(None, description="Jump to the end of this phase of the scenario, counted from 1.")
    speed: float | None = Field(None, description="Virtual seconds per real second; 0 stands still.")


class Refusals(BaseModel):
    """How many of the next requests to turn away, and how."""

    model_config = ConfigDict(extra="forbid")

    status: int = Field(429, description="418, 429 or a 5xx.")
    retry_after: float | None = Field(None, ge=0, description="Seconds told in Retry-After; none when absent.")
    count: int = Field(1, ge=0, description="Requests to refuse; 0 ends it.")


def sim_app(engine: SimulatedExchange) -> FastAPI:
    """The exchange as an ASGI application."""
    app = FastAPI(title="Simulated exchange", docs_url=None, redoc_url=None)
    for prefix, face in FACES.items():
        app.include_router(_market_data(engine, face), prefix=prefix)
    app.include_router(_controls(engine), prefix="/_sim")

    @app.exception_handler(TidewheelError)
    async def refuse(_: Request, error: TidewheelError) -> JSONResponse:
        """Binance's form of an error, `{code, msg}`."""
        headers: dict[str, str] = {}
        if isinstance(error, Refused) and error.retry_after is not None:
            headers["Retry-After"] = f"{error.retry_after:g}"
        body = {"code": error.extra.get("binance_code", -1100), "msg": error.detail}
        return JSONResponse(body, error.status, headers)

    return app


def _market_data(engine: SimulatedExchange, face: Face) -> APIRouter:
    router = APIRouter(default_response_class=JSONResponse)

    @router.get("/ping")
    async def ping() -> dict[str, Any]:
        engine.admit()
        return {}

    @router.get("/time")
    async def server_time() -> dict[str, Any]:
        engine.admit()
        return engine.time()

    @router.get("/exchangeInfo")
    async def exchange_info() -> dict[str, Any]:
        engine.admit()
        return engine.exchange_info(face)

    # A Response is returned as it is: FastAPI's own encoding would walk each of 12,000 values once more.
    @router.get("/klines")
    async def klines(
        symbol: str,
        interval: str,
        startTime: int | None = None,
        endTime: int | None = None,
        limit: int | None = None,
    ) -> Response:
        engine.admit()
        answer = JSONResponse(engine.klines(face, symbol, interval, startTime, endTime, limit))
        return Response(engine.sent(bytes(answer.body)), media_type=answer.media_type)

    return router


def _controls(engine: SimulatedExchange) -> APIRouter:
    router = APIRouter()

    def state() -> dict[str, Any]:
        now = engine.clock.now()
        return {
            "now": now,
            "now_iso": iso(now),
            "speed": engine.clock.speed,
            "scenario": engine.scenario.name,
            "origin": engine.scenario.origin.value,
            "start": engine.scenario.start,
            "phase_ends": engine.scenario.phase_ends(),
            "symbols": list(engine.symbols),
            "timeframes": sorted({series.timeframe for series in engine.scenario.series}),
            "requests": engine.requests,
            "requests_while_banned": engine.requests_while_banned,
        }

    @router.get("/clock")
    async def clock() -> dict[str, Any]:
        """The virtual time, and what there is to tell."""
        return state()

    @router.post("/clock")
    async def turn(move: ClockMove) -> dict[str, Any]:
        """Jump forward, or change the speed."""
        jumps: list[Callable[[], None]] = []
        if (now := move.now) is not None:
            jumps.append(lambda: engine.clock.move_to(now))
        if (advance := move.advance_ms) is not None:
            jumps.append(lambda: engine.clock.move_to(engine.clock.now() + advance))
        if (phase := move.phase) is not None:
            jumps.append(lambda: engine.to_phase(phase))
        if len(jumps) > 1:
            raise BadInput("the clock can jump only once: send one of now, advance_ms and phase")
        if move.speed is not None:
            engine.clock.run_at(move.speed)
        for jump in jumps:
            jump()
        return state()

    @router.post("/refuse")
    async def refuse(refusals: Refusals) -> dict[str, Any]:
        """Turn the next requests away, as a rate limit, a ban or an outage would."""
        engine.refuse(refusals.status, refusals.retry_after, refusals.count)
        return state()

    return router


def simulated(
    replay: tuple[str, ...], scenario: str, seed: int, speed: float | None, faults: str = ""
) -> SimulatedExchange:
    """The exchange that the command line asks for.

    Without a speed the clock stands: at the end of the first phase, or of the recorded candles. With one it runs
    from there, or from the first recorded candle.

    Raises:
        BadInput, BadCandles: a file, the scenario, the seed, the speed or the faults cannot be used.
    """
    told = replayed(replay) if replay else scenario_of(scenario, seed)
    begin = told.start if replay and speed is not None else told.ends[0]
    clock = VirtualClock(begin, speed or 0.0)
    return RudeExchange(told, Faults.parse(faults), seed, clock) if faults else SimulatedExchange(told, clock)


def exchange_sim(
    port: int,
    replay: tuple[str, ...] = (),
    scenario: str = "demo",
    seed: int = 1,
    speed: float | None = None,
    host: str = "127.0.0.1",
    faults: str = "",
) -> None:
    """`tidewheel serve exchange-sim`: serve until told to stop.

    Raises:
        BadInput, BadCandles: as `simulated`.
        BadSetting: the port is taken.
    """
    serve_http(sim_app(simulated(replay, scenario, seed, speed, faults)), host, port)
