"""A job crosses to the child and back as plain files."""

from pathlib import Path

import numpy as np
import pytest

from services.ml_trainer.service.job import RegimeJob, read_job, read_payload, write_payload
from tests.services.ml_trainer.jobs import job
from tidewheel.contracts.errors import BadBundle


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
