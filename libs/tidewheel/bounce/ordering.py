"""What a run is to fit, as whoever orders it and whoever carries it out both read it."""

from dataclasses import dataclass
from typing import Any

from tidewheel.bounce.entries import config_hash, family_of
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import bounce_consumer
from tidewheel.contracts.times import UtcMillis
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOrder:
    """A fit of one configuration."""

    config: BounceHunterConfig
    keep: bool = True  #: whether later scans of the configuration are to find it
    base: str | None = None  #: hash of the entry that it grows from: only the other tickers are read

    @classmethod
    def of_run(cls, run: Run) -> "FitOrder":
        """What the run was ordered for.

        Raises:
            BadInput: its parameters are none of a fit's.
        """
        said = run.params
        base, keep = said.get("base"), said.get("keep")
        if not isinstance(base, str | None) or not isinstance(keep, bool):
            raise BadInput(f"run {run.id} of {run.consumer} names no fit; order it by POST /api/bouncehunter/scan")
        return cls(config=BounceHunterConfig.from_json(said.get("config")), keep=keep, base=base)

    def params(self) -> dict[str, Any]:
        """As JSON values; `of_run` reads them."""
        return {"config": self.config.to_json(), "keep": self.keep, "base": self.base}


def order(
    ledger: Ledger, fit: FitOrder, volatility_source: str, trigger: str, *, since: UtcMillis | None = None
) -> tuple[Run, bool]:
    """Queue the run, or join the one that fits the configuration already, or did since then; whether it was joined.

    What is joined may be kept where this one would not, or read what this one would take over: it is a model of the
    same configuration all the same.

    Args:
        since: when the cache was looked at, UTC ms: a run that has ended meanwhile is as good as a new one.
    """
    digest = config_hash(fit.config, volatility_source)
    return ledger.runs.start_or_join(
        bounce_consumer(digest), family_of(digest), trigger, params=fit.params(), since=since
    )
