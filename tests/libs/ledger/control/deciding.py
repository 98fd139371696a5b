"""Questions and reports as a controller would put them, made short."""

from collections.abc import Callable

from sqlalchemy import update

from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.errors import PosteriorUnusable, TidewheelError
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import PolicyName, Reason
from tidewheel.ledger.control.records import Asked, Choice, Decision, Learnt, Report, Rules, Standing
from tidewheel.ledger.control.tables import decisions
from tidewheel.ledger.open import Ledger

BTC, ETH = PairKey("momentum", "BTC/USDT"), PairKey("momentum", "ETH/USDT")
ALIKE = PairKey("trend", "BTC/USDT")  #: another strategy on the same instrument
FAST, SLOW = {"lookback": 5, "stop": 1.5}, {"lookback": 50, "stop": 3.0}
SIGNATURE = "trend-and-volatility"
MINUTE = 60_000
RULES = Rules(clip=(-10.0, 10.0), default=-1.0, half_life_ms=None, max_key_share=1.0, max_drawdown=None)


def menu(ledger: Ledger, *keys: PairKey) -> Ledger:
    """Presets `fast` and `slow` of the pairs, each pair's with params of its own."""
    for key in keys or (BTC,):
        own = {} if key == BTC else {"of": str(key)}
        ledger.presets.register(key, "fast", FAST | own, "desk")
        ledger.presets.register(key, "slow", SLOW | own, "desk")
    return ledger


def choice(
    preset: str = "fast", context: tuple[float, ...] = (1.0, 0.5), wait: int = MINUTE, reason: Reason = Reason.EXPLORED
) -> Choice:
    """A preset, picked with the probability of three in four, or one in four."""
    return Choice(
        preset_id=preset,
        reason=reason,
        context=context,
        features_used={"trend": {"value": 0.5, "source": "request"}},
        propensities={"fast": 0.75, "slow": 0.25} if preset in ("fast", "slow") else {preset: 1.0},
        policy=PolicyName.LINTS,
        policy_version="lints-1a2b3c4d",
        settle_within_ms=wait,
    )


def asked(
    key: PairKey = BTC,
    choose: Callable[[Standing], Choice] | Choice | str = "fast",
    actor: str = "engine",
    signature: str = SIGNATURE,
) -> Asked:
    """A question whose answer is the preset, the choice, or what is made of the standing."""
    if isinstance(choose, str):
        choose = choice(choose)
    if isinstance(choose, Choice):
        made = choose
        return Asked(key=key, signature=signature, actor=actor, choose=lambda _: made)
    return Asked(key=key, signature=signature, actor=actor, choose=choose)


def decided(ledger: Ledger, *questions: Asked) -> list[Decision]:
    """The answers, all of them decisions."""
    answers = ledger.decisions.decide(questions)
    for answer in answers:
        if isinstance(answer, TidewheelError):
            raise answer
    return [each for each in answers if isinstance(each, Decision)]


def decide(ledger: Ledger, question: Asked | None = None) -> Decision:
    """One decision."""
    (made,) = decided(ledger, question or asked())
    return made


def report(
    decision: Decision | None = None,
    reward: float = 1.0,
    *,
    key: PairKey = BTC,
    preset: str = "fast",
    event: str | None = None,
    actor: str = "engine",
    rules: Rules = RULES,
) -> Report:
    """What came of a decision; without one, of the newest open one or the event's."""
    config: ConfigId | None = None
    if decision is not None:
        key, preset, config = decision.key, decision.preset_id, decision.config_id
    return Report(key=key, preset_id=preset, reward=reward, actor=actor, rules=rules, config_id=config, event_id=event)


def learn(ledger: Ledger, told: Report) -> Learnt:
    """One outcome, learnt."""
    (answer,) = ledger.outcomes.learn([told])
    if isinstance(answer, TidewheelError):
        raise answer
    return answer


def standing(ledger: Ledger, key: PairKey = BTC, signature: str = SIGNATURE) -> Standing:
    """What a choice would see now; nothing is decided."""
    seen: list[Standing] = []

    def look(shown: Standing) -> Choice:
        seen.append(shown)
        raise TidewheelError("only looking")

    ledger.decisions.decide([asked(key, look, signature=signature)])
    return seen[0]


def expire(ledger: Ledger, *ids: int) -> None:
    """Let the decisions' time be over; all where none is named."""
    with ledger._db.write() as connection:
        mine = decisions.c.id.in_(ids) if ids else decisions.c.id.is_not(None)
        connection.execute(update(decisions).where(mine).values(expires_at=ledger.now() - 1))


def stored(ledger: Ledger, key: PairKey = BTC) -> dict[tuple[str, str], Posterior]:
    """What is stored of a pair's learning and can be read."""
    return {
        place: found for place, found in ledger.posteriors.of(key).items() if not isinstance(found, PosteriorUnusable)
    }
