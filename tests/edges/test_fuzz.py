"""Requests drawn from each app's own OpenAPI document, and beside it: every answer is one that it documents (R15).

40 cases an app here; `make fuzz` sets TIDEWHEEL_FUZZ_CASES for more.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import requests
import schemathesis
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    status_code_conformance,
)

from services.fleet.prove.apparatus.beside import served
from tests.edges.conftest import FACES, Standing
from tidewheel.contracts.roles import Role
from tidewheel.contracts.states import Scope

# The apps run in threads of this process, and may draw from `random` while a request is made up.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module inside strategies")

CASES = int(os.environ.get("TIDEWHEEL_FUZZ_CASES", "40"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]


def fuzz(address: str, headers: dict[str, str], cases: int) -> tuple[Counter[int], list[str]]:
    """Statuses of `cases` answers, half of them to requests that fit the document; and what was wrong, each once."""
    statuses: Counter[int] = Counter()
    wrong: dict[str, None] = {}
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    with requests.Session() as session:
        for mode in schemathesis.GenerationMode:

            @settings(
                max_examples=cases // 2,
                derandomize=True,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=document.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case[Any]) -> None:
                answer = case.call(base_url=address, session=session, headers=headers, timeout=60)
                statuses[answer.status_code] += 1
                try:
                    case.validate_response(answer, checks=CHECKS)
                except FailureGroup as group:
                    for failure in group.exceptions:
                        wrong.setdefault(f"{case.operation.label}: {failure} {answer.content[:300]!r}")

            ask()
    return statuses, list(wrong)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("role", FACES)
def test_every_answer_is_documented(standing: Standing, role: Role, report: Callable[[str], None]) -> None:
    """No 5xx, and status and content type are those of the document, whatever is sent."""
    statuses, wrong = fuzz(standing.address[role], standing.bearer(Scope.ADMIN), CASES)

    assert not wrong, "\n".join(wrong)
    assert statuses.total() >= CASES * 0.9
    told = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    report(f"fuzz {role}: {statuses.total()} requests ({told}), 0 undocumented answers")


def test_an_undocumented_answer_is_caught() -> None:
    """A route that breaks on some input, and one that answers in another type than it says, are each named."""
    app = FastAPI()

    @app.get("/square")
    def square(number: int) -> dict[str, int]:
        return {"root": 100 // (number % 2)}

    @app.get("/text")
    def text() -> Response:
        return PlainTextResponse("no JSON")

    with served(app) as address:
        _, wrong = fuzz(address, {}, 40)

    assert any("GET /square: Server error" in each for each in wrong)
    assert any("GET /text: Undocumented Content-Type" in each for each in wrong)
