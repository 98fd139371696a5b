"""Backtests, one at a time: each takes a core, and reads the whole history of its tickers."""

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from services.predictor.schemas.backtest import BacktestAnswer, BacktestRequest
from tidewheel.bounce.backtest import BacktestTerms
from tidewheel.bounce.backtesting import backtest_of
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, Overloaded
from tidewheel.contracts.times import parse_time
from tidewheel.ledger.open import Ledger

WAITING = 2  #: beside the one that runs; more would wait for longer than the edge does


class Backtests:
    """What trading the signals of a universe would have come to."""

    def __init__(self, ledger: Ledger, bars: DailyBars) -> None:
        self._ledger, self._bars = ledger, bars
        self._running, self._under_way = CapacityLimiter(1), 0

    async def trade(self, body: BacktestRequest) -> bytes:
        """The answer as JSON: years of days take a while to write, and the event loop has others to answer.

        Raises:
            BadInput: `unknown_ticker`, `ambiguous_ticker`, `no_sessions`, `backtest_too_large`; or a term is none.
            NotEnoughData: no ticker can be used; says why.
            Overloaded: others wait already.
        """
        if self._under_way > WAITING:
            raise Overloaded(f"{WAITING} backtests wait for their turn; come back in a minute", retry_after=60)
        self._under_way += 1
        try:
            return await run_sync(self._traded, body, limiter=self._running)
        finally:
            self._under_way -= 1

    def _traded(self, body: BacktestRequest) -> bytes:
        found = backtest_of(self._bars, BounceHunterConfig.of(body.tickers), self._terms(body))
        answer = BacktestAnswer(
            tickers=list(found.tickers),
            left_out=dict(found.left_out),
            origin=found.origin,
            volatility_source=found.volatility_source,
            **found.document,
        )
        return answer.model_dump_json().encode()

    def _terms(self, body: BacktestRequest) -> BacktestTerms:
        now = self._ledger.now()
        end = now if body.end is None else parse_time(body.end)
        if end > now:
            raise BadInput(f"end {body.end} lies in the future; leave it out for the newest session")
        money = body.model_dump(exclude={"tickers", "start", "end"})
        return BacktestTerms(start=parse_time(body.start), end=end, **money)
