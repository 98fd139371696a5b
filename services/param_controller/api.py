"""HTTP face of the param-controller, port 8002."""

import asyncio
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request, Response

from services.param_controller.schemas import (
    DecisionList,
    LearntAnswer,
    LoggedView,
    MetricAnswer,
    MetricReport,
    OutcomeReport,
    ParamAnswer,
    ParamQuery,
    PresetList,
    PresetView,
    RailsAnswer,
    RegisterPreset,
    RetirePreset,
    RollBack,
    RolledBackAnswer,
    SchemaList,
    SchemaView,
    SwitchScope,
    SwitchView,
)
from services.param_controller.service.deciding import Deciding, Question
from services.param_controller.service.group_commit import GroupCommit
from services.param_controller.service.learning import Learning, Told
from services.param_controller.service.presets import Menu
from services.param_controller.service.rails import Rails
from services.param_controller.service.review.evaluating import evaluation
from services.param_controller.service.review.page import CONTENT_SECURITY_POLICY, page
from services.param_controller.service.review.reporting import NEWEST
from services.param_controller.service.review.reporting import report as report_of
from services.param_controller.service.review.views import EvaluateRequest, EvaluationView, Report
from services.param_controller.service.schema_files import Schemas
from tidewheel.contracts.keys import ConfigId, PairKey
from tidewheel.contracts.states import Reason, Scope
from tidewheel.contracts.times import parse_time
from tidewheel.kit.auth import Actor, require
from tidewheel.kit.problems import problem
from tidewheel.ledger.open import Ledger

MayRead = Depends(require(Scope.READ))
Decider = Annotated[Actor, Depends(require(Scope.DECIDE))]
Teacher = Annotated[Actor, Depends(require(Scope.LEARN))]
Registrar = Annotated[Actor, Depends(require(Scope.PRESET))]
Admin = Annotated[Actor, Depends(require(Scope.ADMIN))]
_PAIR = "{strategy}/{instrument:path}"
_UNKNOWN = problem("unknown_pair", "No schema describes the strategy, or nothing was registered for the pair.")
_FEATURES: dict[str, Any] = {
    "parameters": [
        {
            "name": "features",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "schema": {"type": "object", "additionalProperties": {"type": "number"}},
            "description": "`features[vol]=0.3&features[hmm_trend]=0.7`, each in the schema's unit.",
            "example": {"vol": 0.3, "hmm_trend": 0.7},
        },
        {
            "name": "position",
            "in": "query",
            "schema": {"type": "string", "enum": ["new", "open"], "default": "new"},
            "description": "open: keep the parameters under which the position was opened; nothing is decided.",
        },
        {
            "name": "config_id",
            "in": "query",
            "schema": {"type": "string", "maxLength": 120},
            "description": "With position=open: the order's own; else the pair's newest open decision is meant.",
        },
    ]
}


def schema_router(schemas: Schemas) -> APIRouter:
    """`GET /schemas`: the menu that every preset must keep to."""
    routes = APIRouter(tags=["parameters"], dependencies=[MayRead])

    @routes.get("/schemas")
    def list_schemas() -> SchemaList:
        """Every strategy: its parameters and their bounds, safe presets, context, reward, guardrails and policy."""
        return SchemaList(schemas=[SchemaView.of(schema) for schema in schemas.all()])

    @routes.get("/schemas/{strategy}", responses={404: problem("unknown_strategy", "No schema describes it.")})
    def get_schema(strategy: str) -> SchemaView:
        """One strategy."""
        return SchemaView.of(schemas.get(strategy))

    return routes


