"""What a fit takes: the dips of the whole universe, or those of an entry and of the tickers that it does not know."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tidewheel.bounce.entries import CachedModel, config_hash
from tidewheel.bounce.files import Made
from tidewheel.bounce.gathering import Gathered, Told, gather, volatility_of
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput, NotEnoughData
from tidewheel.contracts.times import UtcMillis
from tidewheel.models.bounce import BounceModel, DipRows

_NAMED = 5  #: tickers whose reasons an error tells


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Prepared:
    """The rows of one configuration, and all that an entry holds beside its model."""

    config: BounceHunterConfig
    config_hash: str
    volatility_source: str
    gathered: Gathered
    rows: DipRows  #: for `BounceModel.fit`
    parent: str | None = None  #: config hash of the entry that it grew from
    read_at: UtcMillis | None = None  #: when that one was last read from the ledger; None: now

    def made(self, model: BounceModel) -> Made:
        """The entry of the model that was fitted on these rows."""
        return Made(
            config=self.config,
            config_hash=self.config_hash,
            volatility_source=self.volatility_source,
            gathered=self.gathered,
            model=model,
            parent=self.parent,
            read_at=self.read_at,
        )


def prepare(
    bars: DailyBars,
    config: BounceHunterConfig,
    *,
    base: CachedModel | None = None,
    check: Callable[[], None] = lambda: None,
) -> Prepared:
    """Read the universe, one ticker in memory at a time; with a `base` only the tickers that it does not know.

    Those are read as far as the base had read its own, so that the whole is what the ledger told at that time.

    Args:
        base: an entry of the same configuration for fewer tickers.
        check: called after each ticker; what it raises ends the work.

    Raises:
        BadInput: `unknown_ticker`, `ambiguous_ticker`; or the base is of another configuration.
        NotEnoughData: no ticker can be used; says why.
    """
    source = bars.volatility_source
    told: dict[str, Told] = {}
    left_out: dict[str, str] = {}
    reading = config if base is None else _unread(base, config, source)
    for ticker, found in gather(bars, reading, reading.tickers):
        if isinstance(found, str):
            left_out[ticker] = found
        else:
            told[ticker] = found
        check()
    gathered = Gathered.of(told, left_out)
    if base is not None:
        gathered = base.gathered.joined(gathered)
    if not gathered.dips:
        reasons = "; ".join(list(gathered.left_out.values())[:_NAMED])
        raise NotEnoughData(f"none of {len(config.tickers)} tickers can be used: {reasons}")
    return Prepared(
        config=config,
        config_hash=config_hash(config, source),
        volatility_source=source,
        gathered=gathered,
        rows=gathered.rows(volatility_of(bars, gathered.squares, reading.as_of)),
        parent=None if base is None else base.metadata.config_hash,
        read_at=None if base is None else base.metadata.updated_at,
    )


def _unread(base: CachedModel, config: BounceHunterConfig, source: str) -> BounceHunterConfig:
    """The configuration of the tickers that the base lacks, as of what it had read.

    Raises:
        BadInput: the base is of another configuration, or lacks none.
    """
    known = base.metadata.config
    if config_hash(known, source) != base.metadata.config_hash:
        raise BadInput("an entry grows by tickers alone; for another volatility index or release, fit anew")
    if config.with_tickers(known.tickers) != known:
        raise BadInput("an entry grows by tickers alone; for another configuration, fit anew")
    new = set(config.tickers) - set(known.tickers)
    if not new or not set(known.tickers) < set(config.tickers):
        raise BadInput(f"{config} does not add tickers to the {len(known.tickers)} of the entry")
    return replace(config.with_tickers(new), as_of=base.metadata.data_as_of)
