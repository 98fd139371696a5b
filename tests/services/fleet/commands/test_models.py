"""`tidewheel models trust` as an operator meets it; what it converts is tried in tests/libs/registry/test_trust.py."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from services.fleet.commands.models import models
from tests.libs.ledger.registry.registering import new_model
from tidewheel.contracts.errors import Conflict, NotFound
from tidewheel.contracts.states import ModelFormat
from tidewheel.ledger.open import migrate, open_ledger
from tidewheel.registry.files import sha256


def test_a_file_is_converted_once_for_all_versions_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path or by digest: a version that is registered later gets the conversion that is there, and none other."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    address, data = str(tmp_path / "ml" / "manifest.sqlite"), tmp_path / "ml"
    migrate(address, data)
    folder, pickled, converted = tmp_path / "trained_models", b"no pickle: it is not opened again", b"what came of it"
    folder.mkdir()
    (folder / "forest.joblib").write_bytes(pickled)
    (folder / "forest.skops").write_bytes(converted)
    digest = sha256(pickled)
    untrusted: dict[str, Any] = {
        "format": ModelFormat.JOBLIB,
        "trusted": False,
        "outputs": None,
        "content_digest": digest,
    }
    with pytest.raises(NotFound, match=r"neither a file below .*trained_models nor a whole sha256"):
        CliRunner().invoke(models, ["trust", "data/trained_models/forest.joblib"], catch_exceptions=False)
    with pytest.raises(NotFound, match="register it first"):
        CliRunner().invoke(models, ["trust", digest], catch_exceptions=False)
    ledger = open_ledger(f"sqlite:///{address}", data)
    ledger.registry.register(new_model(1, file_path="forest.joblib", **untrusted), "desk")
    with pytest.raises(Conflict, match="not written over"):
        CliRunner().invoke(models, ["trust", digest], catch_exceptions=False)
    ledger.registry.trust(digest, "forest.skops", sha256(converted), 1, "desk")
    for number, which in ((2, "forest.joblib"), (3, digest)):
        ledger.registry.register(new_model(number, file_path="forest.joblib", **untrusted), "desk")

        told = CliRunner().invoke(models, ["trust", which, "--json"], catch_exceptions=False)

        assert [row["serves"] for row in json.loads(told.stdout)] == ["forest.skops"] * number
    found = ledger.registry.of_content(digest)
    ledger.close()
    assert {(each.trusted, each.converted_path, each.outputs) for each in found} == {(True, "forest.skops", 1)}
    (folder / "forest.skops").write_bytes(b"exchanged")
    with pytest.raises(Conflict, match="no longer the file"):
        CliRunner().invoke(models, ["trust", digest], catch_exceptions=False)
