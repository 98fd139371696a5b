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


@dataclass
class Found:
    """A tally of comparisons, with the worst of each figure by its name."""

    tally: Tally
    figures: dict[str, float] = field(default_factory=dict)

    def least(self, name: str, value: float) -> None:
        """Keep the smallest."""
        self.figures[name] = min(value, self.figures.get(name, value))

    def most(self, name: str, value: float) -> None:
        """Keep the largest."""
        self.figures[name] = max(value, self.figures.get(name, value))

    def hold(self, kept: bool, otherwise: str) -> None:
        """Count a comparison."""
        self.tally.trials += 1
        if not kept:
            self.tally.broken(otherwise)


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
