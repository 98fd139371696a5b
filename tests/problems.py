"""What every refusal looks like over HTTP (RFC 9457)."""

from typing import Any

import httpx
import httpx2  # of which the test client is made


def problem_of(response: httpx.Response | httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The document of a problem, which must be of that status and code, and name its request."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code and document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["title"] and document["detail"]
    return document
