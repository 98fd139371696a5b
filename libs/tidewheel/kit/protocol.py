"""HTTP/1.1 as uvicorn's httptools reads it, with a bound on what is kept of a request before an app sees it."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidewheel.kit.envelope import MAX_HEADER_BYTES
from tidewheel.kit.problems import ProblemResponse, http_problem

_MAX_HEAD_BYTES = 2 * MAX_HEADER_BYTES  #: request line and headers; above MAX_HEADER_BYTES the envelope refuses


class BoundedHttp(HttpToolsProtocol):
    """Refuses a request line, headers or trailers without end, and tells what is no HTTP as a problem.

    The parser keeps the head of a request until it is complete, whatever its length, and uvicorn sets no limit.
    """

    _unclaimed = 0  #: bytes since the last end of a head or piece of a body
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless it has been fed too much that came to nothing."""
        self._unclaimed += len(data)
        if self._unclaimed > _MAX_HEAD_BYTES + len(data):
            if self._in_head:
                self._refuse(http_problem(431, f"request line and headers exceed {_MAX_HEAD_BYTES} bytes; send fewer"))
            self.transport.close()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._in_head, self._unclaimed = False, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which the app takes or refuses."""
        self._unclaimed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._unclaimed = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read as HTTP, and hang up."""
        self._refuse(http_problem(400, "this is not a request of HTTP/1.1; look at its first line and its headers"))
        self.transport.close()

    def _refuse(self, answer: ProblemResponse) -> None:
        head = [b"HTTP/1.1 %d Refused" % answer.status_code, *(b": ".join(each) for each in answer.raw_headers)]
        self.transport.write(b"\r\n".join([*head, b"connection: close", b"", bytes(answer.body)]))
