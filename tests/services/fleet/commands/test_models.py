"""`tidewheel models trust` as an operator meets it."""

import io
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from click.testing import CliRunner

from services.fleet.commands.models import models
from tests.libs.ledger.registry.registering import new_model
from tests.libs.registry.models import forest, rows
from tidewheel.contracts.errors import NotFound
from tidewheel.contracts.states import ModelFormat
from tidewheel.ledger.open import migrate, open_ledger
from tidewheel.registry.files import TrainedModels, sha256
from tidewheel.registry.formats import skops


def test_a_trusted_file_is_converted_once_and_served_as_skops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path or by digest; the skops file answers as the joblib file would, and all versions of the file get it."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    address, data = str(tmp_path / "ml" / "manifest.sqlite"), tmp_path / "ml"
    migrate(address, data)
    written = io.BytesIO()
    joblib.dump(forest(), written)
    digest = sha256(written.getvalue())
    folder = tmp_path / "trained_models"
    folder.mkdir()
    (folder / "forest.joblib").write_bytes(written.getvalue())
    untrusted: dict[str, Any] = {
        "format": ModelFormat.JOBLIB,
        "trusted": False,
        "outputs": None,
        "content_digest": digest,
    }
    with pytest.raises(NotFound, match="register it first"):
        CliRunner().invoke(models, ["trust", digest], catch_exceptions=False)
    ledger = open_ledger(f"sqlite:///{address}", data)
    ledger.registry.register(new_model(1, file_path="forest.joblib", **untrusted), "desk")

    first = CliRunner().invoke(models, ["trust", "forest.joblib", "--json"], catch_exceptions=False)
    ledger.registry.register(new_model(2, file_path="forest.joblib", **untrusted), "desk")
    again = CliRunner().invoke(models, ["trust", digest, "--json"], catch_exceptions=False)

    assert [row["serves"] for row in json.loads(first.stdout)] == ["forest.skops"]
    assert len(json.loads(again.stdout)) == 2
    found = ledger.registry.of_content(digest)
    ledger.close()
    assert [(each.trusted, each.converted_path, each.outputs) for each in found] == [(True, "forest.skops", 1)] * 2
    content = TrainedModels(folder).read_registered("forest.skops", str(found[0].converted_digest))
    assert np.array_equal(skops.load(content).predict(rows())[:, 0], forest().predict(rows()))
