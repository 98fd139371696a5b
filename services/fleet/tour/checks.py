"""What a tour holds the fleet to: each check is counted, and one that fails is told and remembered."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from services.fleet.display import Display


@dataclass
class Checks:
    """How many checks were made, and which failed."""

    display: Display
    made: int = 0
    violations: list[str] = field(default_factory=list)

    def that(self, what: str, holds: bool, seen: object = "") -> None:
        """One check; `seen` is told where it fails."""
        self.made += 1
        if not holds:
            self.violations.append(f"{what}; seen: {str(seen)[:300]}")
            self.display.note(f"VIOLATION: {self.violations[-1]}")

    def answered(self, what: str, answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
        """An answer has that status, and of a refusal that code; its JSON."""
        body: dict[str, Any] = answer.json()
        self.that(what, answer.status_code == status and (code is None or body.get("code") == code), answer.text)
        return body
