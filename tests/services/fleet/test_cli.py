"""The command line's promises."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from services.fleet.cli import cli, main
from services.fleet.roles.wiring import HTTP_ROLES
from tidewheel.contracts.roles import Role


def leaves(command: click.Command, name: str = "tidewheel") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            assert child is not None, each
            yield from leaves(child, f"{name} {each}")
    else:
        yield name, command


def test_help_imports_nothing_heavy() -> None:
    """`tidewheel --help` names every command and imports no library but click."""
    script = (
        "import sys\nfrom services.fleet.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'pydantic', 'sqlalchemy', 'fastapi', 'celery', 'httpx', 'numpy', 'psutil', 'rich', 'tidewheel.kit'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
    for name in (
        "up",
        "demo",
        "serve",
        "status",
        "ledger",
        "import",
        "doctor",
        "promote",
        "rollback",
        "keys",
        "settings",
        "openapi",
    ):
        assert f"\n  {name} " in done.stdout


def test_every_command_that_answers_has_json() -> None:
    """Each command takes `--json`, but for those that run until they are stopped."""
    lacking = {
        name
        for name, command in leaves(cli)
        if not any("--json" in parameter.opts for parameter in command.params)
        and not name.startswith("tidewheel serve ")
    }
    assert lacking == {"tidewheel up"}


@pytest.mark.parametrize("role", HTTP_ROLES)
def test_openapi_needs_no_ledger(role: Role, tmp_path: Path) -> None:
    """The document of a role is printed on a machine where nothing ever ran, and nothing is left there."""
    command = [sys.executable, "-m", "services.fleet.cli", "openapi", role]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    assert "/health" in json.loads(done.stdout)["paths"]
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_one_sentence_and_status_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad setting ends a command with its name and value, as text or as JSON, without a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTH_MODE", "sometimes")
    with pytest.raises(SystemExit) as ended:
        main(["ledger", "migrate"])
    assert ended.value.code == 1
    assert "AUTH_MODE=sometimes" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ledger", "migrate", "--json"])
    told = capsys.readouterr()
    assert json.loads(told.out)["code"] == "bad_setting"
    assert told.err == ""


@pytest.mark.parametrize("command", [["up"], ["ledger", "migrate"], ["demo"]])
def test_a_home_that_cannot_be_used_is_one_sentence(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where TIDEWHEEL_HOME is no folder a command names it, without a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTH_MODE", raising=False)
    (tmp_path / "home").write_text("not a folder")
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 1
    assert f"tidewheel: {tmp_path / 'home'}" in capsys.readouterr().err


@pytest.mark.parametrize("given", [["runs", "--limit", "-1"], ["keys", "create"], ["promote"], ["no-such-command"]])
def test_a_wrong_option_is_json_too(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json` a program finds one JSON document on standard output also when it called wrongly."""
    with pytest.raises(SystemExit) as ended:
        main([*given, "--json"])
    told = capsys.readouterr()
    assert ended.value.code == 2
    assert json.loads(told.out)["code"] == "usage"
    assert told.err == ""


def test_nothing_to_requeue_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that is no poison file is not answered as if files were freed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    for given in (["ledger", "migrate"], ["ledger", "requeue", "99", "run:7"]):
        with pytest.raises(SystemExit) as ended:
            main(given)
        assert ended.value.code == 0
    assert "Nothing to free: no attempt of hmm failed on 99, run:7." in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` tells the installed version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("tidewheel 0.")
