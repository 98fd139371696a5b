"""Steps that write a model's weights and a parquet blob and never sync them: a planted bug of `crashes`."""

import os
from pathlib import Path

from services.fleet.prove.programs.recorded_steps import main
from tidewheel import disk
from tidewheel.modelstore import store

_synced = disk.write_durably


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    if ".parquet" not in path.name and path.suffix != ".npz":
        _synced(path, content, mode)
        return
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    os.write(descriptor, content)
    os.close(descriptor)


if __name__ == "__main__":
    disk.write_durably = store.write_durably = _write  # type: ignore[attr-defined]
    main()
