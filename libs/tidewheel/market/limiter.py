"""One token bucket and one ban per exchange and host, shared by every process through a flock-ed file.

Not in Redis: a flush during a ban would make the whole fleet knock again, and exchanges answer that with a longer one.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tidewheel.contracts.errors import BadSetting, Overloaded
from tidewheel.contracts.keys import path_part
from tidewheel.contracts.times import iso

#: Waits up to this many seconds are slept through; longer ones are handed to the caller.
MAX_WAIT = 15.0
_RECORD_BYTES = 128
_TURN_POLL = 0.005  #: seconds between two looks at whose turn it is


@dataclass(slots=True)
class _State:
    tokens: float  #: cost units that may be spent at once
    updated: float  #: host seconds since the epoch at which `tokens` held
    banned_until: float  #: host seconds since the epoch


class Bucket:
    """The right to send requests to one host of one exchange.

    Args:
        path: the shared file; made when absent.
        per_second: cost units that come back each second.
        burst: most cost units that can be saved up.
        clock, sleep: the host's; tests bring their own.
    """

    def __init__(
        self,
        path: Path,
        per_second: float,
        burst: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path, self._rate, self._burst = path, per_second, burst
        self._clock, self._sleep = clock, sleep

    def take(self, cost: float = 1.0) -> None:
        """Take `cost` units, waiting for them or for the end of a short ban.

        Raises:
            Overloaded: the wait exceeds MAX_WAIT; nothing was taken, and no request may be sent.
        """
        while (wait := self._take_or_wait(cost)) > 0:
            if wait > MAX_WAIT:
                until = iso(int((self._clock() + wait) * 1_000))
                raise Overloaded(f"the exchange wants no requests from us before {until}", retry_after=round(wait, 1))
            self._sleep(wait)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One request at a time from this host, so that none is on its way when another brings a ban home.

        A process that was stopped in its turn holds nobody up for longer than MAX_WAIT seconds.
        """
        handle = os.open(self._path.with_suffix(".turn"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            waited = 0.0
            while waited < MAX_WAIT:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._sleep(_TURN_POLL)
                    waited += _TURN_POLL
            yield
        finally:
            os.close(handle)

    def ban(self, seconds: float) -> None:
        """Let nobody send for so long; a ban that already runs is never shortened."""
        with self._state() as state:
            state.banned_until = max(state.banned_until, self._clock() + seconds)

    def _take_or_wait(self, cost: float) -> float:
        """Take the units and answer 0, or take nothing and answer the seconds to wait."""
        with self._state() as state:
            now = self._clock()
            if state.banned_until > now:
                return state.banned_until - now
            state.tokens = min(self._burst, state.tokens + max(0.0, now - state.updated) * self._rate)
            state.updated = now
            # What costs more than can be saved up is let through when full, and paid for afterwards.
            missing = min(cost, self._burst) - state.tokens
            if missing > 1e-9:
                return missing / self._rate
            state.tokens -= cost
            return 0.0

    @contextmanager
    def _state(self) -> Iterator[_State]:
        """The shared record, alone; written back on leaving in one write, so that a kill cannot halve it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            state = self._read(os.pread(handle, _RECORD_BYTES, 0))
            yield state
            os.pwrite(handle, json.dumps(asdict(state)).encode().ljust(_RECORD_BYTES), 0)
        finally:
            os.close(handle)

    def _read(self, record: bytes) -> _State:
        if not record:
            return _State(tokens=self._burst, updated=self._clock(), banned_until=0.0)
        try:
            return _State(**{name: float(value) for name, value in json.loads(record).items()})
        except (ValueError, TypeError, AttributeError) as error:
            raise BadSetting(f"the limiter's file {self._path} is damaged; delete it unless a ban runs") from error


class Limiter:
    """The buckets of one fleet, under `folder` (DATA_DIR/limits)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def bucket(self, exchange: str, host: str, per_second: float, burst: float) -> Bucket:
        """The bucket that every process of this fleet shares for that exchange and host.

        Raises:
            BadSetting: the folder cannot be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSetting(f"the folder {self._folder} for rate limits cannot be made: {error.strerror}") from error
        return Bucket(self._folder / f"{path_part(exchange)}@{path_part(host)}.json", per_second, burst)
