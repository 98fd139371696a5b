"""Rows that other rooms would write, made short: sealed files, versions, verdicts."""

import itertools

from sqlalchemy import insert, select

from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.ledger.engine import Database
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import NewVersion
from tidewheel.ledger.tables import files, streams

_digests = itertools.count(1)
HOUR = 3_600_000

PASSED = Verdict(steps=(StepResult(step="champion", passed=True, reason="better", numbers={"quantile_05": 0.01}),))
REFUSED = Verdict(steps=(StepResult(step="champion", passed=False, reason="worse by 0.1 nats a bar"),))


def seal(
    ledger: Ledger, hours: range, stream: str = "binance:BTC/USDT:1m", revision: int = 0, quarantined: str | None = None
) -> list[int]:
    """File rows of one hour each; returns their ids. The bars themselves are other tests' business."""
    ledger.streams.register(StreamKey.parse(stream), Origin.REPLAY)
    db: Database = ledger._db
    ids = []
    with db.write() as connection:
        stream_id = connection.execute(select(streams.c.id).where(streams.c.key == stream)).scalar_one()
        for hour in hours:
            values = {
                "stream_id": stream_id, "start_time": hour * HOUR, "end_time": (hour + 1) * HOUR, "bars": 60,
                "revision": revision, "digest": f"{next(_digests):064x}", "csv_path": "x.csv", "blob_path": "x.parquet",
                "source": "test", "recorded": [[60, 0]], "sealed_at": db.clock(), "quarantined": quarantined,
            }  # fmt: skip
            ids.append(connection.execute(insert(files).values(**values).returning(files.c.id)).scalar_one())
    return ids


def new_version(number: int, origin: Origin = Origin.REPLAY, family: str = "hmm") -> NewVersion:
    """A version as a trainer would publish it; equal numbers are equal bytes."""
    return NewVersion(
        family=family,
        version=f"v2026-01-01-{number:08x}",
        digest=f"{number:064x}",
        data_as_of=1_767_225_600_000,
        seed=42,
        code_digest="c0de",
        parent=None,
        metrics={"score": 1.5},
        lineage={"files": [1, 2]},
        manifest={"version": number},
        origin=origin,
    )


def published(ledger: Ledger, number: int, verdict: Verdict = PASSED) -> str:
    """Publish a version through a whole run; returns its name."""
    run, _ = ledger.runs.start_or_join("hmm", "hmm", "test")
    lease = ledger.runs.lease(run.id, "worker", 60_000)
    assert lease is not None
    lease.publish(new_version(number), verdict)
    return new_version(number).version
