"""R7, full disk: on a small file system of its own, a publish or a seal that finds no room leaves nothing behind."""

import json
import shutil
import subprocess
import sys
import time

from services.fleet.prove.programs import disk_filler
from services.fleet.prove.proof import Budget, Tally, Tell
from tidewheel.contracts.errors import Unavailable

SIZE_MB = 4
_MOUNT = f'mount -t tmpfs -o size={SIZE_MB}m tidewheel-prove "$0" && exec "$@"'


def prove(budget: Budget, tell: Tell, *, program: str = disk_filler.__name__) -> Tally:
    """A trial is an attempt with random room left, and another after room was made.

    Raises:
        Unavailable: this user may not mount a file system here.
    """
    home = budget.ground.folder / f"fulldisk-{time.monotonic_ns()}"
    disk, side = home / "disk", home / "side"
    for folder in (disk, side):
        folder.mkdir(parents=True)
    unshare = shutil.which("unshare")
    allowed = unshare is not None and _ran([unshare, "-rm", "sh", "-c", _MOUNT, str(disk), "true"])
    if unshare is None or not allowed:
        raise Unavailable(
            "fulldisk needs a small file system of its own, and `unshare -rm` may not mount one here: allow user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0), "
            "or run it as root on a machine that is no container"
        )
    tell(0.0, "on a tmpfs")
    work = [sys.executable, "-m", program, str(disk), str(side), str(budget.trials), str(budget.seed)]
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", _MOUNT, str(disk), *work], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"the program on the small disk ended with {done.returncode}: {done.stderr[-2_000:]}")
    tell(1.0)
    return Tally(**json.loads(done.stdout.splitlines()[-1]))


def _ran(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
