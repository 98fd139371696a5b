"""The promotion gate: an ordered list of steps, each of which can refuse a candidate.

Pure steps are in `steps.py`; steps that read files live in `tidewheel.modelstore` and join the same list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from tidewheel.contracts.verdicts import StepResult, Verdict
from tidewheel.features.frames import CandleFrame
from tidewheel.models.base import Model, Payload


class Saved(Protocol):
    """A fitted model that can be turned into files and back."""

    @property
    def family(self) -> str:
        """Name under which its versions are kept."""
        ...

    def to_payload(self) -> dict[str, bytes]:
        """The model as files; equal models give equal bytes."""
        ...

    @classmethod
    def from_payload(cls, payload: Payload) -> Self:
        """The model of `to_payload()`; BadBundle where the files are damaged or foreign."""
        ...


class Entrant(Protocol):
    """What any gate may ask of a challenger, whatever it foretells."""

    @property
    def family(self) -> str:
        """Family under which it would be published."""
        ...

    @property
    def model(self) -> Saved:
        """The challenger."""
        ...

    @property
    def payload(self) -> Payload:
        """The challenger as the files that would be published."""
        ...

    @property
    def feature_signature(self) -> str:
        """What the challenger was fitted on."""
        ...

    @property
    def bundle_dir(self) -> Path | None:
        """Staged bundle, for the steps that read files."""
        ...


E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Candidate:
    """A regime model that challenges, and all that the gate may know of it."""

    family: str  #: "hmm"
    model: Model  #: the challenger
    payload: Payload  #: the challenger as the files that would be published
    feature_signature: str  #: what the challenger was fitted on
    champion: Model | None  #: the version served now; None before the first promotion
    champion_version: str | None  #: its name
    baseline: Model  #: fitted on the challenger's training slice; stands in for a missing champion
    holdout: Mapping[str, Sequence[CandleFrame]]  #: stream -> contiguous frames that the challenger never saw
    train_bars: int  #: bars in the training slice
    min_train_bars: int  #: MIN_TRAIN_BARS
    seed: int  #: of the bootstrap
    segments: int = 0  #: unbroken runs of bars in the window, hold-out included
    short_segments: int = 0  #: those of them that are too short for one row of features
    bundle_dir: Path | None = None  #: staged bundle, for the steps that read files


class Step(Protocol[E_contra]):
    """One condition of promotion."""

    @property
    def name(self) -> str:
        """Name by which a refusal is known, such as `champion`."""
        ...

    @property
    def min_blocks(self) -> int:
        """Blocks of scored hold-out below which it refuses whatever the model; see `scores.scored_blocks`."""
        ...

    def __call__(self, candidate: E_contra) -> StepResult:
        """Judge; a refusal is a result, never an exception."""
        ...


class Gate(Generic[E]):
    """Runs its steps in order; the first refusal ends it."""

    def __init__(self, steps: Sequence[Step[E]]) -> None:
        self.steps = tuple(steps)

    @property
    def min_blocks(self) -> int:
        """Blocks of scored hold-out without which no candidate can pass: a fit on less is in vain."""
        return max((step.min_blocks for step in self.steps), default=0)

    def judge(self, candidate: E) -> Verdict:
        """The results of the steps that ran."""
        results: list[StepResult] = []
        for step in self.steps:
            results.append(step(candidate))
            if not results[-1].passed:
                break
        return Verdict(steps=tuple(results))
