"""The command line with a planted bug: the predictor filters in the event loop."""

from collections.abc import Callable
from typing import Any

from services.fleet import cli
from services.predictor.api import predicting


async def at_once(work: Callable[..., Any], *given: Any, limiter: object = None) -> Any:
    """`run_sync` without a thread."""
    return work(*given)


if __name__ == "__main__":
    predicting.run_sync = at_once  # type: ignore[attr-defined, assignment]
    cli.main()
