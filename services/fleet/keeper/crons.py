"""Rows of the timetable: when candles are fetched and models retrained."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

from tidewheel.kit.logs import logger

OFF = "off"
_LOOK_BACK = timedelta(seconds=60)
_LONGEST_SLEEP = timedelta(days=1)  #: a suspended machine does not walk through a year of minutes
_log = logger(__name__)


def check_cron(text: str) -> str:
    """`text`, when it is a cron expression or `off`.

    Raises:
        ValueError: it is neither.
    """
    if text != OFF:
        try:
            CronSim(text, datetime.now(UTC))
        except CronSimError as error:
            raise ValueError(f"{error}; write five cron fields in UTC such as */15 * * * *, or off") from None
    return text


class CronRow:
    """Calls `act(moment)` once for each due moment, in UTC by the host's clock.

    A keeper that takes over looks a minute back, so a change of leader skips no moment; `act` therefore may see the
    same moment twice, here and in another process, and must be safe for it. Of several missed moments only the last
    is acted on.
    """

    def __init__(self, name: str, expression: str, act: Callable[[datetime], None]) -> None:
        self._name, self._expression, self._act = name, expression, act
        self._done_until: datetime | None = None

    def __call__(self, now: datetime | None = None) -> None:
        """Act if a moment has come since the last call."""
        if self._expression == OFF:
            return
        now = now or datetime.now(UTC)
        since = self._done_until = self._done_until or now - _LOOK_BACK
        moment = self._last_due(max(since, now - _LONGEST_SLEEP), now)
        if moment is not None:
            _log.info("cron_due", row=self._name, moment=moment.isoformat())
            self._act(moment)
        self._done_until = max(now, since)

    def _last_due(self, since: datetime, now: datetime) -> datetime | None:
        due = None
        for moment in CronSim(self._expression, since):
            if moment > now:
                break
            due = moment
        return due
