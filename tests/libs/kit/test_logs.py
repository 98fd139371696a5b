import json
import logging
from typing import Any

import pytest

from tidewheel.kit import logs
from tidewheel.kit.settings import Settings, load


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_are_events_of_a_named_process(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one JSON event that says which process wrote it; foreign loggers come out alike."""
    logs.configure(load(Settings, instance="desk-1"), role="desk")
    logs.logger("x").info("sealed", bars=60)
    logging.getLogger("uvicorn.error").warning("odd %s", "thing")
    ours, foreign = written(capsys)
    assert ours["event"] == "sealed" and ours["bars"] == 60 and ours["level"] == "info"
    assert ours["role"] == "desk" and ours["instance"] == "desk-1"
    assert foreign["event"] == "odd thing" and foreign["role"] == "desk"


def test_secrets_never_reach_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Passwords in addresses, keys and signatures are masked in texts, structures and tracebacks."""
    logs.configure(load(Settings))
    log = logs.logger("x")
    log.info("opened", dsn="postgresql://tw:hunter2@db/tw", sent={"key": ["twk_ab12_hunter2"]})
    logging.getLogger("y").error("GET https://x/y?apiKey=hunter2&signature=hunter2")
    try:
        raise RuntimeError("no answer from redis://:hunter2@cache")
    except RuntimeError:
        log.exception("failed")
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "postgresql://tw:***@db/tw" in text and "twk_ab12_***" in text and "redis://:***@cache" in text


def test_level_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """LOG_LEVEL=warning drops what is less severe."""
    logs.configure(load(Settings, log_level="warning"))
    logs.logger("x").info("quiet")
    logs.logger("x").warning("loud")
    assert [line["event"] for line in written(capsys)] == ["loud"]
