"""`ledger fsck`: does what the ledger says agree with itself and with the disk? It looks and mends nothing."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from tidewheel.contracts.errors import BadCandles, NotFound
from tidewheel.contracts.states import ClaimState, RunState
from tidewheel.ledger.archive import Archive
from tidewheel.ledger.control.checks import wrong_numbers, wrong_outcomes, wrong_posteriors
from tidewheel.ledger.engine import Database
from tidewheel.ledger.files import select_files
from tidewheel.ledger.records import Finding
from tidewheel.ledger.registry.checks import wrong_aliases, wrong_predictions
from tidewheel.ledger.tables import claims, files, promotions, runs, streams, versions

_SHOWN = 5  #: wrong things that a finding names; the count has all of them


def fsck(db: Database, archive: Archive | None) -> list[Finding]:
    """Every check, in a fixed order, each on its own; without an archive the quick ones, which need no file.

    Raises:
        Unavailable: the database cannot be read.
    """
    with db.read(snapshot=True) as connection:
        sealed = connection.execute(select_files().order_by(files.c.stream_id, files.c.start_time)).all()
        consumed = _consumed(connection)
        findings = [
            _watermarks(connection, sealed),
            _claims(connection),
            _promotions(connection),
            _checked("decisions", wrong_numbers(connection), "decisions are numbered without holes"),
            _checked("outcomes", wrong_outcomes(connection), "outcomes stand for one decision each"),
            _checked("aliases", wrong_aliases(connection), "moves of aliases point to registered versions"),
            _checked("predictions", wrong_predictions(connection), "predictions are of registered versions"),
        ]
        if archive:
            pairs = wrong_posteriors(connection)
            findings.append(_checked("posteriors", pairs, "pairs have the posteriors that their logs add up to"))
    first = [file for file in sealed if file.revision == 0]
    return [
        *([_blobs(archive, sealed)] if archive else []),
        _disjoint(first),
        *findings,
        _trained_once(consumed),
        *([_orphans(archive, sealed)] if archive else []),
    ]


def _blobs(archive: Archive, sealed: Sequence[Row[Any]]) -> Finding:
    wrong = []
    for file in sealed:
        try:
            bars = len(archive.load(file.blob_path, file.digest))
        except (NotFound, BadCandles) as error:
            wrong.append(f"file {file.id}: {error.detail}")
        else:
            if bars != file.bars:
                wrong.append(f"file {file.id} of {file.key} holds {bars} bars and should hold {file.bars}")
    return _finding("blobs", wrong, f"{len(sealed)} files hold what their digests say", len(sealed))


def _disjoint(first: Sequence[Row[Any]]) -> Finding:
    wrong = [
        f"files {earlier.id} and {later.id} of {later.key} overlap"
        for _, of_stream in groupby(first, key=lambda file: file.stream_id)
        for earlier, later in pairwise(of_stream)
        if later.start_time < earlier.end_time
    ]
    return _finding("intervals", wrong, f"{len(first)} first revisions do not overlap", len(first))


def _watermarks(connection: Connection, sealed: Sequence[Row[Any]]) -> Finding:
    ends = {
        stream: max(file.end_time for file in of_stream if file.revision == 0)
        for stream, of_stream in ((key, list(group)) for key, group in groupby(sealed, key=lambda file: file.stream_id))
    }
    known = connection.execute(select(streams)).all()
    wrong = [
        f"the watermark of {stream.key} is {stream.watermark} and its last file ends at {ends.get(stream.id)}"
        for stream in known
        if stream.watermark != ends.get(stream.id)
    ]
    return _finding("watermarks", wrong, f"{len(known)} watermarks stand at the end of the last file", len(known))


def _claims(connection: Connection) -> Finding:
    """A claim is held by a running run, consumed by a published one, free, or poison."""
    holds = and_(claims.c.state == ClaimState.PROCESSING, runs.c.state == RunState.RUNNING)
    consumed = and_(claims.c.state == ClaimState.PROCESSED, runs.c.state.in_([RunState.PROMOTED, RunState.REFUSED]))
    free = and_(claims.c.state == ClaimState.DOWNLOADED, claims.c.run_id.is_(None))
    poison = claims.c.state == ClaimState.POISON  # names the run that failed on it last, whatever became of that run
    query = (
        select(claims, runs.c.state.label("run_state"))
        .outerjoin(runs, runs.c.id == claims.c.run_id)
        .where(func.coalesce(or_(holds, consumed, free, poison), False).is_(False))
        .order_by(claims.c.consumer, claims.c.file_id)
    )
    wrong = [
        f"file {claim.file_id} is {claim.state} for {claim.consumer}, and run {claim.run_id} is {claim.run_state}"
        for claim in connection.execute(query).all()
    ]
    total = connection.execute(select(func.count()).select_from(claims)).scalar_one()
    return _finding("claims", wrong, f"{total} claims agree with their runs", total)


def _consumed(connection: Connection) -> Sequence[Any]:
    return connection.execute(
        select(claims.c.consumer, files.c.stream_id, files.c.id, files.c.start_time, files.c.end_time)
        .join(files, files.c.id == claims.c.file_id)
        .where(claims.c.state == ClaimState.PROCESSED, files.c.revision == 0)
        .order_by(claims.c.consumer, files.c.stream_id, files.c.start_time)
    ).all()


def _trained_once(consumed: Sequence[Any]) -> Finding:
    """No consumer has consumed two first revisions that share a bar: what strict training promises."""
    wrong = [
        f"{later.consumer} consumed files {earlier.id} and {later.id}, which share bars"
        for _, of_one in groupby(consumed, key=lambda claim: (claim.consumer, claim.stream_id))
        for earlier, later in pairwise(of_one)
        if later.start_time < earlier.end_time
    ]
    return _finding("trained_once", wrong, f"{len(consumed)} consumed files share no bar", len(consumed))


def _promotions(connection: Connection) -> Finding:
    query = (
        select(promotions.c.id, promotions.c.family, promotions.c.version)
        .outerjoin(
            versions,
            and_(versions.c.family == promotions.c.family, versions.c.version == promotions.c.version),
        )
        .where(versions.c.version.is_(None))
    )
    wrong = [f"promotion {row.id} points to {row.family} {row.version}" for row in connection.execute(query).all()]
    total = connection.execute(select(func.count()).select_from(promotions)).scalar_one()
    return _finding("promotions", wrong, f"{total} promotions point to versions", total)


def _orphans(archive: Archive, sealed: Sequence[Row[Any]]) -> Finding:
    """Files that no row names: a crash between files and transaction leaves some, and they harm nobody."""
    known = {path for file in sealed for path in (file.csv_path, file.blob_path)}
    orphans = list(archive.orphans(known))
    if not orphans:
        return Finding(check="orphans", ok=True, detail="every file on disk has a row", count=0)
    return Finding(
        check="orphans",
        ok=True,
        detail=f"no row names {_some(orphans)}; a crash before a seal's end left them, the next seal of the same bars "
        "takes them over, and they may be removed while nobody ingests",
        count=len(orphans),
    )


def _checked(check: str, found: tuple[list[str], int], well: str) -> Finding:
    wrong, looked_at = found
    return _finding(check, wrong, f"{looked_at} {well}", looked_at)


def _finding(check: str, wrong: list[str], well: str, looked_at: int) -> Finding:
    if wrong:
        return Finding(check=check, ok=False, detail=_some(wrong), count=len(wrong))
    return Finding(check=check, ok=True, detail=well, count=looked_at)


def _some(things: list[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return "; ".join(things[:_SHOWN]) + more
