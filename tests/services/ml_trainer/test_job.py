"""A job crosses to the child and back as plain files."""

from pathlib import Path

import numpy as np
import pytest

from services.ml_trainer.service.job import DipJob, RegimeJob, read_job, read_payload, write_payload
from tests.services.ml_trainer.jobs import job
from tidewheel.contracts.errors import BadBundle
from tidewheel.models.bounce import DipRows


def test_a_job_reads_back_as_it_was_written(tmp_path: Path) -> None:
    """TrainerSettings, bars with their gaps, and the champion's files survive the crossing to the bit."""
    given = job(bars=200, strict=True, champion={"model.json": b"{}"})
    given.lay_out(tmp_path)

    found = read_job(tmp_path)
    assert isinstance(found, RegimeJob)

    assert (found.seed, found.restarts, found.max_iter, found.strict) == (7, 1, 200, True)
    assert found.champion == {"model.json": b"{}"}
    assert list(found.bars) == list(given.bars)
    for stream, frame in given.bars.items():
        assert found.bars[stream].step == frame.step
        np.testing.assert_array_equal(found.bars[stream].open_time, frame.open_time)
        np.testing.assert_array_equal(found.bars[stream].matrix(), frame.matrix())


def test_dips_read_back_as_they_were_written(tmp_path: Path) -> None:
    """Every column crosses to the bit, of a job that has neither bars nor a champion."""
    dice = np.random.default_rng(1)
    rows = DipRows(
        time=np.arange(5) * 86_400_000,
        ticker=np.array([0, 1, 0, 2, 1]),
        features=dice.normal(size=(5, 7)),
        label=np.array([1, 0, -1, 1, 0]),
        known_at=np.arange(5) * 86_400_000 + 7,
    )
    DipJob(parent_pid=1, memory_mb=512, rows=rows, fewest=40).lay_out(tmp_path)

    found = read_job(tmp_path)

    assert isinstance(found, DipJob)
    assert (found.parent_pid, found.memory_mb, found.fewest) == (1, 512, 40)
    for column in ("time", "ticker", "features", "label", "known_at"):
        np.testing.assert_array_equal(getattr(found.rows, column), getattr(rows, column))


def test_a_result_with_a_link_is_refused(tmp_path: Path) -> None:
    """A child cannot make the parent read a file elsewhere."""
    write_payload(tmp_path / "result", {"model.json": b"{}"})
    (tmp_path / "result" / "passwd").symlink_to("/etc/passwd")

    with pytest.raises(BadBundle, match="passwd"):
        read_payload(tmp_path / "result")


def test_no_result_is_refused(tmp_path: Path) -> None:
    """A child that ended well but wrote nothing has failed."""
    with pytest.raises(BadBundle, match="no result"):
        read_payload(tmp_path / "result")