def preset_router(menu: Menu) -> APIRouter:
    """Which parameter sets may be served. Instruments may hold slashes and colons, plain or encoded."""
    routes = APIRouter(tags=["parameters"])

    @routes.post(
        f"/preset/register/{_PAIR}",
        status_code=201,
        responses={
            200: {"model": PresetView, "description": "It was registered before, with the same params."},
            404: problem("unknown_strategy", "No schema describes the strategy."),
            409: problem("preset_differs", "The name stands for other params, or for a retired preset."),
            422: problem("out_of_bounds", "A parameter is unknown, missing or out of bounds; names it and the bound."),
        },
    )
    def register(
        strategy: str, instrument: str, body: RegisterPreset, actor: Registrar, response: Response
    ) -> PresetView:
        """Register a parameter set. Its content never changes; what is out of the schema's bounds is refused."""
        key = PairKey(strategy, instrument)
        preset, new = menu.register(key, body.preset_id, body.params, actor.name)
        response.status_code = 201 if new else 200
        return PresetView.of(preset, menu.forbidden(preset))

    @routes.post(f"/preset/retire/{_PAIR}", responses={404: _UNKNOWN})
    def retire(strategy: str, instrument: str, body: RetirePreset, actor: Registrar) -> PresetView:
        """Serve a preset no more. What was learnt of it stays, and its name is never used again."""
        key = PairKey(strategy, instrument)
        retired = menu.retire(key, body.preset_id, actor.name, body.reason)
        return PresetView.of(retired, menu.forbidden(retired))

    @routes.get(f"/preset/{_PAIR}", dependencies=[MayRead], responses={404: _UNKNOWN})
    def presets(strategy: str, instrument: str) -> PresetList:
        """The pair's presets, in the order of registration, retired ones included."""
        found = menu.of(PairKey(strategy, instrument))
        views = [PresetView.of(preset, menu.forbidden(preset)) for preset in found]
        return PresetList(strategy=strategy, instrument=instrument, presets=views)

    return routes


def decision_router(deciding: Deciding, learning: Learning, ledger: Ledger) -> APIRouter:
    """Ask before an order, report when it has settled."""
    routes = APIRouter(tags=["parameters"])
    turn = asyncio.Lock()
    decisions, lessons = GroupCommit(deciding.decide, turn), GroupCommit(learning.learn, turn)

    @routes.get(
        f"/param/{_PAIR}",
        openapi_extra=_FEATURES,
        responses={
            404: _UNKNOWN,
            409: problem(
                "no_live_preset",
                "All presets are retired or forbidden by now, or nothing was decided for the open position.",
            ),
            422: problem("bad_features", "A feature is unknown, missing or not a finite number; names it."),
        },
    )
    async def param(request: Request, strategy: str, instrument: str, actor: Decider) -> ParamAnswer:
        """Which parameters to use for a new position. Every answer is a decision: tag the order with its config_id."""
        key, query = PairKey(strategy, instrument), ParamQuery.of(request.scope["query_string"])
        if query.position_open:
            kept = await run_sync(deciding.standing_by, key, query.config_id)
            return ParamAnswer.of(kept, Reason.POSITION_OPEN)
        return ParamAnswer.of(await decisions.answer(Question(key=key, actor=actor.name, features=query.features)))

    @routes.post(
        f"/learn/outcome/{_PAIR}/{{preset_id}}",
        responses={
            404: problem("unknown_decision", "Nothing is known of the strategy, pair or decision, or it expired."),
            409: problem("another_reward", "The decision settled with another reward, or the event is another's."),
            422: problem("absurd_reward", "The reward is beyond the schema's `absurd`, or another value cannot be."),
        },
    )
    async def learn(
        strategy: str, instrument: str, preset_id: str, body: OutcomeReport, actor: Teacher
    ) -> LearntAnswer:
        """Report what came of a decision; a repeat changes nothing. It is durable when the answer comes."""
        told = Told(
            key=PairKey(strategy, instrument),
            preset_id=preset_id,
            reward=body.reward,
            actor=actor.name,
            config_id=None if body.config_id is None else ConfigId.parse(body.config_id),
            event_id=body.event_id,
            features=body.features,
        )
        return LearntAnswer.of_report(await lessons.answer(told), body.features)

    @routes.get(f"/decisions/{_PAIR}", dependencies=[MayRead], responses={404: _UNKNOWN})
    def list_decisions(
        strategy: str, instrument: str, limit: Annotated[int, Query(ge=1, le=500)] = 100
    ) -> DecisionList:
        """The pair's newest decisions and what came of them."""
        rows = ledger.decisions.list(PairKey(strategy, instrument), limit=limit)
        return DecisionList(decisions=[LoggedView.of_row(row.decision, row.outcome) for row in rows])

    return routes


