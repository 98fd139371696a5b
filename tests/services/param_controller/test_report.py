"""The report of a pair: every figure held against the rows it comes from, and the routes that tell it."""

from collections import Counter

import pytest

from services.param_controller.service.review.reporting import report
from tests.problems import problem_of
from tests.services.param_controller.conftest import Api
from tests.services.param_controller.desk import BTC, Desk, changed
from tidewheel.contracts.errors import NotFound
from tidewheel.contracts.keys import PairKey
from tidewheel.contracts.states import OutcomeKind, Reason
from tidewheel.ledger.open import Ledger


def test_every_figure_is_that_of_the_rows(ledger: Ledger) -> None:
    """Pulls, kinds of outcomes, means, reasons, changes, keys and sums agree with a count by hand."""
    limits = {"hysteresis": 3.0, "changes_per_day": 8, "max_key_share": 0.9, "max_drawdown": 500.0}
    desk = Desk(ledger, changed(policy={"exploration": 8.0}, guardrails=limits), noise=6.0).open()
    desk.settle(desk.decide(20), actor="key:a")
    desk.settle(desk.decide(4), actor="key:b", named=False)
    desk.decide(6)
    told = report(ledger, desk.schemas, BTC)
    rows = list(ledger.decisions.log(BTC))

    assert (told.window.decisions, told.window.of) == (30, 30)
    assert told.reasons == Counter(each.decision.reason for each in rows)
    assert told.changes.made == sum(each.decision.changed for each in rows)
    assert told.changes.held_by_hysteresis == told.reasons.get(Reason.HELD_BY_HYSTERESIS, 0)
    for preset in told.presets:
        mine = [each for each in rows if each.decision.preset_id == preset.preset_id]
        outcomes = [each.outcome for each in mine if each.outcome is not None]
        assert preset.pulls.count == len(mine) and preset.pulls.share == len(mine) / 30
        assert preset.reported.count == sum(each.kind is OutcomeKind.REPORTED for each in outcomes)
        assert preset.inferred.count == sum(each.inferred for each in outcomes)
        assert preset.waiting.count == len(mine) - len(outcomes)
        rewards = [each.reward for each in outcomes]
        if rewards:
            assert preset.reward is not None and preset.reward.value == pytest.approx(sum(rewards) / len(rewards))
            assert told.course.presets[preset.preset_id][-1] == pytest.approx(sum(rewards))
    assert sum(each.inferred.count for each in told.presets) == 4
    by_key = {each.actor: each for each in told.keys}
    learnt = Counter(each.outcome.actor for each in rows if each.outcome is not None and each.outcome.learnt)
    assert {actor: each.learnt for actor, each in by_key.items() if each.learnt} == learnt
    assert by_key["key:a"].learnt + by_key["key:a"].left_out["key_share"] == 20
    total = sum(each.outcome.reward for each in rows if each.outcome is not None)
    assert told.course.total[-1] == pytest.approx(total)
    assert told.drawdown.realised == pytest.approx(total)
    assert told.drawdown.fall == told.drawdown.peak - told.drawdown.realised and told.drawdown.limit == 500.0


def test_what_is_believed_comes_from_the_posteriors(ledger: Ledger) -> None:
    """At the average context the better preset is expected to earn more, and is known better the more it was served."""
    desk = Desk(ledger, changed(policy={"exploration": 4.0})).open()
    desk.trade(60)
    told = report(ledger, desk.schemas, BTC)
    fast, slow = ({each.preset_id: each for each in told.presets}[name] for name in ("fast", "slow"))

    assert list(told.average_context) == ["vol", "trend"]
    assert fast.posterior is not None and slow.posterior is not None
    assert fast.posterior.mean == pytest.approx(4.0, abs=0.6) and fast.posterior.mean > slow.posterior.mean
    assert fast.posterior.outcomes == fast.reported.count > slow.reported.count
    assert fast.posterior.deviation == pytest.approx(4.0 * fast.posterior.width)
    assert fast.posterior.deviation < slow.posterior.deviation
    assert list(fast.posterior.coefficients) == ["constant", "vol", "trend"]
    assert told.regret.known and told.regret.against == "fast"


def test_only_the_newest_decisions_are_told_where_asked(ledger: Ledger) -> None:
    """A window tells its size; what is believed, and the sums, are still of everything."""
    desk = Desk(ledger).open()
    desk.trade(20)
    told, whole = report(ledger, desk.schemas, BTC, newest=5), report(ledger, desk.schemas, BTC)

    assert (told.window.decisions, told.window.of, sum(told.reasons.values())) == (5, 20, 5)
    assert (told.course.first, told.course.last) == (16, 20)
    assert told.drawdown == whole.drawdown


def test_a_menu_without_decisions_has_a_report(ledger: Ledger) -> None:
    """Nothing is made up: no means, no regret, and the prior as belief."""
    desk = Desk(ledger).open()
    told = report(ledger, desk.schemas, BTC)

    assert [each.reward for each in told.presets] == [None, None] and told.course.total == []
    assert not told.regret.known and "cannot be known" in str(told.regret.reason)
    with pytest.raises(NotFound):
        report(ledger, desk.schemas, PairKey("breakout", "ETH/USDT"))


def test_a_posterior_that_cannot_be_read_is_said_and_the_rest_is_told(ledger: Ledger) -> None:
    """Damage to one preset's sums leaves the report standing."""
    desk = Desk(ledger).open()
    desk.trade(10)
    with ledger._db.write() as connection:
        connection.exec_driver_sql("UPDATE posteriors SET state = substr(state, 1, 9)")
    told = report(ledger, desk.schemas, BTC)

    served = [each for each in told.presets if each.pulls.count]
    assert served and all(each.posterior is None and each.unusable for each in served)


def test_the_routes_tell_it(api: Api) -> None:
    """JSON and a page; an unknown pair is 404, an unknown format 422."""
    for _ in range(4):
        made = api.decide()
        assert api.learn(made["preset_id"], reward=2.0, config_id=made["config_id"]).status_code == 200
    found = api.client.get("/report/breakout/BTC%2FUSDT").json()
    assert found["window"]["decisions"] == 4 and found["instrument"] == "BTC/USDT"
    page = api.client.get(f"/report/{api.pair}?format=html&limit=2")
    assert page.headers["content-type"] == "text/html; charset=utf-8" and "2 of 4 decisions" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    problem_of(api.client.get("/report/breakout/ETH/USDT"), 404, "unknown_pair")
    problem_of(api.client.get(f"/report/{api.pair}?format=pdf"), 422, "bad_input")
    problem_of(api.client.get(f"/report/{api.pair}?limit=0"), 422, "bad_input")


def test_a_rollback_is_of_the_past(api: Api, ledger: Ledger) -> None:
    """What was learnt later is unlearnt and the report tells by whom it was told; a time to come is refused."""
    made = api.decide()
    before = ledger.now()
    while ledger.now() == before:
        pass
    api.learn(made["preset_id"], reward=2.0, config_id=made["config_id"])
    route = f"/posterior/rollback/{api.pair}"
    ahead = {"as_of": str(before + 3_600_000), "reason": "a slip"}
    assert "is to come" in problem_of(api.client.post(route, json=ahead), 422, "bad_input")["detail"]

    done = api.client.post(route, json={"as_of": str(before), "reason": "told in the wrong unit"})
    assert done.json() == {"dropped": 1, "kept": 0}
    told = api.client.get(f"/report/{api.pair}").json()
    assert [(each["learnt"], each["dropped"]) for each in told["keys"]] == [(0, 1)]
    assert all(each["posterior"]["outcomes"] == 0 for each in told["presets"])
