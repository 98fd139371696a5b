"""What the promotion gate says: each step with its numbers."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class StepResult(BaseModel):
    """One step's answer."""

    model_config = ConfigDict(frozen=True)

    step: str  #: name of the step, such as `champion`
    passed: bool
    reason: str  #: one sentence; on refusal with the number that decided
    numbers: dict[str, Any] = {}  #: evidence, JSON values only


class Verdict(BaseModel):
    """The gate's answer for one candidate: the steps that ran, in order; the first refusal ends it."""

    model_config = ConfigDict(frozen=True)

    steps: tuple[StepResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every step passed."""
        return bool(self.steps) and all(step.passed for step in self.steps)

    @property
    def refusal(self) -> StepResult | None:
        """The step that refused, or None."""
        return next((step for step in self.steps if not step.passed), None)
