"""Whom a new version must beat: the champion of its name, else the baseline, else the naive forecast."""

from dataclasses import dataclass
from typing import ClassVar

from tidewheel.contracts.keys import BASELINE, CHAMPION, StreamKey
from tidewheel.contracts.times import UtcMillis
from tidewheel.contracts.verdicts import StepResult
from tidewheel.gates.forecasts import ForecastCandidate, ForecastChampionStep, Forecasts, Persistence
from tidewheel.ledger.open import Ledger
from tidewheel.models.horizons import HORIZONS, HorizonModel
from tidewheel.registry.rival import Rival
from tidewheel.registry.service import ModelService

NAIVE = "naive"


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Opponent:
    """Whom a new version is compared with."""

    name: str  #: as a verdict tells it
    forecasts: Forecasts
    replaces: bool  #: it is the champion whose place the new version would take
    learnt_until: UtcMillis | None  #: later hours of this stream it has not seen; None: it saw none, or does not tell
    ours: bool  #: it was trained here
    since: int  #: the move that made the champion of the name what it was then; 0 where there was none

    def must_be_beaten(self, name: str, model: HorizonModel) -> bool:
        """Whether the new version needs a verdict of the comparison to become the champion.

        A baseline does not where it is the first, or looks further ahead than ours did: others are measured by it.
        """
        further = set(model.horizons) > set(self.forecasts.horizons)
        return name != BASELINE or not (self.name == NAIVE or (self.replaces and self.ours and further))


def opponent_of(ledger: Ledger, models: ModelService, name: str, stream: StreamKey) -> Opponent:
    """Whom a version of `name`, trained on `stream`, is compared with.

    Raises:
        Conflict, BadModel, ModelFileNotFound, ModelNotTrusted: that one cannot be loaded.
    """
    since = next((move.id for move in ledger.registry.aliases(name) if move.alias == CHAMPION), 0)
    for rival in (name, BASELINE):
        row = ledger.registry.get(rival)
        if row is not None and row.is_active:
            found = Rival(models.load_model(rival, ledger, version=row.version))
            return Opponent(
                name=f"{rival} {row.version}",
                forecasts=found,
                replaces=rival == name,
                learnt_until=found.learnt_until if row.stream == stream else None,
                ours=row.run_id is not None,
                since=since,
            )
    return Opponent(
        name=NAIVE, forecasts=Persistence(HORIZONS), replaces=False, learnt_until=None, ours=False, since=since
    )  # fmt: skip


class Unopposed:
    """Stands in the place of the comparison where nobody need be beaten; the verdict tells the errors all the same."""

    name: ClassVar[str] = ForecastChampionStep.name
    min_blocks: ClassVar[int] = 0

    def __call__(self, candidate: ForecastCandidate) -> StepResult:
        """Pass."""
        seen = ForecastChampionStep()(candidate)
        further = sorted(set(candidate.model.horizons) - set(candidate.opponent.horizons))
        why = f"looks {further} h ahead, too" if further else "is the first of its name"
        return StepResult(
            step=self.name,
            passed=True,
            reason=f"the baseline need not beat anybody, for it {why}; {seen.reason}",
            numbers=seen.numbers,
        )
