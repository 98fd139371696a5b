"""What holds whatever the policy would like."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from services.fleet.prove.apparatus.beside import served
from services.param_controller.app import build
from services.param_controller.service.deciding import choice
from tests.problems import problem_of
from tests.services.param_controller.asked import BREAKOUT, SCHEMA
from tests.services.param_controller.conftest import Api, Make
from tidewheel.bandits.context import encode
from tidewheel.bandits.posterior import Posterior
from tidewheel.contracts.errors import BadSetting, Conflict, PosteriorUnusable
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import Reason
from tidewheel.contracts.strategies import StrategySchema
from tidewheel.kit.web import create_app
from tidewheel.ledger.control.records import Choice, KillSwitch, Preset, Standing

BTC = PairKey("breakout", "BTC/USDT")
CONTEXT = encode(BREAKOUT, {"vol": 0.2}, {})
FROZEN = KillSwitch(scope="fleet", tripped_at=1, tripped_by="desk", reason="x", cause="hand")


def preset(name: str, **params: float) -> Preset:
    return Preset(
        key=BTC, preset_id=name, params={"lookback": 20, "stop": 1.5} | params, digest=name, created_at=0,
        created_by="desk", retired_at=None, retired_by=None, retired_reason=None,
    )  # fmt: skip


#: the first breaks the schema's bounds, as after a change of its file
WILD = (preset("fast", lookback=9), preset("slow"))


def taught(**rewards: float) -> dict[tuple[str, str], Posterior | PosteriorUnusable]:
    """A hundred outcomes of each preset in the present context."""
    learned: dict[tuple[str, str], Posterior | PosteriorUnusable] = {}
    for name, reward in rewards.items():
        posterior = Posterior.empty(3)
        for at in range(100):
            posterior = posterior.learn(CONTEXT.x, reward, at, None)
        learned[name, BREAKOUT.context_signature] = posterior
    return learned


def chosen(schema: StrategySchema = BREAKOUT, **changes: Any) -> Choice:
    """What is chosen where `slow`, then `fast` are live and `slow` pays, with that standing changed."""
    values: dict[str, Any] = {
        "key": BTC, "number": 1, "now": 1_000, "day": 0, "changes": 0, "incumbent": None,
        "presets": (preset("fast"), preset("slow")), "learnt": 0, "frozen": None,
        "signature": BREAKOUT.context_signature, "learned": taught(slow=10.0, fast=0.0),
    }  # fmt: skip
    return choice(schema, CONTEXT, {}, Standing(**values | changes))


def with_(**members: Any) -> StrategySchema:
    """The strategy with some members' fields replaced."""
    whole = BREAKOUT.model_dump()
    return StrategySchema.model_validate(whole | {name: whole[name] | fields for name, fields in members.items()})


