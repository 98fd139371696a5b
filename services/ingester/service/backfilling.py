"""Fetches history beside live ingestion: a few pages a message, each with the stream's lease for a moment only."""

import time
from collections.abc import Sequence

from services.ingester.schemas import BackfillView
from services.ingester.service.writer import LEASE_MS, Writers
from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import BadInput, LeaseTaken, NotFound, TidewheelError
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import BackfillState
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.ledger.backfills import lease_name
from tidewheel.ledger.leases import HeldLease
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Backfill
from tidewheel.market.exchange import SETTLED

SLICE_SECONDS = 5.0  #: a message's work ends after the page in which so much has passed, so that others get a turn


class Backfilling:
    """Orders and works off backfills. The ledger's cursor says what is stored, so any page may be a life's last."""

    def __init__(self, ledger: Ledger, writers: Writers, settings: IngesterSettings) -> None:
        """Take the parts."""
        self._ledger, self._writers, self._settings = ledger, writers, settings

    def start(self, streams: Sequence[str], start: UtcMillis, end: UtcMillis | None) -> list[BackfillView]:
        """Order [start, end) for each stream, or for all of SYMBOLS; all of them or none.

        Without an end it is that of the newest backfill from this start, or else the watermark, or on a stream without
        one the exchange's present.

        Raises:
            BadInput: a stream is not of this exchange; the interval is empty, not over yet, or beyond a watermark.
            Unavailable, Overloaded: the exchange cannot be asked.
            Conflict: a stream holds bars of another origin.
        """
        symbols = [
            f"{self._writers.exchange_id}:{each}:{self._settings.timeframe}" for each in self._settings.wanted_symbols
        ]
        asked = [self._writers.of_ours(each) for each in streams or symbols]
        keys = list(dict.fromkeys(self._writers.key(each.symbol, each.timeframe) for each in asked))
        spans = [(key, *self._span(key, start, end)) for key in keys]
        return [_view(self._ledger.backfills.start(*span)) for span in spans]

    def get(self, backfill_id: int) -> BackfillView:
        """One of them.

        Raises:
            NotFound: there is none of that id.
        """
        return _view(self._ledger.backfills.get(backfill_id))

    def newest(self, limit: int) -> list[BackfillView]:
        """The newest ones, newest first."""
        return [_view(each) for each in self._ledger.backfills.list(limit)]

    def cancel(self, backfill_id: int, actor: str) -> BackfillView:
        """Stop one after the page in hand.

        Raises:
            NotFound: there is none of that id.
        """
        return _view(self._ledger.backfills.cancel(backfill_id, actor))

    def work(self, backfill_id: int) -> BackfillView | None:
        """Fetch and store a few pages; None when another worker is at it.

        What cannot be mended by waiting ends it as failed. Anything else is noted, and it goes on at the next hint.

        Raises:
            NotFound: there is no such backfill.
            Unavailable, Overloaded ...: the exchange failed; what came before is stored.
        """
        try:
            with self._ledger.leases.hold(lease_name(backfill_id), self._settings.instance, LEASE_MS) as held:
                backfill, advanced = self._pages(held, self._ledger.backfills.get(backfill_id))
        except LeaseTaken:
            return None
        if advanced and backfill.state is BackfillState.RUNNING:
            self._ledger.backfills.hint(backfill.id)
        return _view(backfill)

    def _pages(self, held: HeldLease, backfill: Backfill) -> tuple[Backfill, bool]:
        """Page after page until the slice is over; the backfill as it stands then, and whether it came on."""
        key, begun = backfill.key, backfill.cursor
        until = time.monotonic() + SLICE_SECONDS
        try:
            while backfill.state is BackfillState.RUNNING:
                # The exchange is asked without the stream's lease: live ingestion goes on meanwhile.
                page = self._writers.page(key, backfill.cursor, self._settings.batch_limit, backfill.end)
                with self._writers.hold(key, self._settings.lease_wait_seconds) as writer:
                    writer.store_past(page, backfill.cursor)
                over = page.complete and page.server_time - SETTLED >= backfill.end
                cursor = backfill.end if over else page.next_since
                stands = cursor == backfill.cursor
                backfill = self._ledger.backfills.advance(held.lease, backfill.id, cursor, len(page.frame))
                if stands or time.monotonic() >= until:  # its end may not have settled by the exchange's clock
                    break
        except TidewheelError as error:
            failed = isinstance(error, BadInput | NotFound) or error.code == "live_behind"
            self._ledger.backfills.note(held.lease, backfill.id, error.detail, failed=failed)
            raise
        return backfill, backfill.cursor > begun

    def _span(self, key: StreamKey, start: UtcMillis, end: UtcMillis | None) -> tuple[UtcMillis, UtcMillis]:
        """The interval meant for one stream, in whole bars."""
        stream, now = self._writers.register(key)
        settled = now - SETTLED
        first = start + -start % key.step
        if end is None:
            known = [each.end for each in self._ledger.backfills.of(key) if each.start == first]
            end = known[0] if known else stream.watermark
        last = settled - settled % key.step if end is None else end + -end % key.step
        if first < 0:
            raise BadInput(f"start {iso(start)} lies before 1970, when no exchange was open")
        if last <= first:
            raise BadInput(
                f"the interval from {iso(first)} to {iso(last)} holds no bar of {key}; choose an earlier start"
            )
        if stream.watermark is not None and last > stream.watermark:
            raise BadInput(
                f"end {iso(last)} lies beyond the watermark of {key}, {iso(stream.watermark)}; leave end out, for what "
                "follows comes by ingestion itself (POST /ingest_once)"
            )
        if stream.watermark is None and last > settled:
            raise BadInput(f"end {iso(last)} is not two minutes ago by the clock of {key.exchange}; leave it out")
        return first, last


def _view(backfill: Backfill) -> BackfillView:
    return BackfillView(
        backfill_id=backfill.id,
        stream=str(backfill.key),
        start=backfill.start,
        end=backfill.end,
        cursor=backfill.cursor,
        progress=round((backfill.cursor - backfill.start) / (backfill.end - backfill.start), 4),
        state=backfill.state,
        fetched=backfill.fetched,
        reason=backfill.reason,
        created_at=backfill.created_at,
        changed_at=backfill.changed_at,
    )
