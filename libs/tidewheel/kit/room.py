"""Room on the disks that a role writes to: a warning while there is still time, a loud stop before the last byte."""

import shutil
from pathlib import Path

from tidewheel.contracts.errors import Unavailable

_WARN_AT = 3  #: times the floor
_MIB = 2**20


class DiskRoom:
    """How much room the disks of some folders have left, held against a floor.

    A disk that is full to the last byte also takes the ledger's writes, and those of every other program: whoever may
    wait stops before.
    """

    def __init__(self, floor_mb: int, *folders: Path) -> None:
        self._floor, self._folders = floor_mb * _MIB, folders

    def require(self) -> None:
        """Return where there is room to write.

        Raises:
            Unavailable: less than the floor is left (code `disk_low`).
        """
        self._expect(self._floor, "nothing more is written there")

    def ping(self) -> None:
        """For /ready: return while there is ample room.

        Raises:
            Unavailable: less than three times the floor is left.
        """
        self._expect(_WARN_AT * self._floor, f"below {self._floor // _MIB} MiB ingestion and training stop")

    def _expect(self, least: int, then: str) -> None:
        for folder in self._folders:
            here = next(each for each in (folder, *folder.parents) if each.exists())
            free = shutil.disk_usage(here).free
            if free < least:
                raise Unavailable(
                    f"{free // _MIB} MiB are free on the disk of {folder}; {then}: make room (`tidewheel gc` "
                    "removes what nobody needs), or lower TIDEWHEEL_DISK_FLOOR_MB",
                    code="disk_low",
                )