@pytest.mark.parametrize(
    ("schema", "standing", "expected"),
    [
        (BREAKOUT, {}, ("slow", Reason.EXPLOITED)),
        (BREAKOUT, {"incumbent": preset("fast")}, ("slow", Reason.EXPLOITED)),
        (BREAKOUT, {"frozen": FROZEN, "incumbent": preset("fast")}, ("fast", Reason.KILL_SWITCH)),
        (BREAKOUT, {"frozen": FROZEN}, ("slow", Reason.KILL_SWITCH)),
        (BREAKOUT, {"frozen": FROZEN, "incumbent": preset("gone")}, ("slow", Reason.KILL_SWITCH)),
        (BREAKOUT, {"frozen": FROZEN, "presets": (preset("fast"),)}, ("fast", Reason.KILL_SWITCH)),
        (BREAKOUT, {"changes": 999, "incumbent": preset("fast")}, ("slow", Reason.EXPLOITED)),
        (BREAKOUT, {"changes": 1000, "incumbent": preset("fast")}, ("fast", Reason.DAILY_LIMIT)),
        (BREAKOUT, {"changes": 1000, "incumbent": preset("gone")}, ("slow", Reason.EXPLOITED)),
        (BREAKOUT, {"changes": 1000, "frozen": FROZEN, "incumbent": preset("fast")}, ("fast", Reason.KILL_SWITCH)),
        (with_(guardrails={"hysteresis": 30}), {"incumbent": preset("fast")}, ("fast", Reason.HELD_BY_HYSTERESIS)),
        (with_(guardrails={"hysteresis": 30}), {"incumbent": preset("slow")}, ("slow", Reason.EXPLOITED)),
        (with_(guardrails={"hysteresis": 30}), {"incumbent": preset("gone")}, ("slow", Reason.EXPLOITED)),
        (with_(policy={"name": "fixed"}), {"learned": taught(fast=10.0)}, ("slow", Reason.FIXED)),
        (with_(policy={"name": "epsilon_greedy", "epsilon": 0}), {}, ("slow", Reason.EXPLOITED)),
        (BREAKOUT, {"learned": {("slow", BREAKOUT.context_signature): PosteriorUnusable("damaged")},
                    "presets": (preset("fast"), preset("slow"))}, ("slow", Reason.POSTERIOR_UNUSABLE)),
        (with_(guardrails={"hysteresis": 30}), {"frozen": FROZEN, "incumbent": preset("fast")},
         ("fast", Reason.KILL_SWITCH)),
        (BREAKOUT, {"presets": (preset("fast"), preset("slow", stop=5.1))}, ("fast", Reason.EXPLOITED)),
        (BREAKOUT, {"presets": WILD, "changes": 1000, "incumbent": WILD[0]}, ("slow", Reason.EXPLOITED)),
        (BREAKOUT, {"presets": WILD, "frozen": FROZEN, "incumbent": WILD[0]}, ("slow", Reason.KILL_SWITCH)),
        (with_(policy={"name": "fixed"}), {"presets": (*WILD[:1], preset("mid"))}, ("mid", Reason.FIXED)),
    ],
)  # fmt: skip
def test_guardrails_come_in_order(
    schema: StrategySchema, standing: dict[str, Any], expected: tuple[str, Reason]
) -> None:
    """The kill switch, then the day's limit, then the policy with hysteresis.

    A preset that is retired, or that the schema forbids by now, is neither held nor picked.
    """
    found = chosen(schema, **standing)
    assert (found.preset_id, found.reason) == expected
    if found.reason in (Reason.KILL_SWITCH, Reason.DAILY_LIMIT, Reason.POSTERIOR_UNUSABLE):
        assert found.propensities == {found.preset_id: 1.0}
    else:
        assert sum(found.propensities.values()) == pytest.approx(1.0)
        allowed = {each.preset_id for each in standing.get("presets", ()) if BREAKOUT.forbids(each.params) is None}
        assert set(found.propensities) == (allowed or {"fast", "slow"})


def test_exploring_is_told_apart() -> None:
    """Of presets that are nearly alike the other one is tried too, and counts as explored."""
    found = [chosen(number=number, learned=taught(slow=0.1, fast=0.0)) for number in range(1, 40)]
    reasons = {(each.preset_id, each.reason) for each in found}
    assert reasons == {("slow", Reason.EXPLOITED), ("fast", Reason.EXPLORED)}


def test_a_decision_can_be_drawn_again() -> None:
    """Seed, pair and number decide the dice: the same standing gives the same choice."""
    first = [chosen(number=number, learned={}).preset_id for number in range(1, 30)]
    assert [chosen(number=number, learned={}).preset_id for number in range(1, 30)] == first
    other = with_(policy={"seed": 8})
    assert [chosen(other, number=number, learned={}).preset_id for number in range(1, 30)] != first


def test_no_live_preset_is_a_conflict() -> None:
    """Nothing is made up where everything was retired."""
    with pytest.raises(Conflict) as refused:
        chosen(presets=())
    assert refused.value.code == "no_live_preset"


