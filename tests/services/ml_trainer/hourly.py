"""Hourly markets whose law is known, and a child that fits without a process of its own."""

import shutil

import numpy as np

from services.ml_trainer.service.fitting import FitChild, FitFailed, LayOut, Progress, Waits
from services.ml_trainer.service.job import read_job
from services.ml_trainer.train import child
from tests.libs.models.worlds import candles
from tidewheel.contracts.errors import TidewheelError
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import HOUR
from tidewheel.features.frames import CandleFrame

HOURLY = StreamKey.parse("binance:BTC/USDT:1h")
START = 1_700_000_000_000 // HOUR * HOUR
HOURS = 420  #: enough for the horizons 1 and 3, and for a verdict on them
_SIZE = 4e-3


def kinked(hours: int = HOURS, seed: int = 1) -> CandleFrame:
    """After a large move up or down the price rises, after a small one it falls: a forest sees it, no line does."""
    moves = np.random.default_rng(seed).uniform(0.2, 1.8, hours - 1) * _SIZE
    signs = np.where(np.concatenate(([True], moves[:-1] > _SIZE)), 1.0, -1.0)
    return candles(signs * moves, START, HOUR)


def reverting(hours: int = HOURS, seed: int = 1) -> CandleFrame:
    """Most of each move is taken back: a line sees it, and a forest no better."""
    noise, moves = np.random.default_rng(seed).normal(0.0, _SIZE, hours - 1), np.zeros(hours - 1)
    for hour in range(hours - 1):
        moves[hour] = noise[hour] - (0.8 * moves[hour - 1] if hour else 0.0)
    return candles(moves, START, HOUR)


class FitHere(FitChild):
    """The child's own fit on the job's own files, in this process; its last word is the child's, too."""

    def run(self, run_id: int, fence: int, lay_out: LayOut, watch: Waits, progress: Progress) -> dict[str, bytes]:
        """The payload of the model."""
        work = self._root / f"run-{run_id}-{fence}"
        work.mkdir(parents=True)
        try:
            lay_out(work)
            return child.fit(read_job(work)).to_payload()
        except TidewheelError as error:
            raise FitFailed(f"{error.code}: {error.detail}") from None
        finally:
            shutil.rmtree(work)
