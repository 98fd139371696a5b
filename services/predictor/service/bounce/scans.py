"""A scan: the model from memory, else from disk, else fitted by a run; the bars from the ledger each time."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from services.predictor.schemas.bounce import (
    IncrementalAnswer,
    IncrementalRequest,
    PendingRun,
    ScanAnswer,
    ScanRequest,
    Source,
)
from services.predictor.service.bounce.answers import answered
from services.predictor.service.bounce.backtests import Backtests
from services.predictor.service.bounce.entries import Entries
from services.predictor.service.bounce.runs import FitRuns, fitted, pending
from services.predictor.settings import PredictorSettings
from tidewheel.bounce.entries import CachedModel, ModelCache, ModelMetadata, config_hash
from tidewheel.bounce.market import DailyBars
from tidewheel.bounce.ordering import FitOrder
from tidewheel.bounce.scanning import scan
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, Conflict, NotAuthorised, NotFound, Overloaded
from tidewheel.contracts.states import Scope
from tidewheel.contracts.times import DAY, UtcMillis, iso, parse_time
from tidewheel.kit.auth import Actor
from tidewheel.kit.bounce import tell_damage
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
QUEUED = 16  #: requests at work or in line for it; more would leave other routes too few of TIDEWHEEL_MAX_IN_FLIGHT
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request means."""

    config: BounceHunterConfig
    config_hash: str
    since: UtcMillis  #: when the cache was looked at


