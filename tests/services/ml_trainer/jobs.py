"""Small fits."""

import os
import time
from collections.abc import Mapping

from services.ml_trainer.service.job import RegimeJob
from tests.libs.models.worlds import market


class NoWatch:
    """A watch over nothing: the work never has to stop."""

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


def job(
    bars: int = 800, *, strict: bool = False, champion: Mapping[str, bytes] | None = None, memory_mb: int = 4_096
) -> RegimeJob:
    """A fit of two streams that takes well under a second of CPU."""
    return RegimeJob(
        parent_pid=os.getpid(),
        memory_mb=memory_mb,
        seed=7,
        restarts=1,
        max_iter=200,
        strict=strict,
        bars={"binance:BTC/USDT:1m": market(bars, 1), "binance:ETH/USDT:1m": market(bars, 2, size=2e-3)},
        champion=champion,
    )