def test_bounds_that_are_narrowed_hold_for_what_was_registered_before(
    settings: Make, api: Api, schemas_dir: Path
) -> None:
    """A preset outside the present bounds is served no more, and the log and the menu say why; retiring it works.

    An open position keeps it: it was entered with that.
    """
    while (opened := api.decide())["preset_id"] != "fast":
        pass
    (schemas_dir / "breakout.yaml").write_text(
        SCHEMA.replace("min: 10,", "min: 21,").replace("lookback: 20,", "lookback: 30,")
    )
    told = "parameter lookback = 20 is outside 21 to 240 bars"
    with structlog.testing.capture_logs() as logs:
        narrowed = build(settings())
    assert [(each["preset_id"], each["detail"]) for each in logs if each["event"] == "preset_forbidden"] == [
        ("fast", told)
    ]
    with served(create_app(narrowed)) as url, httpx.Client(base_url=url, timeout=60) as client:
        after = Api(client)
        decisions = [after.decide() for _ in range(8)]
        assert {(each["preset_id"], each["propensity"]) for each in decisions} == {("slow", 1.0)}
        assert decisions[0]["policy_version"] != opened["policy_version"]
        kept = after.decide(f"position=open&config_id={opened['config_id']}")
        assert (kept["preset_id"], kept["params"]["lookback"]) == ("fast", 20)
        menu = {each["preset_id"]: each["forbidden"] for each in client.get(f"/preset/{api.pair}").json()["presets"]}
        assert menu == {"fast": told, "slow": None}
        for preset, why in (("slow", f"fast is forbidden by the schema: {told}"), ("fast", "is retired")):
            body = {"preset_id": preset, "reason": "x"}
            assert client.post(f"/preset/retire/{api.pair}", json=body).status_code == 200
            assert why in problem_of(after.ask(), 409, "no_live_preset")["detail"]


def test_an_open_position_keeps_its_preset(api: Api) -> None:
    """position=open answers the open decision's own, and decides nothing; it holds under a kill switch as well."""
    problem_of(api.ask("position=open"), 409, "no_decision")
    first = api.decide()
    api.client.post(f"/preset/retire/{api.pair}", json={"preset_id": first["preset_id"], "reason": "x"})
    second = api.decide()
    assert second["preset_id"] != first["preset_id"] and second["changed"]
    kept = api.decide("position=open")
    assert (kept["config_id"], kept["reason"], kept["changed"]) == (second["config_id"], "position_open", False)
    assert api.client.post("/guardrails/kill", json={"reason": "drill"}).status_code == 200
    named = api.decide(f"position=open&config_id={first['config_id']}")
    assert (named["config_id"], named["params"]) == (first["config_id"], first["params"])
    problem_of(api.ask("position=open&config_id=999:fast"), 404, "unknown_decision")
    api.register("fast", None, pair="breakout/ETH/USDT")
    elsewhere = api.ask(f"position=open&config_id={first['config_id']}", pair="breakout/ETH/USDT")
    problem_of(elsewhere, 404, "unknown_decision")
    api.learn(second["preset_id"], reward=1, config_id=second["config_id"])
    assert api.decide("position=open")["config_id"] == first["config_id"], "the one that still waits"
    assert len(api.client.get(f"/decisions/{api.pair}").json()["decisions"]) == 2


@pytest.fixture
def strict(schemas_dir: Path) -> None:
    """The strategy with one change a day, a drawdown limit and a share of a key."""
    rails = "guardrails: {changes_per_day: 1, max_drawdown: 100, max_key_share: 0.9}"
    (schemas_dir / "breakout.yaml").write_text(SCHEMA.replace("guardrails: {changes_per_day: 1000}", rails))


