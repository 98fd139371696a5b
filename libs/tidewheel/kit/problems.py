"""Errors as RFC 9457 documents: `type, title, status, detail, code, request_id`, and members of the error's own."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from tidewheel.contracts.errors import TidewheelError
from tidewheel.kit.logs import request_id
from tidewheel.kit.masks import mask_secrets

MEDIA_TYPE = "application/problem+json"
_RENAMED = {413: "Content Too Large", 422: "Unprocessable Content"}  # RFC 9110's; Python before 3.13 has older ones


class Problem(BaseModel):
    """An answer to a request that could not be met."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:tidewheel:problem:<code>`.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened, with which value, and what to do.")
    code: str = Field(description="Stable name of the kind.")
    request_id: str = Field("", description="Names this request in the logs.")


class ProblemResponse(JSONResponse):
    """A problem document."""

    media_type = MEDIA_TYPE


def problem_response(
    status: int, code: str, title: str, detail: str, headers: Mapping[str, str] | None = None, **extra: Any
) -> ProblemResponse:
    """The document as an answer; `extra` adds members."""
    kind = f"urn:tidewheel:problem:{code}"
    document = Problem(
        type=kind, title=title, status=status, detail=mask_secrets(detail), code=code, request_id=request_id(), **extra
    )
    return ProblemResponse(document.model_dump(mode="json"), status_code=status, headers=dict(headers or {}))


def http_problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **extra: Any) -> ProblemResponse:
    """A problem that HTTP itself names, such as 404 or 413; its code is the phrase in snake case."""
    phrase = _RENAMED.get(status) or HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return problem_response(status, code, phrase, detail, headers, **extra)


def error_response(error: TidewheelError) -> ProblemResponse:
    """The document of one of our errors."""
    headers = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="tidewheel"'
    if "retry_after" in error.extra:
        headers["Retry-After"] = str(error.extra["retry_after"])
    own = {name: value for name, value in error.extra.items() if name not in Problem.model_fields}
    return problem_response(error.status, error.code, error.title, error.detail, headers, **own)


def problem(code: str, description: str | None = None) -> dict[str, Any]:
    """The OpenAPI entry of a problem that a route may answer: `responses={409: problem("lease_taken")}`."""
    return {
        "description": description or code,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": {"type": f"urn:tidewheel:problem:{code}", "code": code, "detail": description or code},
            }
        },
    }
