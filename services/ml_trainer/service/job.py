"""One fit as files in a work directory: the parent writes the job, the child writes the result.

```
work/job.json         what to do
work/bars-<i>.npz     columns of stream i's training bars
work/champion/        payload of the model to start from or to match, when there is one
work/dips.npz         or columns of BounceHunter's dips
work/result/          payload of the fitted model
```
Only JSON and plain arrays cross the boundary, so neither side can make the other run code.
"""

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tidewheel.contracts.errors import BadBundle
from tidewheel.features.frames import CandleFrame
from tidewheel.models.bounce import DipRows

_COLUMNS = tuple(field.name for field in fields(CandleFrame) if field.name != "step")
_MAX_RESULT_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job(ABC):
    """What one child fits. Its fields are JSON values, but for those that lie in files of their own."""

    kind: ClassVar[str]
    smaller: ClassVar[str] = ""  #: what makes a fit take less memory, in words
    own_files: ClassVar[frozenset[str]] = frozenset()  #: fields that `_lay_out` writes and `_read` reads

    parent_pid: int  #: the child ends itself when this process is gone
    memory_mb: int  #: address space that the child may use, MiB

    def lay_out(self, work: Path) -> None:
        """Write the job under `work`, which must exist and be empty."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in self.own_files}
        told = {"kind": self.kind, **plain, **self._lay_out(work)}
        (work / "job.json").write_text(json.dumps(told), encoding="utf-8")

    @abstractmethod
    def _lay_out(self, work: Path) -> dict[str, Any]:
        """Write `own_files`; what `_read` is told of them."""

    @classmethod
    @abstractmethod
    def _read(cls, work: Path, told: dict[str, Any]) -> dict[str, Any]:
        """The fields of `own_files`; takes what `_lay_out` told out of `told`."""

    @classmethod
    def read(cls, work: Path, told: dict[str, Any]) -> Any:
        """The job that `lay_out` wrote; `told` is its JSON, without the kind."""
        return cls(**cls._read(work, told), **told)


@dataclass(frozen=True, kw_only=True, slots=True)
class _BarsJob(_Job):
    """A fit on bars of streams."""

    own_files: ClassVar[frozenset[str]] = frozenset(("bars", "champion"))

    seed: int
    bars: Mapping[str, CandleFrame]  #: training bars by stream, with their gaps
    champion: Mapping[str, bytes] | None = None  #: payload of the present champion, for a fit that looks at it

    def _lay_out(self, work: Path) -> dict[str, Any]:
        for index, frame in enumerate(self.bars.values()):
            columns = {name: getattr(frame, name) for name in _COLUMNS}
            np.savez(work / f"bars-{index}.npz", allow_pickle=False, step=np.int64(frame.step), **columns)
        if self.champion is not None:
            write_payload(work / "champion", self.champion)
        return {"streams": list(self.bars), "champion": self.champion is not None}

    @classmethod
    def _read(cls, work: Path, told: dict[str, Any]) -> dict[str, Any]:
        champion = read_payload(work / "champion") if told.pop("champion") else None
        streams = told.pop("streams")
        bars = {stream: _read_bars(work / f"bars-{index}.npz") for index, stream in enumerate(streams)}
        return {"bars": bars, "champion": champion}


@dataclass(frozen=True, kw_only=True, slots=True)
class RegimeJob(_BarsJob):
    """A regime model over all streams; a gap in their bars ends a segment."""

    kind: ClassVar[str] = "regimes"
    smaller: ClassVar[str] = " or shorten TRAIN_WINDOW_DAYS"

    restarts: int  #: fits from different starts, the best of which is kept
    max_iter: int  #: EM iterations a restart may take
    strict: bool  #: add the bars to the champion's sufficient statistics, rather than fit them alone

    def segments(self) -> dict[str, list[CandleFrame]]:
        """The bars cut where one is missing."""
        return {stream: frame.segments() for stream, frame in self.bars.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastJob(_BarsJob):
    """A forecaster over horizons, on the complete hours of one stream."""

    kind: ClassVar[str] = "forecasts"

    family: str  #: `baseline` or `random_forest`

    @property
    def hours(self) -> CandleFrame:
        """The one stream's."""
        (hours,) = self.bars.values()
        return hours


@dataclass(frozen=True, kw_only=True, slots=True)
class DipJob(_Job):
    """BounceHunter's model, on dips whose features the parent made; they are few, whatever the universe."""

    kind: ClassVar[str] = "dips"
    smaller: ClassVar[str] = " or scan fewer tickers"
    own_files: ClassVar[frozenset[str]] = frozenset(("rows",))

    rows: DipRows
    fewest: int  #: dips with a known end without which there is no fit

    def _lay_out(self, work: Path) -> dict[str, Any]:
        np.savez(work / "dips.npz", allow_pickle=False, **self.rows.columns())
        return {}

    @classmethod
    def _read(cls, work: Path, told: dict[str, Any]) -> dict[str, Any]:
        with np.load(io.BytesIO((work / "dips.npz").read_bytes()), allow_pickle=False) as arrays:
            return {"rows": DipRows(**arrays)}


Job = RegimeJob | ForecastJob | DipJob


def read_job(work: Path) -> Job:
    """The job that `lay_out` wrote."""
    told = json.loads((work / "job.json").read_text(encoding="utf-8"))
    kinds: dict[str, type[Job]] = {each.kind: each for each in (RegimeJob, ForecastJob, DipJob)}
    job: Job = kinds[told.pop("kind")].read(work, told)
    return job


def _read_bars(path: Path) -> CandleFrame:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in _COLUMNS}
        return CandleFrame(step=int(arrays["step"]), **columns).checked()


def write_payload(folder: Path, payload: Mapping[str, bytes]) -> None:
    """Write each payload file into the new directory `folder`."""
    folder.mkdir()
    for name, content in payload.items():
        (folder / name).write_bytes(content)


def read_payload(folder: Path) -> dict[str, bytes]:
    """The payload files in `folder`.

    Raises:
        BadBundle: there is none, one is not a plain file, or they are implausibly large.
    """
    if not folder.is_dir():
        raise BadBundle("the fit left no result")
    paths = sorted(folder.iterdir())
    odd = next((path.name for path in paths if path.is_symlink() or not path.is_file()), None)
    if odd is not None:
        raise BadBundle(f"the fit's result holds {odd!r}, which is not a plain file")
    size = sum(path.stat().st_size for path in paths)
    if not paths or size > _MAX_RESULT_BYTES:
        raise BadBundle(f"the fit's result has {len(paths)} files of {size} bytes together")
    return {path.name: path.read_bytes() for path in paths}
