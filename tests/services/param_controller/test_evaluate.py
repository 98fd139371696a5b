"""What would have been earned: estimates that hold the market's truth, and silence where the log cannot tell."""

from typing import Any

import pytest

from services.param_controller.service.review.evaluating import evaluation
from services.param_controller.service.review.views import EvaluateRequest, EvaluationView
from tests.problems import problem_of
from tests.services.param_controller.conftest import Api
from tests.services.param_controller.desk import BTC, Desk, changed
from tidewheel.contracts.errors import BadInput, NotFound
from tidewheel.ledger.open import Ledger

TRYING = changed(policy={"name": "epsilon_greedy", "epsilon": 0.5})


def evaluated(desk: Desk, target: dict[str, Any], **span: Any) -> EvaluationView:
    asked = {"strategy": BTC.strategy, "instrument": BTC.instrument, "target": target, **span}
    return evaluation(desk.ledger, desk.schemas, EvaluateRequest.model_validate(asked))


def test_a_preset_is_worth_what_the_market_pays_for_it(ledger: Ledger) -> None:
    """All three estimators hold the preset's true mean, and the gain over the log has its sign."""
    desk = Desk(ledger, TRYING, seed=3).open()
    desk.trade(160, at_once=16)
    desk.decide(3)
    for preset, truth in (("fast", 4.0), ("slow", 1.0)):
        found = evaluated(desk, {"preset_id": preset})
        assert found.supported and found.rows == 160 and found.left_out.waiting == 3
        for told in (found.ips, found.snips, found.dr):
            assert told is not None and told.low <= truth <= told.high
        assert found.over_log is not None and (found.over_log.value > 0) == (preset == "fast")


def test_another_policy_is_asked_in_the_place_of_the_one_that_was(ledger: Ledger) -> None:
    """Epsilon 1 is uniform and earns the mean of the presets; the log's own policy gains nothing over itself."""
    desk = Desk(ledger, TRYING, seed=3).open()
    desk.trade(160, at_once=16)

    uniform = evaluated(desk, {"policy": {"epsilon": 1.0}})
    assert uniform.dr is not None and uniform.dr.low <= 2.5 <= uniform.dr.high
    itself = evaluated(desk, {"policy": {}})
    assert itself.over_log is not None and itself.over_log.n == 160
    assert itself.ips is not None and itself.ips.ess == pytest.approx(160)
    greedy = evaluated(desk, {"policy": {"epsilon": 0.0}})
    assert greedy.over_log is not None and greedy.over_log.low > 0


def test_a_preset_without_support_says_so(ledger: Ledger) -> None:
    """No number is made up for a preset that was never or hardly served."""
    desk = Desk(ledger, TRYING).open()
    desk.trade(40)
    ledger.presets.register(BTC, "calm", {"lookback": 200, "stop": 2.0}, "desk")
    found = evaluated(desk, {"preset_id": "calm"})

    assert not found.supported and found.reason and found.dr is None and found.over_log is None
    assert found.left_out.no_chance == found.rows == 40 and found.share == 0.0
    with pytest.raises(NotFound, match="has no preset 'brisk'"):
        evaluated(desk, {"preset_id": "brisk"})


def test_only_outcomes_that_are_believed_count(ledger: Ledger) -> None:
    """Decisions outside of the span, of another context, or rolled back are left out, and counted."""
    desk = Desk(ledger, TRYING).open()
    desk.trade(20)
    middle = ledger.now() + 1
    while ledger.now() <= middle:
        pass
    desk.trade(20)
    assert evaluated(desk, {"preset_id": "fast"}, until=middle).rows == 20
    assert evaluated(desk, {"preset_id": "fast"}, since=str(middle)).rows == 20
    with pytest.raises(BadInput, match="is not before"):
        evaluated(desk, {"preset_id": "fast"}, since=middle, until=middle)

    ledger.posteriors.rollback(BTC, middle, "desk", "wrong unit")
    found = evaluated(desk, {"preset_id": "fast"})
    assert (found.rows, found.left_out.not_learnt) == (20, 20)
    rescaled = TRYING.model_dump(mode="json")["context"]
    rescaled[0]["scale"] = 0.5
    other = Desk(ledger, changed(context=rescaled))
    assert evaluated(other, {"preset_id": "fast"}).left_out.other_context == 40
    with pytest.raises(BadInput, match="learns without context"):
        evaluated(desk, {"policy": {"name": "thompson"}})


def test_the_route_answers_and_refuses(api: Api) -> None:
    """An estimate or a reason; two targets, none, an unknown pair or a senseless time are refused."""
    body = {"strategy": "breakout", "instrument": "BTC/USDT", "target": {"preset_id": "fast"}}
    found = api.client.post("/evaluate", json=body)
    assert found.status_code == 200 and found.json()["supported"] is False
    problem_of(api.client.post("/evaluate", json=body | {"instrument": "ETH/USDT"}), 404, "unknown_pair")
    problem_of(api.client.post("/evaluate", json=body | {"target": {"preset_id": "brisk"}}), 404, "unknown_preset")
    both = {"preset_id": "fast", "policy": {}}
    refused: list[dict[str, Any]] = [{"target": {}}, {"target": both}, {"since": "yesterday"}]
    for wrong in refused:
        problem_of(api.client.post("/evaluate", json=body | wrong), 422, "bad_input")
