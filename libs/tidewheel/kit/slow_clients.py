"""HTTP/1.1 for clients that take their time: each wait for a client ends, for uvicorn itself waits for ever.

Uvicorn only ends a connection that is idle after an answer. It does not end one on which no request ever comes, a
head that comes a byte at a time, what is left of a body that nobody wanted, or an answer that is not read.
"""

from asyncio import TimerHandle, Transport
from typing import ClassVar

from tidewheel.kit.logs import logger
from tidewheel.kit.problems import http_problem
from tidewheel.kit.protocol import BoundedHttp


def timed(seconds: float) -> type[BoundedHttp]:
    """The protocol for a server that waits `seconds` for each."""
    return type("TimedHttp", (_TimedHttp,), {"patience": seconds})


class _TimedHttp(BoundedHttp):
    """One timer for what we read, one for what the client reads. A body that an app waits for is the envelope's."""

    patience: ClassVar[float]
    _reading: TimerHandle | None = None
    _writing: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A head is due."""
        super().connection_made(transport)
        self._await_client()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._client_came()
        self._client_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A byte of the next request makes the rest of its head due."""
        super().data_received(data)
        if self._reading is None and self.cycle is not None and self.cycle.response_complete:
            self._await_client()

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._client_came()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The rest of a body that the app did not want is due, and the client should read the answer."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._await_client()
        if self.transport.get_write_buffer_size():
            self._await_reader()

    def pause_writing(self) -> None:
        """The client should read on."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """It did."""
        self._client_read()
        super().resume_writing()

    def _await_client(self) -> None:
        if self._reading is None and not self.transport.is_closing():
            self._reading = self.loop.call_later(self.patience, self._client_too_slow)

    def _client_came(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _client_too_slow(self) -> None:
        self._reading = None
        if self._in_head and self._unclaimed:
            detail = f"the head of the request did not arrive within {self.patience:g} s; send it in one go"
            self._refuse(http_problem(408, detail))
        self.transport.close()
        self._await_reader()

    def _await_reader(self) -> None:
        if self._writing is None:
            self._writing = self.loop.call_later(self.patience, self._reader_too_slow)

    def _client_read(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _reader_too_slow(self) -> None:
        self._writing = None
        left = self.transport.get_write_buffer_size()
        if left:
            logger(__name__).warning("answer_not_read", client=self.client, bytes_left=left, seconds=self.patience)
            self.transport.abort()
