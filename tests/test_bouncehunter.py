"""docs/bouncehunter.md: its curl lines and its program run as they are printed, one after the other."""

import re
import runpy
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from services.predictor.app import build
from services.predictor.settings import PredictorSettings
from tests.services.predictor.conftest import NOWHERE
from tests.services.predictor.hunting import training
from tests.test_registered_models import asked
from tests.tickers import market, stock
from tidewheel.kit.settings import load
from tidewheel.kit.web import create_app
from tidewheel.ledger.open import open_ledger

PAGE = (Path(__file__).parents[1] / "docs" / "bouncehunter.md").read_text()
(PROGRAM,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_the_page_runs_as_printed(
    tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line is answered 200 on a home that holds the tickers, and the program tells the entry that it made."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "data"
    (home / "ml").mkdir(parents=True)
    (home / "ml" / "manifest.sqlite").write_bytes(sqlite_template.read_bytes())
    ledger = open_ledger(f"sqlite:///{home / 'ml' / 'manifest.sqlite'}", home / "ml")
    stock(ledger, market().frames)
    (tmp_path / "page.py").write_text(PROGRAM)
    settings = load(PredictorSettings, tidewheel_home=home, redis_url=NOWHERE, auth_mode="dev")
    with training(ledger, home), TestClient(create_app(build(settings))) as client:
        answers = [(line, *asked(client, line)) for line in LINES]
    runpy.run_path(str(tmp_path / "page.py"))
    ledger.close()

    assert len(answers) > 10
    assert [(line, told) for line, status, told in answers if status != 200] == []
    assert re.search(r"^[0-9a-f]{64} \d+ dips$", capsys.readouterr().out, re.M)
    assert len(list((tmp_path / "model_cache").glob("bouncehunter_*"))) == 1
