"""Our own commands, as a user gives them beside a running fleet."""

import subprocess

from services.fleet.story import Stage


def tidewheel(stage: Stage, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command of ours on the fleet's home."""
    command = stage.fleet.module("command", "services.fleet.cli", *arguments, ready=lambda: True)
    return subprocess.run(
        command.argv, env=dict(command.env), cwd=command.cwd, capture_output=True, text=True, check=False
    )
