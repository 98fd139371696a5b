"""Writing one stream: bars of the exchange into the ledger, sealed, with evidence for what is missing."""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import BadInput, Conflict, NotFound
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import BackfillState, GapState
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.kit.room import DiskRoom
from tidewheel.ledger.leases import HeldLease
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Appended, Gap, SealedFile, Stream
from tidewheel.market.exchange import Exchange, Page

LEASE_MS = 15_000
GAPS_AT_ONCE = 20  #: open gaps that are looked into after each chunk, two requests each


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """What came of storing one page."""

    appended: Appended
    sealed: SealedFile | None  #: the file of its first revisions
    came: int  #: bars that were missing and came when they were asked for again


class Writers:
    """Hands out the right to write a stream, and the exchange to fill it from."""

    def __init__(self, ledger: Ledger, exchange: Exchange, settings: IngesterSettings) -> None:
        """Take the parts; nothing is asked yet."""
        self._ledger, self._exchange, self._settings = ledger, exchange, settings
        self._room = DiskRoom(settings.disk_floor_mb, settings.data_dir)
        self._exchange_lock = threading.Lock()  # the client is one conversation
        self._stream_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def exchange_id(self) -> str:
        """ccxt's id of the exchange."""
        return self._exchange.id

    def of_ours(self, stream: str) -> StreamKey:
        """A stream as somebody wrote it, if it is of this exchange; its symbol is not resolved yet.

        Raises:
            BadInput: it is malformed, or of another exchange.
        """
        key = StreamKey.parse(stream)
        if key.exchange not in (self._settings.exchange, self._exchange.id):
            raise BadInput(f"stream {stream} is not of {self._exchange.id}; set EXCHANGE, or send it to its ingester")
        return key

    def key(self, symbol: str, timeframe: str) -> StreamKey:
        """The stream that is meant, in ccxt's words.

        Raises:
            BadInput: the exchange has no such symbol or timeframe.
            Unavailable, Overloaded: the exchange cannot be asked.
        """
        with self._exchange_lock:
            return StreamKey(
                self._exchange.id, self._exchange.resolve(symbol), self._exchange.check_timeframe(timeframe)
            )

    def register(self, key: StreamKey) -> tuple[Stream, UtcMillis]:
        """Make the stream known, with the origin that the exchange names; and the exchange's time.

        Raises:
            Conflict: it holds bars of another origin.
            Unavailable, Overloaded: the exchange cannot be asked.
        """
        with self._exchange_lock:
            stream = self._ledger.streams.register(key, self._exchange.origin())
            return stream, self._exchange.server_time()

    def page(self, key: StreamKey, since: UtcMillis, limit: int, end: UtcMillis | None) -> Page:
        """Closed bars from the exchange, as its `closed_bars` gives them; none where the disk could not take them.

        Raises:
            Unavailable: too little room is left on the disk, or as `closed_bars`.
        """
        self._room.require()
        with self._exchange_lock:
            return self._exchange.closed_bars(key.symbol, key.timeframe, since, limit, end)

    @contextmanager
    def hold(self, key: StreamKey, patience: float) -> Iterator["StreamWriter"]:
        """Be the stream's one writer for the block. Threads of this process queue up; other processes are waited for.

        Raises:
            LeaseTaken: another process held it for all the `patience` seconds.
        """
        right = self._ledger.leases.hold(f"stream:{key}", self._settings.instance, LEASE_MS, patience)
        with self._stream_locks[str(key)], right as held:
            yield StreamWriter(self._ledger, self._exchange, self._exchange_lock, self._settings, key, held)


