"""Time: UTC milliseconds everywhere; a candle is named by its open time."""

import re
from datetime import UTC, datetime
from typing import TypeAlias

from tidewheel.contracts.errors import BadInput

UtcMillis: TypeAlias = int  #: milliseconds since 1970-01-01T00:00Z

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
STALE_BARS = 3  #: bars that a regime may lag behind before it is stale
EARLIEST: UtcMillis = -62_135_596_800_000  #: 0001-01-01T00:00Z; a calendar's years are 1 to 9999
LATEST: UtcMillis = 253_402_300_799_999  #: the last millisecond of the year 9999
_UNITS = {"s": 1_000, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def step_millis(timeframe: str) -> int:
    """Length of one bar of `timeframe` (`1m`, `5m`, `1h`, `1d`, `1w`) in milliseconds.

    Raises:
        BadInput: the timeframe is not of that form (calendar months have no fixed length).
    """
    match = re.fullmatch(r"([1-9][0-9]{0,3})([smhdw])", timeframe)
    if match is None:
        raise BadInput(f"timeframe {timeframe!r} is not known; write a number and s, m, h, d or w, such as 1m or 4h")
    return int(match[1]) * _UNITS[match[2]]


def parse_time(text: str) -> UtcMillis:
    """Epoch milliseconds, or ISO-8601 (UTC unless it names an offset), as UTC milliseconds.

    Raises:
        BadInput: `text` is neither, or not of the years 1 to 9999.
    """
    cleaned = text.strip()
    found = int(cleaned) if re.fullmatch(r"-?[0-9]{1,20}", cleaned) else _from_iso(cleaned)
    if not EARLIEST <= found <= LATEST:
        raise BadInput(f"time {text!r} is not of the years 1 to 9999; epoch times are written in milliseconds")
    return found


def _from_iso(text: str) -> UtcMillis:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"time {text!r} is neither epoch milliseconds nor ISO-8601; write 1511740800000 or 2017-11-27T00:00Z"
        ) from None
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def to_millis(moment: datetime) -> UtcMillis:
    """Milliseconds of an aware datetime, exactly."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return delta.days * DAY + delta.seconds * 1_000 + delta.microseconds // 1_000


def iso(millis: UtcMillis) -> str:
    """`2017-11-27T00:00:00Z`, with milliseconds only where there are some."""
    text = datetime.fromtimestamp(millis // 1_000, tz=UTC).replace(tzinfo=None).isoformat()
    return f"{text}.{millis % 1_000:03d}Z" if millis % 1_000 else f"{text}Z"
