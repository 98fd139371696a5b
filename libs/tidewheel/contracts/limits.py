"""Limits of validation metrics, beyond which the fleet is frozen."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from tidewheel.contracts.errors import BadInput

_LIMIT = re.compile(r"\s*([a-z][a-z0-9_]{0,63})\s*([<>])\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class MetricLimit:
    """A condition that no value of a metric may meet, written `champion_score<-1.5`."""

    metric: str
    side: Literal["<", ">"]
    bound: float

    @classmethod
    def parse(cls, text: str) -> "MetricLimit":
        """Read `name<limit` or `name>limit`.

        Raises:
            BadInput: it is not of that form.
        """
        match = _LIMIT.fullmatch(text)
        try:
            bound = float(match[3]) if match else math.nan
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound):
            raise BadInput(f"limit {text!r} is not of the form name<number or name>number, as in champion_score<-1.5")
        return cls(match[1], "<" if match[2] == "<" else ">", bound)

    def broken_by(self, value: float) -> bool:
        """Whether `value` meets the condition; NaN, of which nobody knows, does."""
        return math.isnan(value) or (value < self.bound if self.side == "<" else value > self.bound)

    def __str__(self) -> str:
        return f"{self.metric}{self.side}{self.bound:g}"
