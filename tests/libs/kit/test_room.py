"""The disk floor: a warning first, then a stop, each a sentence with place and remedy."""

import shutil
from pathlib import Path

import pytest

from tidewheel.contracts.errors import Unavailable
from tidewheel.kit.room import DiskRoom

_MIB = 2**20


def test_a_disk_with_room_is_silent(tmp_path: Path) -> None:
    """Also for a folder that does not exist yet, and always with a floor of 0."""
    room = DiskRoom(0, tmp_path / "not" / "yet")

    room.ping()
    room.require()


def test_below_three_floors_ready_warns_and_below_one_nothing_is_written(tmp_path: Path) -> None:
    """The floor is set so that this disk stands between the two, and then below both."""
    free = shutil.disk_usage(tmp_path).free // _MIB
    near, below = DiskRoom(free // 2, tmp_path), DiskRoom(free * 2, tmp_path)

    near.require()
    with pytest.raises(Unavailable, match=rf"MiB are free on the disk of {tmp_path}; below {free // 2} MiB") as warned:
        near.ping()
    with pytest.raises(Unavailable, match=r"nothing more is written there.*TIDEWHEEL_DISK_FLOOR_MB") as stopped:
        below.require()
    assert warned.value.code == stopped.value.code == "disk_low"
