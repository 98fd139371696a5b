"""Steps that replace links and registry, and name files, without syncing the folder: a planted bug of `crashes`."""

from pathlib import Path

from services.fleet.prove.programs.recorded_steps import main
from tidewheel import disk
from tidewheel.modelstore import files


def _nothing(path: Path) -> None:
    assert path.is_dir()


if __name__ == "__main__":
    disk.fsync_directory = files.fsync_directory = _nothing  # type: ignore[attr-defined]
    main()
