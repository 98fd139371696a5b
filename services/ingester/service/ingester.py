"""Fetches closed candles and seals them into the ledger."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from services.ingester.schemas import Ingested, StreamError, StreamFailure, StreamList, StreamReport, StreamView
from services.ingester.service.writer import Chunk, Writers
from services.ingester.settings import IngesterSettings
from tidewheel.contracts.errors import LeaseTaken, TidewheelError, Unavailable
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.times import DAY, UtcMillis
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.records import Failure, Stream

DEFAULT_HISTORY = 30 * DAY

Tell = Callable[[StreamKey, UtcMillis | None], None]


class Ingester:
    """Brings the streams of one exchange up to date, one writer a stream."""

    def __init__(self, ledger: Ledger, writers: Writers, settings: IngesterSettings, tell: Tell) -> None:
        """Take the parts; `tell(key, watermark)` is called after bars were stored."""
        self._ledger, self._writers, self._settings, self._tell = ledger, writers, settings, tell
        self._resolved: dict[str, str] = {}  # a stream as the user wrote it -> its key

    def ingest_once(
        self, until: UtcMillis | None = None, *, to_the_end: bool = False, stream: str | None = None
    ) -> Ingested:
        """Fetch and seal one chunk of BATCH_LIMIT bars for each stream of SYMBOLS.

        A stream that fails says so in its report, and the others go on.

        Args:
            stream: this one alone, which need not be one of SYMBOLS and TIMEFRAME.
            until: fetch chunk after chunk, up to the bar that opens before this time.
            to_the_end: ... up to the newest closed bar.

        Raises:
            Unavailable, Overloaded, BadInput, LeaseTaken ...: every stream failed; the first one's reason, with all
                reports as `streams`.
        """
        wanted = [(symbol, self._settings.timeframe) for symbol in self._settings.wanted_symbols]
        if stream is not None:
            key = self._writers.of_ours(stream)
            wanted = [(key.symbol, key.timeframe)]
        reports: list[StreamReport] = []
        errors: list[TidewheelError] = []
        for symbol, timeframe in wanted:
            report = StreamReport(stream=f"{self._writers.exchange_id}:{symbol}:{timeframe}")
            try:
                for newest in self._noted(symbol, timeframe, until, to_the_end=to_the_end):
                    report = newest
            except TidewheelError as error:
                errors.append(error)
                report = report.model_copy(update={"error": StreamError(code=error.code, detail=error.detail)})
            reports.append(report)
        if errors and len(errors) == len(reports):
            errors[0].extra["streams"] = [report.model_dump(mode="json", exclude_unset=True) for report in reports]
            raise errors[0]
        return Ingested(streams=reports)

    def ingest_due(self, stream: str) -> StreamReport | None:
        """Store what has closed of `stream` and seal it if SEAL_BARS wait or the oldest has waited long enough.

        Gives None when another writer is at it.

        Raises:
            BadInput: the stream is not of this ingester's exchange.
            Unavailable, Overloaded ...: the exchange failed; what came before is stored.
        """
        key = self._writers.of_ours(stream)
        report = None
        try:
            for newest in self._noted(key.symbol, key.timeframe, None, to_the_end=True, due_only=True):
                report = newest
        except LeaseTaken:
            return None
        return report

    def streams(self) -> StreamList:
        """All streams of the ledger, by key, and what fails that is no stream yet."""
        failures = {each.stream: _failure(each) for each in self._ledger.failures.all()}
        views = [_view(stream, failures.pop(str(stream.key), None)) for stream in self._ledger.streams.all()]
        # A name that nobody asks for any more was mended, or given up.
        lately = self._ledger.now() - DAY
        unknown = [each for each in failures.values() if each.over_at is None and each.failed_at > lately]
        return StreamList(streams=views, unknown=unknown)

    def candles(
        self, key: StreamKey, start: UtcMillis | None, end: UtcMillis | None, as_of: UtcMillis | None
    ) -> CandleFrame:
        """Bars as the ledger has them, or had them at `as_of`."""
        return self._ledger.bars.read(key, start, end, as_of)

    def _noted(self, symbol: str, timeframe: str, until: UtcMillis | None, **how: bool) -> Iterator[StreamReport]:
        """`_chunks`, with the ledger told how it ended: a scheduled attempt has nobody else to tell."""
        written = f"{self._writers.exchange_id}:{symbol}:{timeframe}"
        try:
            yield from self._chunks(symbol, timeframe, until, **how)
        except LeaseTaken:
            raise
        except TidewheelError as error:
            with suppress(Unavailable):  # then the ledger itself is what failed
                self._ledger.failures.note(self._resolved.get(written, written), error.code, error.detail)
            raise
        self._ledger.failures.over({written, self._resolved[written]})

    def _chunks(
        self, symbol: str, timeframe: str, until: UtcMillis | None, *, to_the_end: bool, due_only: bool = False
    ) -> Iterator[StreamReport]:
        """Fetch, store and seal chunk by chunk; after each, the report of all so far."""
        key = self._writers.key(symbol, timeframe)
        self._resolved[f"{key.exchange}:{symbol}:{timeframe}"] = str(key)
        # Another process's ingestion is waited for, as it takes a moment and brings the same.
        with self._writers.hold(key, 0.0 if due_only else self._settings.lease_wait_seconds) as writer:
            stream, now = self._writers.register(key)
            loops = to_the_end or until is not None
            ends = (until, now if to_the_end else None, self._settings.end_ts)
            end = min((time for time in ends if time is not None), default=None)
            since = self._begin(stream, now)
            # Bars that are known come first once more: the exchange may have corrected them.
            again = self._overlap(stream, since)
            report = StreamReport(stream=str(key))
            done = False
            while not done:
                page = self._writers.page(key, since - again * key.step, self._settings.batch_limit + again, end)
                chunk = writer.store(page, due_only=due_only)
                report = _grown(report, len(page.frame.between(since, None)), chunk, writer.stream(), page.complete)
                yield report
                since, done, again = max(since, page.next_since), page.complete or not loops, 0
            if report.stored or report.revised:
                self._tell(key, report.watermark)

    def _overlap(self, stream: Stream, since: UtcMillis) -> int:
        """How many bars before `since` to ask for once more."""
        known = 0 if stream.first_open is None else (since - stream.first_open) // stream.key.step
        return min(known, self._settings.overlap_bars)

    def _begin(self, stream: Stream, now: UtcMillis) -> UtcMillis:
        """The first open time that is wanted: behind the newest bar, or where a new stream begins."""
        if stream.next_open is not None:
            return stream.next_open
        return now - DEFAULT_HISTORY if self._settings.start_ts is None else self._settings.start_ts


def _grown(so_far: StreamReport, fetched: int, chunk: Chunk, stream: Stream, complete: bool) -> StreamReport:
    """The report after one more chunk, which left the stream as it is now."""
    revised = so_far.revised + chunk.appended.revised + chunk.came
    return StreamReport(
        stream=so_far.stream,
        fetched=so_far.fetched + fetched,
        stored=so_far.stored + chunk.appended.stored,
        **({"revised": revised} if revised else {}),
        file_id=chunk.sealed.id if chunk.sealed else so_far.file_id,
        watermark=stream.watermark,
        gaps=stream.gaps_open,
        caught_up=complete,
    )


def _view(stream: Stream, failure: StreamFailure | None) -> StreamView:
    return StreamView(
        stream=str(stream.key),
        origin=stream.origin,
        watermark=stream.watermark,
        first_open=stream.first_open,
        tail_bars=stream.tail_bars,
        sealed_bars=stream.sealed_bars,
        files=stream.files,
        gaps_open=stream.gaps_open,
        gaps_confirmed=stream.gaps_confirmed,
        gaps_healed=stream.gaps_healed,
        last_failure=failure,
    )


def _failure(failure: Failure) -> StreamFailure:
    return StreamFailure(
        stream=failure.stream,
        code=failure.code,
        detail=failure.detail,
        times=failure.times,
        since=failure.since,
        failed_at=failure.failed_at,
        over_at=failure.over_at,
    )
