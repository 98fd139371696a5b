"""One-state Gaussian: the baseline that the first regime model of a family must beat.

Log returns of a stream are independent N(mean, sd) draws. It is scored on the same bars as the regime model.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tidewheel.contracts.canonical import canonical_json
from tidewheel.contracts.errors import BadBundle, NotEnoughData
from tidewheel.features.frames import CandleFrame, Floats
from tidewheel.features.returns import WINDOW, checked_returns, robust_scale, segment_returns
from tidewheel.models.base import Filtered, FilterState, Payload
from tidewheel.models.payload import MODEL_FILE, Document

SCHEMA = 1


@dataclass(frozen=True, eq=False, slots=True)
class GaussianModel:
    """A mean and a standard deviation per stream, of raw log returns."""

    family: ClassVar[str] = "gaussian"

    streams: Mapping[str, tuple[float, float]]  #: stream -> (mean, sd)
    default: tuple[float, float]  #: for returns of no known stream: the medians over `streams`

    @classmethod
    def fit(cls, segments: Mapping[str, Sequence[CandleFrame]]) -> "GaussianModel":
        """Maximum likelihood per stream.

        Raises:
            NotEnoughData: no stream, or one without two contiguous bars.
            BadFit: a market does not move.
        """
        found = {stream: segment_returns(frames) for stream, frames in sorted(segments.items())}
        for stream, runs in found.items():
            if not runs:
                raise NotEnoughData(f"{stream} has no two contiguous bars; a mean and a deviation need at least two")
            robust_scale(stream, runs)
        if not found:
            raise NotEnoughData("no stream was given")
        streams = {stream: _moments(np.concatenate(runs)) for stream, runs in found.items()}
        mean, sd = np.median(np.array(list(streams.values())), axis=0).tolist()
        return cls(streams, (mean, sd))

    def filter(
        self, logret: Iterable[float], *, stream: str | None = None, state: FilterState | None = None
    ) -> Filtered:
        """Scores of the same rows that the regime model scores: from the 30th contiguous return on."""
        returns = np.concatenate([np.array(state.recent if state else ()), checked_returns(logret)])
        mean, sd = self.default if stream is None else self.streams.get(stream, self.default)
        scored = returns[WINDOW - 1 :]
        score = -0.5 * ((scored - mean) / sd) ** 2 - math.log(sd * math.sqrt(2.0 * math.pi))
        recent = tuple(returns[len(returns) - min(len(returns), WINDOW - 1) :].tolist())
        known = (1.0,) if len(scored) else state.probs if state else None
        return Filtered(("all",), np.ones((len(scored), 1)), score, len(returns), FilterState(recent, known))

    def to_payload(self) -> dict[str, bytes]:
        """`{"model.json": canonical JSON}`; equal models give equal bytes."""
        members = {"family": self.family, "schema": SCHEMA, "default": self.default, "streams": dict(self.streams)}
        return {MODEL_FILE: canonical_json(members)}

    @classmethod
    def from_payload(cls, payload: Payload) -> "GaussianModel":
        """The model of `to_payload()`.

        Raises:
            BadBundle: a member is missing, unknown, of a wrong shape, not finite, or a deviation is not positive.
        """
        document = Document.read(payload, family=cls.family, schema=SCHEMA, keys=("default", "streams"))
        known = document.inner("streams")
        model = cls({stream: _pair(known, stream) for stream in known.names()}, _pair(document, "default"))
        if any(sd < 1e-12 for _, sd in (model.default, *model.streams.values())):
            raise BadBundle(f"{MODEL_FILE} is not a sound Gaussian: a standard deviation is not positive")
        return model


def _moments(returns: Floats) -> tuple[float, float]:
    return float(returns.mean()), float(returns.std())


def _pair(document: Document, key: str) -> tuple[float, float]:
    mean, sd = document.array(key, (2,)).tolist()
    return mean, sd
