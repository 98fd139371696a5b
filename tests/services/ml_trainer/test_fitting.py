"""One child process per fit: limited, watched, killed when its work must end."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.ml_trainer.service.fitting import FitChild, FitFailed
from services.ml_trainer.service.watch import Ending, RunEnded
from tests.services.ml_trainer.jobs import NoWatch, job
from tests.waiting import until
from tidewheel.models.regime import RegimeModel

CHILDREN = "tests.services.ml_trainer.children"


class EndsSoon(NoWatch):
    """A watch that asks for the end once told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def wait(self, seconds: float) -> None:
        """Sleep, or raise."""
        if self.asked.wait(seconds):
            raise RunEnded(Ending.CANCELLED)


def test_a_fit_brings_a_model_home(tmp_path: Path) -> None:
    """The same job gives the same bytes, tells its progress, and leaves nothing in the work directory."""
    told: list[dict[str, Any]] = []

    first = FitChild(tmp_path).run(1, 1, job().lay_out, NoWatch(), told.append)
    second = FitChild(tmp_path).run(1, 2, job().lay_out, NoWatch(), told.append)

    assert first == second
    assert set(RegimeModel.from_payload(first).scales) == {"binance:BTC/USDT:1m", "binance:ETH/USDT:1m"}
    assert list(tmp_path.iterdir()) == []


def test_strict_adds_to_the_champion(tmp_path: Path) -> None:
    """In strict mode the result carries the champion's statistics beside the new bars'."""
    champion = FitChild(tmp_path).run(1, 1, job().lay_out, NoWatch(), lambda _: None)

    updated = FitChild(tmp_path).run(1, 2, job(strict=True, champion=champion).lay_out, NoWatch(), lambda _: None)

    before, after = RegimeModel.from_payload(champion), RegimeModel.from_payload(updated)
    assert after.statistics.occupancy.sum() == pytest.approx(2 * before.statistics.occupancy.sum(), rel=0.01)


def test_too_few_bars_are_named(tmp_path: Path) -> None:
    """A refusal of the model comes home as its code and sentence."""
    with pytest.raises(FitFailed, match=r"^not_enough_data: .*needs 300"):
        FitChild(tmp_path).run(1, 1, job(bars=100).lay_out, NoWatch(), lambda _: None)


def test_a_failure_tells_the_child_s_last_word(tmp_path: Path) -> None:
    """The reason of a failed fit is its last line on stderr."""
    with pytest.raises(FitFailed) as failed:
        FitChild(tmp_path, f"{CHILDREN}.failing").run(1, 1, job(500).lay_out, NoWatch(), lambda _: None)

    assert failed.value.detail == "the market went home"
    assert list(tmp_path.iterdir()) == []


def test_memory_is_limited(tmp_path: Path) -> None:
    """A fit that wants more than its limit fails with the setting's name."""
    with pytest.raises(FitFailed, match="TIDEWHEEL_TRAIN_MEMORY_MB=1024"):
        FitChild(tmp_path, f"{CHILDREN}.greedy").run(1, 1, job(500, memory_mb=1_024).lay_out, NoWatch(), lambda _: None)


def test_a_killed_child_is_a_failure(tmp_path: Path) -> None:
    """kill -9 of the child names the signal."""
    with pytest.raises(FitFailed, match="SIGKILL"):
        FitChild(tmp_path, f"{CHILDREN}.sleeper").run(
            1, 1, job(500).lay_out, NoWatch(), lambda told: os.kill(told["pid"], signal.SIGKILL)
        )


def test_the_end_of_the_work_kills_the_child(tmp_path: Path) -> None:
    """When the watch ends the work, the child is dead before anybody hears of it."""
    watch, pids = EndsSoon(), []

    def told(progress: dict[str, Any]) -> None:
        pids.append(progress["pid"])
        watch.asked.set()

    with pytest.raises(RunEnded):
        FitChild(tmp_path, f"{CHILDREN}.sleeper").run(1, 1, job(500).lay_out, watch, told)

    assert not psutil.pid_exists(pids[0])


def test_the_child_dies_with_a_killed_worker(tmp_path: Path) -> None:
    """kill -9 of the worker leaves no fit behind."""
    with subprocess.Popen(
        [sys.executable, "-m", f"{CHILDREN}.parent", str(tmp_path)], stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        child = psutil.Process(int(worker.stdout.readline()))
        worker.kill()

    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
