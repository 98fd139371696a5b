"""The registered models as HTTP shows them."""

from services.predictor.schemas.outcomes import ForecastList, MetricsAnswer, SavedView
from services.predictor.schemas.registry import (
    AliasBody,
    AliasView,
    ModelHistory,
    ModelList,
    RegisteredView,
    RegisterModel,
    StandingBody,
)
from tidewheel.contracts.errors import ModelNotFound
from tidewheel.contracts.keys import CHAMPION, StreamKey
from tidewheel.kit.auth import Actor
from tidewheel.ledger.open import Ledger
from tidewheel.ledger.registry.records import RegisteredModel
from tidewheel.registry.registration import Registration
from tidewheel.registry.service import ModelService


class Catalogue:
    """Registers models and tells of them."""

    def __init__(self, ledger: Ledger, models: ModelService) -> None:
        self._ledger, self._models = ledger, models

    def models(self) -> ModelList:
        """Every version, by name, newest first."""
        return ModelList(models=self._views(self._ledger.registry.all()))

    def register(self, body: RegisterModel, actor: Actor) -> tuple[RegisteredView, bool]:
        """The version on record, and whether it is new; raises as `ModelService.register`."""
        done = self._models.register(self._ledger, Registration(**body.model_dump()), actor.name)
        (view,) = self._views([done.model])
        return view.model_copy(update={"warnings": [*done.warnings, *_waits(view)]}), done.created

    def history(self, model_name: str) -> ModelHistory:
        """The versions and alias moves of a name.

        Raises:
            ModelNotFound: nothing is registered under it.
        """
        versions = self._ledger.registry.versions(model_name)
        if not versions:
            raise ModelNotFound(model_name)
        aliases = sorted({move.alias for move in self._ledger.registry.aliases(model_name)} | {CHAMPION})
        moves = [move for alias in aliases for move in self._ledger.registry.moves(model_name, alias)]
        return ModelHistory(
            model_name=model_name,
            versions=self._views(versions),
            alias_moves=[AliasView.model_validate(move) for move in moves],
        )

    def move_alias(self, model_name: str, alias: str, body: AliasBody, actor: Actor) -> AliasView:
        """Let the alias name a version; raises as the ledger's `move_alias`."""
        move = self._ledger.registry.move_alias(model_name, alias, body.version, actor.name, body.reason)
        return AliasView.model_validate(move)

    def set_active(self, model_name: str, version: str, body: StandingBody, actor: Actor) -> RegisteredView:
        """Serve the version, or no more; raises as the ledger's `set_active`."""
        model = self._ledger.registry.set_active(model_name, version, body.is_active, actor.name, body.reason)
        (view,) = self._views([model])
        return view

    def metrics(self, model_name: str, version: str | None, stream: StreamKey | None) -> MetricsAnswer:
        """How good a version's predictions were; raises as `ModelService.metrics`."""
        return MetricsAnswer.of(self._models.metrics(model_name, self._ledger, version=version, stream=stream))

    def latest(self, model_name: str | None, horizon: int | None, limit: int) -> ForecastList:
        """The newest saved predictions."""
        found = self._ledger.predictions.latest(model_name, horizon, limit)
        return ForecastList(predictions=[SavedView.model_validate(each) for each in found])

    def _views(self, models: list[RegisteredModel]) -> list[RegisteredView]:
        named: dict[tuple[str, str], list[str]] = {}
        for move in self._ledger.registry.aliases():
            named.setdefault((move.model_name, move.version), []).append(move.alias)
        return [RegisteredView.of(model, named.get((model.model_name, model.version), [])) for model in models]


def _waits(view: RegisteredView) -> list[str]:
    if CHAMPION in view.aliases:
        return []
    return [
        f"{view.model_name} goes on answering with another version until PUT /models/{view.model_name}/aliases/"
        f"{CHAMPION} names {view.version}"
    ]
