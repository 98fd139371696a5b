"""`tidewheel gc` as an operator meets it."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from services.fleet.commands.gc import gc
from tidewheel.ledger.open import migrate
from tidewheel.modelstore.store import ModelStore


def test_gc_lists_and_removes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dry-run tells path, reason and bytes and removes nothing; without it the same goes."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path))
    migrate(str(tmp_path / "ml" / "manifest.sqlite"), tmp_path / "ml")
    staging = ModelStore(tmp_path / "models").models_dir / "hmm" / ".staged" / ".v2026-01-01-0a0b0c0d-123456"
    staging.mkdir(parents=True)
    (staging / "model.json").write_text("{}")
    os.utime(staging, (0, 0))

    planned = json.loads(CliRunner().invoke(gc, ["--dry-run", "--json"]).stdout)
    assert staging.is_dir()
    shown = CliRunner().invoke(gc, ["--dry-run"]).stdout
    done = json.loads(CliRunner().invoke(gc, ["--json"]).stdout)

    assert done["removed"] == planned["removed"]
    assert done["removed"] == [{"path": str(staging), "why": "left by a process that died", "bytes": 2}]
    assert (planned["dry_run"], done["dry_run"], done["bytes"]) == (True, False, 2)
    assert "1 would go, 2 bytes." in shown
    assert not staging.exists()
