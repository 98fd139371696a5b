"""docs/registered-models.md: its program and its curl lines run as they are printed, one after the other."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.predictor.app import build
from services.predictor.settings import PredictorSettings
from tests.services.predictor.conftest import BTC, NOWHERE, bars, stored
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import open_ledger

PAGE = (Path(__file__).parents[1] / "docs" / "registered-models.md").read_text()
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def asked(client: TestClient, line: str) -> tuple[int, dict[str, object]]:
    """What a curl line would be answered."""
    words = shlex.split(line)
    options = {words[at]: words[at + 1] for at in range(len(words)) if words[at] in ("-X", "-H", "-d")}
    (address,) = [word for word in words[1:] if word not in {*options, *options.values()}]
    header, _, value = options.get("-H", "accept: */*").partition(": ")
    path = address.removeprefix("localhost:8000")
    answer = client.request(options.get("-X", "GET"), path, content=options.get("-d"), headers={header: value})
    return answer.status_code, answer.json()


def test_the_page_runs_as_printed(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained by the page's program on the ledger of a home, registered, asked, saved, listed, named."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "data"
    (home / "ml").mkdir(parents=True)
    (home / "ml" / "manifest.sqlite").write_bytes(sqlite_template.read_bytes())
    ledger = open_ledger(f"sqlite:///{home / 'ml' / 'manifest.sqlite'}", home / "ml")
    stored(ledger, BTC, bars(150 * 60))
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    settings = load(PredictorSettings, tidewheel_home=home, redis_url=NOWHERE, auth_mode="dev")
    with TestClient(create_app(build(settings))) as client:
        answers = [asked(client, line) for line in LINES if "VERSION" not in line]
        ((version, *_),) = [[each["version"] for each in answers[-1][1]["versions"]]]  # type: ignore[attr-defined]
        answers += [asked(client, line.replace("VERSION", version)) for line in LINES if "VERSION" in line]
    saved = ledger.predictions.latest("my_model")
    ledger.close()

    assert [status for status, _ in answers] == [201, *[200] * (len(LINES) - 1)], answers
    assert [(each.model_version, each.prediction_horizon) for each in saved] == [(version, 3)]
    assert abs(saved[0].predicted_value / saved[0].current_price - 1) < 0.05