class Scans:
    """Answers scans, and lets entries grow. Nothing that works for long runs in the event loop."""

    def __init__(self, ledger: Ledger, cache: ModelCache, bars: DailyBars, wait_seconds: float) -> None:
        self._ledger, self._cache, self._bars = ledger, cache, bars
        self.entries, self.backtests = Entries(ledger, cache, bars), Backtests(ledger, bars)
        self._runs = FitRuns(ledger, wait_seconds)
        # One after the other: two threads would be no faster, and whoever answers the others would wait for both.
        self._working, self._queued = CapacityLimiter(1), 0

    @classmethod
    def of(cls, settings: PredictorSettings, ledger: Ledger) -> "Scans":
        """As the settings say."""
        bars = DailyBars(ledger, exchange=settings.bounce_exchange, volatility_index=settings.volatility_index)
        cache = ModelCache(settings.model_cache_dir, on_damage=tell_damage)
        return cls(ledger, cache, bars, settings.scan_wait_seconds)

    async def scan(self, body: ScanRequest, actor: Actor) -> ScanAnswer | PendingRun:
        """The signals of the newest session, or the run to follow where the model takes longer.

        Raises:
            BadInput: `unknown_ticker`, `ambiguous_ticker`, `as_of_in_future`.
            NotAuthorised: no model is cached that is young enough, and the actor may not have one fitted.
            NotEnoughData: there are too few dips; says how many are missing.
            Unavailable: `role_away`, nobody lives who could fit one.
            Overloaded: others wait already.
        """
        self._require_room()
        wanted, cached = await self._work(lambda: self._looked(body))
        run = None
        if cached is None:
            self._require_trainer(actor)
            fit = FitOrder(config=wanted.config, keep=body.use_cache)
            run = await self._runs.wait(await self._work(lambda: self._order(fit, "scan", wanted.since)))
            if not run.state.final:
                return pending(run)
            cached = await self._work(lambda: self._made(wanted, run))
        source: Source = "memory" if cached.source == "memory" else "disk"
        if run is not None:
            source = "trained" if FitOrder.of_run(run).keep else "bypassed"
        return await self._work(lambda: self._answer(cached, source, run, body.max_cache_age_hours))

    async def grow(self, body: IncrementalRequest, actor: Actor) -> IncrementalAnswer | PendingRun:
        """The entry with the new tickers, or with all of its own read again; else the run to follow.

        Raises:
            NotFound: `no_cached_model`, there is nothing to grow from.
            the others: as `scan`.
        """
        self._require_room()
        wanted, base, fit = await self._work(lambda: self._grown(body))
        run = await self._runs.wait(await self._work(lambda: self._order(fit, "incremental", wanted.since)))
        if not run.state.final:
            return pending(run)
        made = await self._work(lambda: self._made(wanted, run))
        before = set(base.config.tickers)
        return IncrementalAnswer.of(
            made.metadata,
            await self._work(self._ledger.now),
            max_age_hours=24.0,
            run_id=run.id,
            added=[ticker for ticker in fit.config.tickers if ticker not in before],
            refreshed=[] if fit.base is not None else sorted(before),
        )

    async def _work(self, do: Callable[[], R]) -> R:
        self._queued += 1
        try:
            return await run_sync(do, limiter=self._working)
        finally:
            self._queued -= 1

    def _require_room(self) -> None:
        if self._queued >= QUEUED:
            raise Overloaded(f"{QUEUED} scans wait for their turn; come back in a second", retry_after=1)

    def _looked(self, body: ScanRequest) -> tuple[Wanted, CachedModel | None]:
        """What is meant, and its cached model where that may be used and is young enough."""
        now = self._ledger.now()
        as_of = None if body.as_of is None else _as_of(body.as_of, now)
        config = BounceHunterConfig.of(body.tickers, as_of=as_of)
        wanted = Wanted(config, self._hash(config), now)
        if body.use_cache and not body.force_refresh:
            cached = self._cache.get(wanted.config_hash)
            if cached is not None and not cached.metadata.stale(now, body.max_cache_age_hours):
                return wanted, cached
        self._bars.streams(config.tickers)  # an unknown ticker is told before anybody fits anything
        return wanted, None

    def _hash(self, config: BounceHunterConfig) -> str:
        return config_hash(config, self._bars.volatility_source)

    def _order(self, fit: FitOrder, trigger: str, since: UtcMillis) -> Run:
        return self._runs.order(fit, self._bars.volatility_source, trigger, since)

    def _made(self, wanted: Wanted, run: Run) -> CachedModel:
        """What the run made, be it kept or not."""
        version = fitted(run)
        try:
            return self._cache.read(wanted.config_hash, version)
        except NotFound:
            raise Conflict(
                f"the model {version} that run {run.id} made is not there: it was cleared meanwhile, so ask again; or "
                "the trainer keeps its models elsewhere, so give both the same MODEL_CACHE_DIR",
                code="cache_cleared",
            ) from None

    def _grown(self, body: IncrementalRequest) -> tuple[Wanted, ModelMetadata, FitOrder]:
        """What is meant, the entry that it grows from, and the fit of what that is to become."""
        now, base = self._ledger.now(), self.entries.meant(body.config_hash)
        known, named = set(base.config.tickers), BounceHunterConfig.of(body.new_tickers or base.config.tickers).tickers
        config = base.config.with_tickers({*known, *named})
        self._bars.streams(config.tickers)
        # An entry of another index, or of a release to which its numbers meant something else, is read anew.
        grows = known.isdisjoint(named) and self._hash(base.config) == base.config_hash
        fit = FitOrder(config=config, base=base.config_hash if grows else None)
        return Wanted(config, self._hash(config), now), base, fit

    def _answer(
        self,
        cached: CachedModel,
        source: Source,
        run: Run | None,
        max_age_hours: float,
    ) -> ScanAnswer:
        return answered(
            scan(self._bars, cached),
            cached,
            source=source,
            run_id=None if run is None else run.id,
            max_age_hours=max_age_hours,
            now=self._ledger.now(),
        )

    @staticmethod
    def _require_trainer(actor: Actor) -> None:
        if not actor.may(Scope.TRAIN):
            raise NotAuthorised(
                f"no model of these tickers is cached that may be used, and having one fitted needs the scope "
                f"{Scope.TRAIN}, which {actor.name} lacks",
                scope=Scope.TRAIN,
            )


def _as_of(text: str, now: UtcMillis) -> UtcMillis:
    """The time that is meant: of a date the close of its session.

    Raises:
        BadInput: it is no time, or not over yet.
    """
    cleaned = text.strip()
    closes = DAY if _DATE.fullmatch(cleaned) else 0
    found = parse_time(cleaned)
    if found > now - closes:
        raise BadInput(
            f"as_of {text[:40]} is not over, and it is {iso(now)} only; leave it out for the newest session",
            code="as_of_in_future",
        )
    return found + closes
