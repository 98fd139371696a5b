"""A story's steps."""

from pathlib import Path

import pytest

from services.fleet.display import Lines
from services.fleet.story import Stage, Step, StepFailed, play


def test_a_failed_step_is_named(tmp_path: Path) -> None:
    """The demo ends at the first step that fails, with its title, its reason and where the logs are."""

    def act(stage: Stage) -> None:
        raise StepFailed("the tide is out")

    steps = (Step("wait for the tide", act), Step("never reached", lambda stage: pytest.fail("reached")))
    with pytest.raises(StepFailed, match=r"step 'wait for the tide' failed: the tide is out \(logs: .*logs\)"):
        play(tmp_path, Lines(), steps, (), {})
