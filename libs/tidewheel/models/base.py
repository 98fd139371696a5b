"""What the gate and the servers ask of a model.

Every model is a frozen value: fitted once, turned into bytes and back, and asked for its predictive score.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from tidewheel.contracts.errors import NotEnoughData
from tidewheel.features.frames import Floats
from tidewheel.features.returns import WINDOW

Payload = Mapping[str, bytes]  #: file name -> content of a bundle's weights


@dataclass(frozen=True, slots=True)
class FilterState:
    """All that the filter remembers between two calls; hand it back to go on where the last call stopped."""

    recent: tuple[float, ...]  #: the last log returns, at most 29
    probs: tuple[float, ...] | None  #: filtered state probabilities at the last bar; None before the first feature row


@dataclass(frozen=True, slots=True)
class Regime:
    """Where the market stands at one bar."""

    probs: Mapping[str, float]  #: by state name, sums to one
    state: str  #: the most probable
    confidence: float  #: its probability


@dataclass(frozen=True, eq=False, slots=True)
class Filtered:
    """Answers for the m newest log returns of a call: those that had 30 returns to look back on."""

    states: tuple[str, ...]  #: names of the columns of `probs`
    probs: Floats  #: [m, K], p(s_t | bars up to t)
    score: Floats  #: [m], nats: ln p(r_t | bars before t) on the raw log return
    n_used: int  #: log returns behind the last row, the state's included up to the look-back
    state: FilterState  #: to resume from

    def latest(self) -> Regime:
        """The regime at the last bar.

        Raises:
            NotEnoughData: fewer than 30 log returns (31 bars) were given.
        """
        if not len(self.probs):
            raise NotEnoughData(
                f"{self.n_used} log returns were given; the first regime needs {WINDOW} of them ({WINDOW + 1} bars)"
            )
        last = self.probs[-1].tolist()
        probs = dict(zip(self.states, last, strict=True))
        best = max(probs, key=lambda name: probs[name])
        return Regime(probs, best, probs[best])


class Model(Protocol):
    """A model of one stream's next log return."""

    @property
    def family(self) -> str:
        """Name under which its versions are kept."""
        ...

    def filter(
        self, logret: Iterable[float], *, stream: str | None = None, state: FilterState | None = None
    ) -> Filtered:
        """Go through contiguous log returns, looking back only."""
        ...

    def to_payload(self) -> dict[str, bytes]:
        """The model as files; equal models give equal bytes."""
        ...

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """The model of `to_payload()`; BadBundle where the files are damaged or foreign."""
        ...