class StreamWriter:
    """The right to write one stream; made by `Writers.hold`."""

    def __init__(
        self,
        ledger: Ledger,
        exchange: Exchange,
        exchange_lock: threading.Lock,
        settings: IngesterSettings,
        key: StreamKey,
        held: HeldLease,
    ) -> None:
        self._ledger, self._exchange, self._exchange_lock = ledger, exchange, exchange_lock
        self._settings, self._key, self._held = settings, key, held

    def store(self, page: Page, *, due_only: bool = False) -> Chunk:
        """Append the page's bars, seal, and look into a few gaps.

        Args:
            due_only: seal only when SEAL_BARS wait or the oldest bar has waited long enough.

        Raises:
            FenceLost: the right has ended.
            BadCandles, Unavailable, Overloaded: the exchange failed while gaps were looked into; the page is stored.
        """
        appended = self._append(page)
        sealed = self._seal() if not due_only or self._due() else None
        came = self._look_into_gaps(page.refused, self._gaps_of_ours())
        if sealed and self._settings.retention_days is not None:
            self._ledger.bars.drop_csv(self._key, self._settings.retention_days)
        return Chunk(appended=appended, sealed=sealed, came=came)

    def store_past(self, page: Page, since: UtcMillis) -> None:
        """Append the bars of a page of the past, and look into the gaps that end in it.

        The watermark stays, except on a stream that begins with these bars.

        Args:
            since: where the page was asked to begin.

        Raises:
            Conflict: `live_behind`: the page lies beyond the watermark, where another ingestion will come by itself.
            FenceLost, BadCandles, Unavailable, Overloaded: as `store`.
        """
        stream = self.stream()
        watermark = stream.watermark
        if watermark is None and stream.tail_bars:
            # Bars below a tail would become one file with it, and those between them could only be revisions.
            self._seal()
            watermark = self.stream().watermark
        if watermark is not None and since > watermark:
            raise Conflict(
                f"{self._key} has been ingested up to {iso(watermark)} meanwhile, which lies before {iso(since)}: what "
                "follows comes by ingestion itself (POST /ingest_once)",
                code="live_behind",
            )
        self._append(page)
        if watermark is None or page.next_since > watermark:
            self._seal()
        gaps = [gap for gap in self._ledger.bars.gaps(self._key) if since < gap.end <= page.next_since]
        self._look_into_gaps(page.refused, gaps)

    def _append(self, page: Page) -> Appended:
        return self._ledger.bars.append(self._held.lease, self._key, page.frame, self._exchange.id)

    def _seal(self) -> SealedFile | None:
        return self._ledger.bars.seal(self._held.lease, self._key)

    def _gaps_of_ours(self) -> list[Gap]:
        """The stream's gaps without those that a backfill has left: one that stopped keeps them till ordered again.

        Filled from here, 20 gaps and a page at a time, they would take days and make a thousand files.
        """
        backfills = self._ledger.backfills.of(self._key)
        done = [each for each in backfills if each.state is BackfillState.DONE]
        unfinished = [each for each in backfills if each.state is not BackfillState.DONE]
        return [
            gap
            for gap in self._ledger.bars.gaps(self._key)
            if any(each.start <= gap.start and gap.end <= each.end for each in done)
            or not any(each.cursor < gap.end and gap.start < each.end for each in unfinished)
        ]

    def stream(self) -> Stream:
        """The stream as it stands.

        Raises:
            NotFound: somebody has removed it.
        """
        stream = self._ledger.streams.get(self._key)
        if stream is None:
            raise NotFound(f"stream {self._key} was removed from the ledger while it was being ingested")
        return stream

    def _due(self) -> bool:
        stream = self.stream()
        waited = self._ledger.now() - (stream.tail_since or 0)
        return stream.tail_bars >= self._settings.seal_bars or waited >= self._settings.seal_seconds * 1_000

    def _look_into_gaps(self, refused: Mapping[UtcMillis, str], gaps: list[Gap]) -> int:
        """Ask twice for what is missing, a few gaps at a time: store what comes, or write down that nothing did.

        Returns:
            How many bars came.
        """
        key = self._key
        open_gaps = [gap for gap in gaps if gap.state is GapState.OPEN]
        came = 0
        for gap in sorted(open_gaps, key=lambda gap: gap.changed_at)[:GAPS_AT_ONCE]:
            with self._exchange_lock:
                found = self._exchange.recheck(key.symbol, key.timeframe, gap.start, gap.end)
            appended = self._ledger.bars.append(self._held.lease, key, found.frame, self._exchange.id)
            came += appended.stored + appended.revised
            reasons = {time: why for time, why in {**refused, **found.refused}.items() if gap.start <= time < gap.end}
            evidence: dict[str, Any] = {"requests": found.requests, "bars": len(found.frame)}
            if reasons:
                evidence["refused"] = {iso(time): why for time, why in reasons.items()}
            empty = found.agreed and not found.refused and not appended.stored
            state = GapState.CONFIRMED_EMPTY if empty else GapState.OPEN
            self._ledger.bars.note_gap(self._held.lease, gap, state, evidence)
        return came


def open_writers(settings: IngesterSettings, ledger: Ledger) -> Writers:
    """The writers of the exchange that the settings name; no request is sent to it yet.

    Raises:
        BadInput: ccxt does not know the exchange.
    """
    from tidewheel.market.limiter import Limiter
    from tidewheel.market.open import open_exchange

    key, secret = settings.exchange_api_key, settings.exchange_api_secret
    exchange = open_exchange(
        settings.exchange,
        type=settings.exchange_type,
        url=settings.exchange_url,
        api_key=key.get_secret_value() if key else None,
        secret=secret.get_secret_value() if secret else None,
        sleep_ms=settings.sleep_ms,
        limiter=Limiter(settings.data_dir / "limits"),
    )
    return Writers(ledger, exchange, settings)
