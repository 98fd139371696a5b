"""One run from daily bars to an entry of the model cache."""

import os
from collections.abc import Mapping

from services.ml_trainer.service.attempt import Attempt
from services.ml_trainer.service.fitting import FitFailed
from services.ml_trainer.service.job import DipJob
from services.ml_trainer.settings import TrainerSettings
from tidewheel.bounce.entries import CachedModel, ModelCache, config_hash
from tidewheel.bounce.fitting import Prepared, prepare
from tidewheel.bounce.market import DailyBars
from tidewheel.bounce.ordering import FitOrder
from tidewheel.contracts.errors import BadSetting
from tidewheel.contracts.keys import BOUNCE_CONSUMERS, bounce_consumer
from tidewheel.contracts.states import RunState
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run
from tidewheel.models.bounce import BounceModel

_NAMED = 20  #: tickers that the run's reason names of those left out


class BounceTraining:
    """Turns the daily bars of a configuration's tickers into its fitted model, or into a reason why not.

    There is no gate and no champion: a configuration's newest fit is what its scans find, and each answer tells how
    good its forward probabilities were.
    """

    def __init__(self, ledger: Ledger, cache: ModelCache, settings: TrainerSettings) -> None:
        """`cache` is that of MODEL_CACHE_DIR: what is kept there is found there by whoever scans."""
        self._cache, self._settings = cache, settings
        self._bars = DailyBars(ledger, exchange=settings.bounce_exchange, volatility_index=settings.volatility_index)

    def takes(self, consumer: str) -> bool:
        """Those of every configuration."""
        return consumer.startswith(BOUNCE_CONSUMERS)

    def carry_out(self, attempt: Attempt) -> Run:
        """Read, fit, keep; as `Training`.

        Files come first, and the same dips are the same version: what an attempt that died in between has kept, the
        next one finds and names.
        """
        order = FitOrder.of_run(attempt.run)
        self._require_same_market(attempt.run, order)
        base = None if order.base is None else self._cache.get(order.base)
        prepared = prepare(self._bars, order.config, base=base, check=attempt.watch.check)
        attempt.lease.progress({"tickers": len(order.config.tickers), "dips": len(prepared.rows)})
        remark = _remark(prepared.gathered.left_out, order, base)
        try:
            payload = attempt.fit(self._job(prepared))
        except FitFailed as failed:
            if not failed.wants_more:
                raise
            return attempt.lease.finish(RunState.SKIPPED, ". ".join(filter(None, [failed.detail, remark])))
        made = prepared.made(BounceModel.from_payload(payload))
        attempt.watch.check()
        kept = self._cache.save(made, keep=order.keep)
        return attempt.lease.complete(kept.bundle, remark=remark)

    def _job(self, prepared: Prepared) -> DipJob:
        return DipJob(
            parent_pid=os.getpid(),
            memory_mb=self._settings.memory_mb,
            rows=prepared.rows,
            fewest=prepared.config.min_event_samples,
        )

    def _require_same_market(self, run: Run, order: FitOrder) -> None:
        """A model of another index would never be found by who ordered it."""
        digest = config_hash(order.config, self._bars.volatility_source)
        if bounce_consumer(digest) != run.consumer:
            raise BadSetting(
                f"run {run.id} was ordered for {run.consumer}, and this trainer, whose volatility is that of "
                f"{self._bars.volatility_source}, would fit {bounce_consumer(digest)}: give trainer and predictor the "
                "same BOUNCE_VIX and the same release"
            )


def _remark(left_out: Mapping[str, str], order: FitOrder, base: CachedModel | None) -> str | None:
    """What the fit went without, in words."""
    told = [f"{ticker}: {why}" for ticker, why in sorted(left_out.items())[:_NAMED]]
    told += [f"and {len(left_out) - _NAMED} more"] * (len(left_out) > _NAMED)
    gone = order.base is not None and base is None
    parts = [f"the entry {order.base} is gone, so every ticker was read"] * gone
    parts += [f"left out: {'; '.join(told)}"] * bool(told)
    return ". ".join(parts) or None
