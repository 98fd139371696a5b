"""What fits and what asks BounceHunter have in common: where its daily bars are, and how a damaged entry is told."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import DAY
from tidewheel.kit.logs import logger
from tidewheel.kit.settings import Settings


def _daily(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        key = StreamKey.parse(text)
    except BadInput as problem:
        raise ValueError(problem.detail) from None
    if key.step != DAY:
        raise ValueError("its bars are not of a day; name a stream such as cboe:^VIX:1d")
    return text


class BounceSettings(Settings):
    """Settings of a role that fits or asks BounceHunter; two that differ here mean different models."""

    bounce_exchange: str | None = Field(
        None,
        pattern=r"^[a-z0-9_]{1,40}$",
        description="Whose daily bars BounceHunter reads where several exchanges hold a ticker; alike for predictor "
        "and trainer.",
    )
    bounce_vix: Annotated[str | None, AfterValidator(_daily)] = Field(
        None,
        description="Stream of the volatility index that BounceHunter ranks, such as cboe:^VIX:1d; alike for predictor "
        "and trainer. Default: the realised volatility of the universe.",
    )

    @property
    def volatility_index(self) -> StreamKey | None:
        """`bounce_vix` as a key."""
        return None if self.bounce_vix is None else StreamKey.parse(self.bounce_vix)


def tell_damage(aside: Path, reason: str) -> None:
    """Log that a damaged entry of the cache was put aside, and where it lies: what `ModelCache` calls."""
    logger(__name__).error("cache_entry_put_aside", path=str(aside), reason=reason)
