"""This machine: Python, libraries, limits, disk, ports."""

import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from services.fleet.doctor.check import Line, Patient, fail, ok, warn
from services.fleet.local.processes import same_process
from tidewheel.contracts.errors import BadSetting, Unavailable
from tidewheel.contracts.roles import PORTS
from tidewheel.disk import fsync_directory, unused_name, write_durably
from tidewheel.kit.room import DiskRoom
from tidewheel.kit.serve import listen

_LOCK = Path(__file__).parents[3] / "requirements.lock"
_FILES_LEAST, _FILES_GOOD = 256, 1_024  #: open files of one process
_SHOWN = 4
_GIB = 2**30


def python(_: Patient) -> Iterator[Line]:
    """Versions of Python and of the libraries, beside what the distribution wants and what the lock says."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    wanted = SpecifierSet(metadata.metadata("tidewheel")["Requires-Python"])
    here = ".".join(map(str, sys.version_info[:3]))
    if here in wanted:
        yield ok("python", f"Python {here}")
    else:
        yield fail("python", f"Python {here}, and {wanted} is needed", "set up .venv with another: make PYTHON=...")
    needed = [Requirement(text) for text in metadata.requires("tidewheel") or []]
    needed = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    broken = [f"{each.name} {_version(each.name) or 'missing'}" for each in needed if not _fits(each)]
    pinned = _pinned(_LOCK.read_text()) if _LOCK.exists() else {}
    other = [
        f"{name} {found} (lock {version})"
        for name, version in pinned.items()
        if (found := _version(name)) is not None and found != version
    ]
    remedy = "install what the lock says: `uv pip install -r requirements.lock`"
    if broken:
        yield fail("libraries", f"not usable: {_some(broken)}", remedy)
    elif other:
        yield warn("libraries", f"other than locked: {_some(other)}", remedy)
    else:
        against = "as locked" if pinned else "as required (no requirements.lock here)"
        yield ok("libraries", f"{len(needed)} libraries {against}")


def limits(_: Patient) -> Iterator[Line]:
    """Open files, and the time zone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    remedy = f"`ulimit -n {min(hard, 65_536) if hard > 0 else 65_536}` before the start, or LimitNOFILE= of the service"
    if soft < _FILES_LEAST:
        yield fail("open files", f"a process may open {soft}, and {_FILES_LEAST} is the least", remedy)
    elif soft < _FILES_GOOD:
        yield warn("open files", f"a process may open {soft}; {_FILES_GOOD} is good", remedy)
    else:
        yield ok("open files", f"a process may open {soft}")
    zone = os.environ.get("TZ")
    if zone and zone != "UTC" and time.tzname == ("UTC", "UTC") and "UTC" not in zone.upper():
        yield warn("time zone", f"TZ={zone} is not known here and counts as UTC", "install tzdata, or mend TZ")
    else:
        yield ok("time zone", f"{time.tzname[0]}; crons and all times of the fleet are UTC whatever it is")


def disk(patient: Patient) -> Iterator[Line]:
    """Whether data and models can be written durably, and how much room there is."""
    settings = patient.settings
    for name, folder in (("data", settings.data_dir), ("models", settings.models_dir)):
        here = next(each for each in (folder, *folder.parents) if each.exists())
        if not here.is_dir():
            yield fail(name, f"{here} is no folder", "name another TIDEWHEEL_HOME")
            continue
        probe = unused_name(here / "doctor")
        try:
            write_durably(probe, b"doctor")
            fsync_directory(here)
        except OSError as error:
            yield fail(
                name, f"{here} cannot be written: {error.strerror}", f"mend its rights or its disk; uid {os.getuid()}"
            )
            continue
        finally:
            probe.unlink(missing_ok=True)
        room = DiskRoom(settings.disk_floor_mb, folder)
        told = f"{folder}: {shutil.disk_usage(here).free / _GIB:.1f} GiB free, written and synced"
        remedy = "make room, or move TIDEWHEEL_HOME; RETENTION_DAYS drops old CSV files"
        if (stops := _short(room.require)) is not None:
            yield fail(name, stops, remedy)
        elif (low := _short(room.ping)) is not None:
            yield warn(name, low, remedy)
        else:
            yield ok(name, told if here == folder else f"{told} (the folder will be made)")
    yield from _one_filesystem(settings.models_dir)


def _short(ask: Callable[[], None]) -> str | None:
    """What a question about room says; None where there is enough."""
    try:
        ask()
    except Unavailable as low:
        return low.detail
    return None


def _one_filesystem(models: Path) -> Iterator[Line]:
    """A bundle gets its name by a rename, which works on one filesystem only."""
    if not models.is_dir():
        return
    apart = [each for each in models.iterdir() if each.is_dir() and each.stat().st_dev != models.stat().st_dev]
    if apart:
        yield fail("models", f"{_some(list(map(str, apart)))} on another filesystem than {models}", "mount all as one")


def ports(patient: Patient) -> Iterator[Line]:
    """Whether the roles' ports are free, or held by the fleet of this home."""
    ours = {
        row["port"]: row["name"]
        for row in patient.fleet.get("processes", [])
        if row["port"] and same_process(row["pid"], row["created"])
    }
    if ours:
        yield ok("ports", f"held by the fleet of this home: {', '.join(map(str, sorted(ours)))}")
        return
    taken = []
    for role, port in PORTS.items():
        try:
            listen(patient.settings.listen, port).close()
        except BadSetting as error:
            taken.append(f"{role}: {error.detail.partition(';')[0]}")
    if taken:
        yield fail("ports", _some(taken), "stop who listens there, or `tidewheel up --port-base N`")
    else:
        yield ok("ports", f"{', '.join(map(str, sorted(PORTS.values())))} are free on {patient.settings.listen}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _fits(requirement: "object") -> bool:
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement)
    version = _version(requirement.name)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _pinned(lock: str) -> dict[str, str]:
    """name -> version of the lock's lines that are for this machine."""
    from packaging.requirements import Requirement

    lines = [Requirement(line) for line in lock.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    return {
        each.name: next(iter(each.specifier)).version
        for each in lines
        if each.specifier and (each.marker is None or each.marker.evaluate())
    }


def _some(things: list[str]) -> str:
    more = f" and {len(things) - _SHOWN} more" if len(things) > _SHOWN else ""
    return ", ".join(things[:_SHOWN]) + more
