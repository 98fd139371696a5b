"""What a proof is: a promise, and a trial of it that counts how often it was broken."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from services.fleet.prove.ground import Ground


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """How much to try, where, and with which dice."""

    trials: int  #: disturbances, steps, swaps or flips: each proof says which
    seed: int  #: of every draw; what real processes do in between is theirs
    ground: Ground  #: where ledgers and folders may be made


@dataclass(slots=True)
class Tally:
    """What came of it."""

    trials: int = 0
    violations: int = 0
    first: str | None = None  #: the first violation, in words
    figures: list[str] = field(default_factory=list)  #: what was measured by the way, in words

    def broken(self, how: str) -> None:
        """Count a violation."""
        self.violations += 1
        self.first = self.first or how


class Tell(Protocol):
    """Hears how far a proof is."""

    def __call__(self, fraction: float, text: str = "") -> None:
        """`fraction` 0..1, and what is done just now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """One promise, and how to try it out."""

    name: str
    promise: str  #: its number in the list of promises, and the sentence
    trials: int  #: of the long form
    quick: int  #: of the form that the tests run
    run: Callable[[Budget, Tell], Tally]  #: raises only where it could not try
