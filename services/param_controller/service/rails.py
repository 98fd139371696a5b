"""Guardrails that stand across decisions: kill switches and the limits of metrics."""

from collections.abc import Sequence

from services.param_controller.schemas import AuditView, PairView, RailsAnswer, SwitchView
from services.param_controller.service.schema_files import Schemas
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.limits import MetricLimit
from tidewheel.contracts.times import DAY
from tidewheel.kit.kill_metrics import watch_metric
from tidewheel.kit.logs import logger
from tidewheel.kit.metrics import KILL_SWITCHES
from tidewheel.ledger.control.records import FLEET, KillSwitch
from tidewheel.ledger.open import Ledger

BY_HAND = "hand"
COUNT_SECONDS = 5.0
_DEEDS = 50
_log = logger(__name__)


class Rails:
    """Trips and clears kill switches; a tripped one freezes promotions and parameter changes until it is cleared."""

    def __init__(self, ledger: Ledger, schemas: Schemas, limits: Sequence[str]) -> None:
        self._ledger, self._schemas, self.limits = ledger, schemas, tuple(limits)

    def kill(self, scope: PairKey | None, actor: str, reason: str) -> KillSwitch:
        """Freeze a pair, or the fleet; one that is frozen already stays as it is.

        Raises:
            BadInput: no reason is given.
            NotFound: `unknown_pair`.
        """
        switch = self._ledger.switches.trip(scope, actor, reason, BY_HAND)
        _log.error("kill_switch_tripped", scope=switch.scope, actor=actor, reason=switch.reason)
        return switch

    def clear(self, scope: PairKey | None, actor: str, reason: str) -> KillSwitch:
        """Let a pair, or the fleet, go on; gives the switch that stood.

        Raises:
            BadInput: no reason is given.
            NotFound: `not_tripped`, `unknown_pair`.
        """
        switch = self._ledger.switches.clear(scope, actor, reason)
        _log.warning("kill_switch_cleared", scope=switch.scope, actor=actor, reason=reason)
        return switch

    def metric(self, name: str, value: float, actor: str) -> KillSwitch | None:
        """Hear of a validation metric; the fleet's switch, where the value breaks a limit."""
        return watch_metric(self._ledger.switches, self.limits, name, value, actor)

    def state(self) -> RailsAnswer:
        """What is frozen, how near each pair is to its limits, and the newest deeds."""
        ledger = self._ledger
        switches = ledger.switches.tripped()
        scopes, today = {switch.scope for switch in switches}, ledger.now() // DAY
        known = {schema.strategy: schema.guardrails for schema in self._schemas.all()}
        pairs = [
            PairView(
                strategy=pair.key.strategy,
                instrument=pair.key.instrument,
                frozen=not scopes.isdisjoint((FLEET, str(pair.key))),
                incumbent=pair.incumbent,
                changes_today=pair.changes if pair.day >= today else 0,
                changes_per_day=rails.changes_per_day if rails else None,
                decisions=pair.decisions,
                learnt=pair.learnt,
                realised=pair.realised,
                drawdown=pair.peak - pair.realised,
                max_drawdown=rails.max_drawdown if rails else None,
            )
            for pair in ledger.presets.pairs()
            for rails in (known.get(pair.key.strategy),)
        ]
        return RailsAnswer(
            kill_switches=[SwitchView.model_validate(switch) for switch in switches],
            kill_metrics=list(self.limits),
            pairs=pairs,
            audit=[AuditView.model_validate(entry) for entry in ledger.audit.list(limit=_DEEDS)],
        )

    def watching(self, metric: str) -> list[str]:
        """The limits that watch a metric."""
        return [limit for limit in self.limits if MetricLimit.parse(limit).metric == metric]

    def count(self) -> None:
        """Show the switches that stand in the metrics."""
        KILL_SWITCHES.set(len(self._ledger.switches.tripped()))
