"""The candle bus: Redis publish/subscribe. What it tells is a hint; a listener that missed one looks for itself."""

import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import redis

from tidewheel.contracts.errors import Unavailable
from tidewheel.kit.logs import logger
from tidewheel.kit.masks import mask_secrets

_WAIT_SECONDS = 0.5  #: how long a listener may take to notice that it was closed
_MAX_PAUSE_SECONDS = 5.0
_SILENCE_SECONDS = 10
# After that much silence each wait asks for a sign of life. redis-py only counts those that are not answered: on a
# connection that has gone dead without a close, a listener would stay deaf for ever.
_UNANSWERED = 6


@dataclass(frozen=True, slots=True)
class Told:
    """One message of the bus."""

    channel: str
    payload: dict[str, Any]


class Bus:
    """Publishes and subscribes; may be shared by threads."""

    def __init__(self, redis_url: str, silence_seconds: int = _SILENCE_SECONDS) -> None:
        """Nothing connects yet; after `silence_seconds` without a byte a connection is asked whether it lives."""
        self._url = redis_url
        self._client = redis.Redis.from_url(
            redis_url, socket_timeout=3, socket_connect_timeout=2, health_check_interval=silence_seconds
        )

    def publish(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Tell `payload` (JSON values) to whoever listens to `channel` now.

        Raises:
            Unavailable: the server did not take it.
        """
        text = json.dumps(payload, allow_nan=False)
        try:
            self._client.publish(channel, text)
        except redis.RedisError as away:
            raise self._away(away) from None

    def waiting(self, queues: Sequence[str]) -> dict[str, int]:
        """How many messages of the broker, which is the same server, wait in each queue.

        Raises:
            Unavailable: the server does not answer.
        """
        try:
            return {queue: int(self._client.llen(queue)) for queue in queues}
        except redis.RedisError as away:
            raise self._away(away) from None

    def ping(self) -> None:
        """Return when the server answers.

        Raises:
            Unavailable: it does not.
        """
        try:
            self._client.ping()
        except redis.RedisError as away:
            raise self._away(away) from None

    def subscribe(self, *channels: str) -> "Subscription":
        """Listen to `channels`; one that ends in `*` stands for all that begin like it. Connects when iterated."""
        return Subscription(self._client, channels)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _away(self, problem: Exception) -> Unavailable:
        address, why = mask_secrets(self._url), mask_secrets(str(problem))
        return Unavailable(f"the bus at {address} is away ({why}); start it, or set REDIS_URL")


class Subscription:
    """Messages of some channels, in order, until `close()`; survives the server's absence by connecting again.

    What is published while the server is away, or before the iteration began, is not heard.
    """

    def __init__(self, client: "redis.Redis", channels: tuple[str, ...]) -> None:
        self._client, self._channels = client, channels
        self._closed = threading.Event()
        self.listening = threading.Event()  #: set while the server tells us

    def close(self) -> None:
        """End the iteration; may be called from any thread."""
        self._closed.set()

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Told]:
        pause = 0.1
        while not self._closed.is_set():
            try:
                for told in self._listen():
                    pause = 0.1
                    yield told
            except redis.RedisError as away:
                logger(__name__).warning("bus_away", reason=str(away))
                # Jittered, so that a fleet does not come back all at once.
                self._closed.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)
            finally:
                self.listening.clear()

    def _listen(self) -> Iterator[Told]:
        with self._client.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            exact = [channel for channel in self._channels if not channel.endswith("*")]
            alike = [channel for channel in self._channels if channel.endswith("*")]
            if exact:
                pubsub.subscribe(*exact)
            if alike:
                pubsub.psubscribe(*alike)
            while not self._closed.is_set():
                message = pubsub.get_message(timeout=_WAIT_SECONDS)
                if message is None:
                    if pubsub.health_check_response_counter >= _UNANSWERED:
                        raise redis.ConnectionError("the server is silent; connecting again")
                    continue
                if message["type"] in ("subscribe", "psubscribe"):
                    self.listening.set()
                elif message["type"] in ("message", "pmessage"):
                    told = _parsed(message)
                    if told is not None:
                        yield told


def _parsed(message: Mapping[str, Any]) -> Told | None:
    channel = bytes(message["channel"]).decode(errors="replace")
    try:
        payload = json.loads(message["data"])
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        logger(__name__).warning("bus_message_unreadable", channel=channel)
        return None
    return Told(channel, payload)
