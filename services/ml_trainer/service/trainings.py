"""Which trainings there are, and the gate before each."""

from services.ml_trainer.service.bounce.training import BounceTraining
from services.ml_trainer.service.fitting import FitChild
from services.ml_trainer.service.regimes.training import RegimeTraining
from services.ml_trainer.service.registry.training import RegistryTraining
from services.ml_trainer.service.trainer import Trainer
from services.ml_trainer.settings import TrainerSettings
from tidewheel.bounce.entries import ModelCache
from tidewheel.features.returns import regime_signature
from tidewheel.gates.forecasts import ForecastCandidate, ForecastSchemaStep
from tidewheel.gates.gate import Candidate, Gate, Step
from tidewheel.gates.steps import ChampionStep, EnoughDataStep, SchemaStep
from tidewheel.kit.bounce import tell_damage
from tidewheel.ledger.open import Ledger
from tidewheel.modelstore.steps import Canary, Digest
from tidewheel.modelstore.store import ModelStore


def build_trainer(ledger: Ledger, child: FitChild, settings: TrainerSettings) -> Trainer:
    """What carries out every run that this program knows."""
    regimes = RegimeTraining(ledger, ModelStore(settings.models_dir), regime_gate(settings), settings)
    registry = RegistryTraining(ledger, ModelStore(settings.trained_models_dir), forecast_gate, settings)
    bounce = BounceTraining(ledger, ModelCache(settings.model_cache_dir, on_damage=tell_damage), settings)
    return Trainer(ledger, child, [regimes, registry, bounce], settings)


def regime_gate(settings: TrainerSettings) -> Gate[Candidate]:
    """The steps of promotion, in order; the first refusal ends it."""
    return Gate(
        [SchemaStep(regime_signature(settings.timeframe)), Digest(), EnoughDataStep(), Canary(), ChampionStep()]
    )


def forecast_gate(comparison: Step[ForecastCandidate]) -> Gate[ForecastCandidate]:
    """The same for registered models; `comparison` is the last."""
    return Gate([ForecastSchemaStep(), Digest(), Canary(), comparison])
