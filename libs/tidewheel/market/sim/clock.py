"""The simulated exchange's time: standing still until told, or running at a chosen speed."""

import math
import threading
import time

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import UtcMillis, iso


class VirtualClock:
    """UTC ms that go forward only; safe to use from several threads.

    Args:
        now: the time at which it starts.
        speed: virtual seconds per real second; 0 stands still.
    """

    def __init__(self, now: UtcMillis, speed: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._base = now
        self._since = time.monotonic()
        self._speed = _possible(speed)

    def now(self) -> UtcMillis:
        """The virtual time."""
        with self._lock:
            return self._now()

    @property
    def speed(self) -> float:
        """Virtual seconds per real second."""
        return self._speed

    def move_to(self, now: UtcMillis) -> None:
        """Jump forward; the speed stays.

        Raises:
            BadInput: that would be backwards, which a candle once served as closed would not survive.
        """
        with self._lock:
            if now < self._now():
                raise BadInput(f"the clock stands at {iso(self._now())} and only goes forward; {iso(now)} is earlier")
            self._base, self._since = now, time.monotonic()

    def run_at(self, speed: float) -> None:
        """Go on from the present time at another speed.

        Raises:
            BadInput: the speed is negative or not finite.
        """
        speed = _possible(speed)
        with self._lock:
            self._base, self._since = self._now(), time.monotonic()
            self._speed = speed

    def _now(self) -> UtcMillis:
        return self._base + int((time.monotonic() - self._since) * 1_000 * self._speed)


def _possible(speed: float) -> float:
    if not math.isfinite(speed) or speed < 0:
        raise BadInput(f"speed {speed} cannot be used; write 0 to stand still, or how many times faster than real time")
    return speed
