"""A real worker process of the tests: `python -m tests.libs.kit.working URL POOL FOLDER`.

It answers IngestSeal and TrainRun by writing into FOLDER, and does nothing for IngestBackfill; stream "bad:X/Y:1m"
fails, run 99 runs until it is told to stop.
"""

import os
import sys
import threading
from pathlib import Path

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.messages import IngestBackfill, IngestSeal, Queue, TrainRun
from tidewheel.kit import logs
from tidewheel.kit.celery import run_worker
from tidewheel.kit.service import Service, Tasks
from tidewheel.kit.settings import Settings, load


def build(settings: Settings, folder: Path) -> Service:
    """A service that leaves a trace of everything it is asked."""
    told = threading.Event()

    def seal(message: IngestSeal) -> None:
        if message.stream.startswith("bad:"):
            raise BadInput(f"stream {message.stream!r} is bad")
        (folder / f"seal-{message.stream.replace('/', '_')}").write_text(str(os.getpid()))

    def train(message: TrainRun) -> None:
        (folder / f"run-{message.run_id}").write_text(str(os.getpid()))
        if message.run_id == 99:
            told.wait(60)
            (folder / "run-99-ended").write_text("told" if told.is_set() else "not told")

    (folder / f"built-{os.getpid()}").write_text("")
    tasks: Tasks = {IngestSeal: seal, TrainRun: train, IngestBackfill: lambda _: None}
    return Service(name="worker", settings=settings, tasks=tasks, on_shutdown=[told.set])


if __name__ == "__main__":
    url, pool, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    settings = load(Settings, redis_url=url, log_format="json")
    logs.configure(settings, "worker")
    code = run_worker(
        settings,
        lambda: build(settings, folder),
        queues=[Queue.INGEST, Queue.TRAIN],
        pool=pool,  # type: ignore[arg-type]
        concurrency=1,
    )
    sys.exit(code)
