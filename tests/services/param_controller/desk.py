"""A desk that trades a market of known rewards, through the real service over a real ledger."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from services.param_controller.service.deciding import Deciding, Question
from services.param_controller.service.learning import Learning, Told
from services.param_controller.service.presets import Menu
from services.param_controller.service.regimes import CurrentRegimes
from services.param_controller.service.schema_files import Schemas
from tests.services.param_controller.asked import BREAKOUT
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.ledger.control.records import Decision, Learnt
from tidewheel.ledger.open import Ledger

BTC = PairKey("breakout", "BTC/USDT")
Earned = Callable[[str, float], float]  #: preset, scaled volatility -> expected reward
FAST_IS_BETTER: Mapping[str, float] = {"fast": 4.0, "slow": 1.0, "calm": 2.0}


def by_preset(preset: str, _: float) -> float:
    """A market in which one preset is always the better one."""
    return FAST_IS_BETTER[preset]


def changed(**parts: object) -> StrategySchema:
    """The small strategy with other parts, such as policy={"exploration": 3.0}."""
    document = BREAKOUT.model_dump(mode="json")
    for name, change in parts.items():
        document[name] = {**document[name], **change} if isinstance(change, dict) else change
    return StrategySchema.model_validate(document)


@dataclass
class Desk:
    """One engine, one pair."""

    ledger: Ledger
    schema: StrategySchema = BREAKOUT
    earned: Earned = by_preset
    key: PairKey = BTC
    noise: float = 1.0
    seed: int = 1
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.schemas = Schemas([self.schema])
        self.menu = Menu(self.ledger, self.schemas)
        self._deciding = Deciding(self.ledger, self.schemas, CurrentRegimes(self.ledger))
        self._learning = Learning(self.ledger, self.schemas)

    def open(self, *presets: str) -> "Desk":
        """Register safe presets, both unless some are named."""
        for preset in presets or ("fast", "slow"):
            self.menu.register(self.key, preset, None, "desk")
        return self

    def decide(self, count: int) -> list[Decision]:
        """Decisions at volatilities of 0.1 to 0.3, in one transaction."""
        asked = [
            Question(key=self.key, actor="engine", features={"vol": vol}) for vol in self.rng.uniform(0.1, 0.3, count)
        ]
        return [answer for answer in self._deciding.decide(asked) if isinstance(answer, Decision)]

    def settle(self, decisions: list[Decision], actor: str = "engine", *, named: bool = True) -> list[Learnt]:
        """Report what they earned, in one transaction."""
        told = [
            Told(
                key=self.key,
                preset_id=each.preset_id,
                reward=self.earned(each.preset_id, each.context[1]) + self.noise * float(self.rng.normal()),
                actor=actor,
                config_id=each.config_id if named else None,
                event_id=None,
                features=None,
            )
            for each in decisions
        ]
        return [answer for answer in self._learning.learn(told) if isinstance(answer, Learnt)]

    def trade(self, count: int, at_once: int = 5) -> None:
        """Decide and settle, a few at a time."""
        for _ in range(count // at_once):
            self.settle(self.decide(at_once))