@pytest.mark.usefixtures("strict")
def test_a_drawdown_freezes_the_pair_until_an_admin_clears_it(settings: Make, api: Api) -> None:
    """The outcome that breaks the limit says so, the next decision holds, a restart changes nothing, a reason does."""
    first = api.decide()
    answer = api.learn(first["preset_id"], reward=-101, config_id=first["config_id"]).json()
    assert answer["kill_switch"]["scope"] == "breakout/BTC/USDT" and answer["kill_switch"]["cause"] == "drawdown"
    held = api.decide()
    assert (held["preset_id"], held["reason"], held["propensity"]) == (first["preset_id"], "kill_switch", 1.0)
    with served(create_app(build(settings()))) as url, httpx.Client(base_url=url, timeout=60) as client:
        again = Api(client)
        assert again.decide()["reason"] == "kill_switch"
        state = client.get("/guardrails").json()
        assert [switch["scope"] for switch in state["kill_switches"]] == ["breakout/BTC/USDT"]
        (pair,) = state["pairs"]
        assert pair["frozen"] and pair["drawdown"] == 101 and pair["changes_per_day"] == 1
        assert state["audit"][0]["action"] == "switch.trip"
        scope = {"strategy": "breakout", "instrument": "BTC/USDT"}
        problem_of(client.post("/guardrails/clear", json=scope), 422, "bad_input")
        problem_of(client.post("/guardrails/clear", json={"reason": "all"}), 404, "not_tripped")
        problem_of(client.post("/guardrails/clear", json={"strategy": "breakout", "reason": "x"}), 422, "bad_input")
        cleared = client.post("/guardrails/clear", json=scope | {"reason": "looked into it"})
        assert cleared.status_code == 200
        assert again.decide()["reason"] != "kill_switch"
        assert client.get("/guardrails").json()["pairs"][0]["drawdown"] == 0


def test_the_fleet_is_frozen_by_hand_and_by_a_metric(settings: Make, api: Api) -> None:
    """Every pair holds, whoever trips it; a metric within its limit, or that nobody watches, trips nothing."""
    api.register("fast", None, pair="breakout/ETH/USDT")
    switch = api.client.post("/guardrails/kill", json={"reason": "news"}).json()
    assert (switch["scope"], switch["cause"], switch["reason"]) == ("fleet", "hand", "news")
    assert {api.ask(pair=f"breakout/{pair}/USDT").json()["reason"] for pair in ("BTC", "ETH")} == {"kill_switch"}
    again = api.client.post("/guardrails/kill", json={"reason": "more news"}).json()
    assert again == switch, "a latched switch stays as it was tripped"
    api.client.post("/guardrails/clear", json={"reason": "over"})
    watched = settings(kill_metrics=("champion_score<-1.5", "slippage>2"))
    with served(create_app(build(watched))) as url, httpx.Client(base_url=url, timeout=60) as client:

        def tell(name: str, value: float) -> dict[str, Any]:
            answer = client.post("/guardrails/metric", json={"name": name, "value": value})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        assert tell("champion_score", -1.5) == {"limits": ["champion_score<-1.5"], "kill_switch": None}
        assert tell("other", -9) == {"limits": [], "kill_switch": None}
        assert tell("slippage", 2)["kill_switch"] is None
        tripped = tell("champion_score", -1.6)["kill_switch"]
        assert tripped["reason"] == "champion_score is -1.6, and champion_score<-1.5 freezes the fleet"
        assert client.get("/guardrails").json()["kill_metrics"] == ["champion_score<-1.5", "slippage>2"]
    assert api.decide()["reason"] == "kill_switch"


def test_a_posterior_goes_back(api: Api) -> None:
    """What was learnt after a time is unlearnt; the log keeps it, marked."""
    for _ in range(3):
        decision = api.decide()
        api.learn(decision["preset_id"], reward=1, config_id=decision["config_id"])
    path = f"/posterior/rollback/{api.pair}"
    done = api.client.post(path, json={"as_of": "2020-01-01T00:00Z", "reason": "lies"})
    assert done.json() == {"dropped": 3, "kept": 0}
    logged = api.client.get(f"/decisions/{api.pair}").json()["decisions"]
    assert all(each["outcome"]["dropped_at"] for each in logged)
    problem_of(api.client.post(path, json={"as_of": "yesterday", "reason": "lies"}), 422, "bad_input")


def test_a_limit_is_refused_where_it_cannot_be_meant(settings: Make) -> None:
    """TIDEWHEEL_KILL_METRICS stops the start with a sentence."""
    for text in ("champion_score", "champion_score<low", "Champion<1", "a<nan", "a=1"):
        with pytest.raises(BadSetting, match="not of the form name<number"):
            settings(kill_metrics=text)
    assert settings(kill_metrics=" champion_score < -1.50 ,b>1e3").kill_metrics == ("champion_score<-1.5", "b>1000")
