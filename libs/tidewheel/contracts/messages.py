"""Celery messages: ids on the wire, state in the ledger.

A message is a hint to look at the ledger. It carries no right to work, so losing or doubling one is harmless.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Queue(StrEnum):
    """Celery queues."""

    INGEST = "ingest"
    TRAIN = "train"
    PREDICT = "predict"
    LEARN = "learn"
    SNAPSHOTS = "snapshots"


class Message(BaseModel):
    """Base of all messages; a subclass names its task and queue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: ClassVar[str]
    queue: ClassVar[Queue]


class IngestSeal(Message):
    """Hint that a stream is due: fetch what has closed since its watermark, and seal it."""

    task = "tidewheel.ingest.seal"
    queue = Queue.INGEST

    stream: str  #: "binance:BTC/USDT:1m"


class IngestBackfill(Message):
    """Hint that backfill `backfill_id` has pages to fetch; the worker asks the ledger."""

    task = "tidewheel.ingest.backfill"
    queue = Queue.INGEST

    backfill_id: int


class TrainRun(Message):
    """Hint that run `run_id` may be claimable; the worker asks the ledger."""

    task = "tidewheel.train.run"
    queue = Queue.TRAIN

    run_id: int


class ScorePredictions(Message):
    """Hint that hours are over for which predictions were made of a stream; the worker asks the ledger."""

    task = "tidewheel.predict.score"
    queue = Queue.PREDICT

    stream: str  #: "binance:BTC/USDT:1m"


class LearnSettle(Message):
    """Hint that decisions of a pair wait for an outcome that did not come in time; the worker asks the ledger."""

    task = "tidewheel.learn.settle"
    queue = Queue.LEARN

    strategy: str
    instrument: str


MESSAGES: tuple[type[Message], ...] = (IngestSeal, IngestBackfill, TrainRun, ScorePredictions, LearnSettle)


def message_type(task: str) -> type[Message]:
    """The message class of a task name; KeyError when none has it."""
    return {kind.task: kind for kind in MESSAGES}[task]


class Channels:
    """Redis pub/sub channels and hashes; hints like the messages."""

    @staticmethod
    def models(family: str) -> str:
        """Channel on which a flip of `family`'s current version is told: `{"version": ...}`."""
        return f"models.{family}"

    @staticmethod
    def registry(model_name: str) -> str:
        """Channel on which a move of a registered model's alias is told: `{"model_name", "alias", "version"}`."""
        return f"registry.{model_name}"

    @staticmethod
    def candles(stream: str) -> str:
        """Channel on which newly stored bars of a stream are told: `{"stream", "watermark"}`."""
        return f"candles.{stream}"
