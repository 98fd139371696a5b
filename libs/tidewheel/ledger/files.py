"""Reading sealed files: shared by the groups that list them and the one that claims them."""

from typing import Any

from sqlalchemy import Row, Select, select

from tidewheel.contracts.keys import StreamKey
from tidewheel.ledger.records import SealedFile
from tidewheel.ledger.tables import files, streams


def select_files() -> Select[Any]:
    """All columns of a file and its stream's key; narrow it with where()."""
    return select(files, streams.c.key).join(streams, streams.c.id == files.c.stream_id)


def sealed_file(row: Row[Any]) -> SealedFile:
    """The record of a row of `select_files()`."""
    return SealedFile(
        id=row.id,
        key=StreamKey.parse(row.key),
        start=row.start_time,
        end=row.end_time,
        bars=row.bars,
        revision=row.revision,
        digest=row.digest,
        csv_path=row.csv_path,
        blob_path=row.blob_path,
        source=row.source,
        sealed_at=row.sealed_at,
        quarantined=row.quarantined,
    )
