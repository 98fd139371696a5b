"""Requests to an exchange: troubles on the way are tried again, a refusal is obeyed by every process of the host."""

import logging
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from random import SystemRandom
from typing import Any, TypeVar

from tidewheel.contracts.errors import BadInput, Overloaded, Unavailable
from tidewheel.contracts.times import UtcMillis, to_millis
from tidewheel.market.limiter import MAX_WAIT, Bucket

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")

ATTEMPTS = 4
FIRST_PAUSE = 0.25  #: seconds before the second attempt; doubled for each further one, jittered
RETRY_AFTER_UNSAID = 30.0  #: seconds to stay away when the exchange refuses without saying for how long
_DATE_MARGIN = 2_000  #: ms; a Date header is of whole seconds and is written after the candles were read


class Calls:
    """Sends the requests of one ccxt client.

    Args:
        client: a ccxt exchange; `enableLastJsonResponse` is set on it.
        bucket: asked before each request, and told of bans.
    """

    def __init__(self, client: Any, bucket: Bucket) -> None:
        self._client, self._bucket, self._id = client, bucket, str(client.id)
        client.enableLastJsonResponse = True  # more is read from the answer than ccxt returns
        # ccxt knows what each request costs; its own throttle is per process and ignores Retry-After.
        client.throttle = lambda cost=None: bucket.take(1.0 if cost is None else float(cost))

    def date_of_answer(self) -> UtcMillis:
        """The time in the last answer's Date header, a little before it.

        Raises:
            Unavailable: it carries none.
        """
        text = (self._client.last_response_headers or {}).get("Date")
        if text is None:
            raise Unavailable(f"{self._id} tells no time, so nobody can say which of its candles have closed")
        return to_millis(parsedate_to_datetime(text)) - _DATE_MARGIN

    def send(self, what: str, request: Callable[[], Answer]) -> Answer:
        """The answer to a request; `what` names it in errors.

        Raises:
            Unavailable: it failed ATTEMPTS times.
            Overloaded: the exchange wants no requests now; `retry_after` says for how long.
            BadInput: the exchange refused it as wrong.
        """
        import ccxt

        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._bucket.turn():
                    answer = self._obeying(request)
                # ccxt takes a cut or foreign answer for an empty one, which here would look like a hole in the market.
                if self._client.last_json_response is None:
                    raise ccxt.BadResponse("the answer is not JSON")
                return answer
            except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:  # no kin of each other
                seconds = self._retry_after()
                log.warning("exchange_refused exchange=%s seconds=%s", self._id, seconds)
                if seconds > MAX_WAIT or attempt == ATTEMPTS:
                    raise Overloaded(
                        f"{self._id} refuses requests for {seconds:g} s; nothing is sent until then",
                        code="exchange_refused",
                        retry_after=seconds,
                    ) from error
            except ccxt.OperationFailed as error:
                log.warning("exchange_failed exchange=%s attempt=%s error=%s", self._id, attempt, type(error).__name__)
                if attempt == ATTEMPTS:
                    raise Unavailable(
                        f"{self._id} did not give {what} in {ATTEMPTS} attempts ({type(error).__name__}: "
                        f"{without_queries(error)[:200]}); check the network and EXCHANGE_URL, then try again",
                        code="exchange_unavailable",
                    ) from error
                time.sleep(FIRST_PAUSE * 2 ** (attempt - 1) * SystemRandom().uniform(0.5, 1.5))
            except ccxt.BaseError as error:
                raise BadInput(
                    f"{self._id} refused to give {what}: {without_queries(error)[:300]}", code="exchange_error"
                ) from error
        raise AssertionError("the last attempt returns or raises")

    def _obeying(self, request: Callable[[], Answer]) -> Answer:
        """Send a request; a refusal binds the host before anybody else's turn comes."""
        import ccxt

        try:
            return request()
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded):
            self._bucket.ban(self._retry_after())
            raise

    def _retry_after(self) -> float:
        """Seconds that the last answer asks us to stay away (RFC 9110, section 10.2.3)."""
        text = str((self._client.last_response_headers or {}).get("Retry-After", "")).strip()
        if not text:
            return RETRY_AFTER_UNSAID
        try:
            return max(0.0, float(text))
        except ValueError:
            try:
                return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
            except ValueError:
                return RETRY_AFTER_UNSAID


def without_queries(error: Exception) -> str:
    """What ccxt says, without the queries of its addresses: they may hold a key or a signature."""
    return re.sub(r"\?\S+", "", str(error))
