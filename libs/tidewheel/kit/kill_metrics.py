"""A breached validation metric freezes the fleet, whoever measures it."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, Field

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.limits import MetricLimit
from tidewheel.kit.logs import logger
from tidewheel.kit.settings import CommaSeparated
from tidewheel.ledger.control.records import KillSwitch
from tidewheel.ledger.control.switches import Switches

CAUSE = "metric"


def _limits(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(MetricLimit.parse(text)) for text in texts)
    except BadInput as bad:
        raise ValueError(bad.detail) from None


#: of a setting: conditions of metrics that trip the fleet's kill switch
KillMetrics = Annotated[
    CommaSeparated,
    AfterValidator(_limits),
    Field(
        validation_alias="TIDEWHEEL_KILL_METRICS",
        description="Conditions that trip the fleet's kill switch, comma-separated, such as champion_score<-1.5: of "
        "champion_score, the champion's mean score on each run's hold-out, and of what POST /guardrails/metric tells.",
    ),
]


def watch_metric(switches: Switches, limits: Iterable[str], name: str, value: float, actor: str) -> KillSwitch | None:
    """Trip the fleet's kill switch where `value` breaks a limit of metric `name`; the switch that stands then."""
    for limit in map(MetricLimit.parse, limits):
        if limit.metric == name and limit.broken_by(value):
            switch = switches.trip(None, actor, f"{name} is {value:g}, and {limit} freezes the fleet", CAUSE)
            logger(__name__).error("kill_switch_tripped", metric=name, value=value, limit=str(limit))
            return switch
    return None