def rails_router(rails: Rails, ledger: Ledger) -> APIRouter:
    """Guardrails: what is frozen, and by whom; and the way back."""
    routes = APIRouter(tags=["guardrails"])

    @routes.get("/guardrails", dependencies=[MayRead])
    def state() -> RailsAnswer:
        """What is frozen, how near each pair is to its limits, and who did what of late."""
        return rails.state()

    @routes.post("/guardrails/kill", responses={404: _UNKNOWN})
    def kill(body: SwitchScope, actor: Registrar) -> SwitchView:
        """Freeze a pair, or the fleet: no promotion and no change of parameters until an admin clears it."""
        return SwitchView.model_validate(rails.kill(body.pair(), actor.name, body.reason))

    @routes.post("/guardrails/clear", responses={404: problem("not_tripped", "That switch is not tripped.")})
    def clear(body: SwitchScope, actor: Admin) -> SwitchView:
        """Let a pair, or the fleet, go on; answers the switch that stood."""
        return SwitchView.model_validate(rails.clear(body.pair(), actor.name, body.reason))

    @routes.post("/guardrails/metric")
    def metric(body: MetricReport, actor: Registrar) -> MetricAnswer:
        """Tell a validation metric; one beyond a limit of TIDEWHEEL_KILL_METRICS freezes the fleet."""
        switch = rails.metric(body.name, body.value, actor.name)
        return MetricAnswer.of(rails.watching(body.name), switch)

    @routes.post(f"/posterior/rollback/{_PAIR}", responses={404: _UNKNOWN})
    def roll_back(strategy: str, instrument: str, body: RollBack, actor: Admin) -> RolledBackAnswer:
        """Unlearn what was learnt after a time; the log keeps it, marked."""
        key = PairKey(strategy, instrument)
        done = ledger.posteriors.rollback(key, parse_time(body.as_of), actor.name, body.reason)
        return RolledBackAnswer.model_validate(done)

    return routes


def review_router(ledger: Ledger, schemas: Schemas) -> APIRouter:
    """Looking back: what was served, what came of it, and what would have come of something else."""
    routes = APIRouter(tags=["review"], dependencies=[MayRead])
    one_at_a_time = CapacityLimiter(1)  # a long log keeps the interpreter busy, and decisions should not wait for two

    @routes.get(
        f"/report/{_PAIR}",
        response_model=Report,
        responses={200: {"content": {"text/html": {}}, "description": "As JSON, or as a page."}, 404: _UNKNOWN},
    )
    async def report(
        strategy: str,
        instrument: str,
        format: Annotated[Literal["json", "html"], Query(description="html: a page to read, with pictures.")] = "json",
        limit: Annotated[int, Query(ge=1, le=200_000, description="The newest so many decisions.")] = NEWEST,
    ) -> Response:
        """Presets with what was served and earned, why, what was held back, regret, drawdown, and what is believed."""

        def made() -> Response:
            told = report_of(ledger, schemas, PairKey(strategy, instrument), limit)
            if format == "html":
                headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
                return Response(page(told), media_type="text/html; charset=utf-8", headers=headers)
            return Response(told.model_dump_json(), media_type="application/json")

        return await run_sync(made, limiter=one_at_a_time)

    @routes.post(
        "/evaluate",
        responses={
            404: problem("unknown_preset", "Nothing is known of the strategy, the pair or the preset."),
            422: problem("other_context", "The policy learns in another context, or a value cannot be."),
        },
    )
    async def evaluate(body: EvaluateRequest) -> EvaluationView:
        """Tell from the log what a preset, or another policy, would have earned; or say why the log does not tell."""
        return await run_sync(evaluation, ledger, schemas, body, limiter=one_at_a_time)

    return routes
