"""An entry as files: written with one spelling, read back as a stranger's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from tidewheel.bounce.gathering import Gathered
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.canonical import canonical_json
from tidewheel.contracts.errors import BadBundle, BadInput
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import UtcMillis
from tidewheel.features.bounce import OWN, Dips
from tidewheel.features.volatility import Squares
from tidewheel.models.arrays import read_arrays, write_arrays
from tidewheel.models.bounce import BounceModel
from tidewheel.models.payload import MODEL_FILE
from tidewheel.modelstore.formats import strict_json

META_FILE, ROWS_FILE, VOLATILITY_FILE = "meta.json", "rows.npz", "volatility.npz"
_ROWS = {"ticker": "<i8", "time": "<i8", "label": "<i8", "known_at": "<i8", **dict.fromkeys(OWN, "<f8")}
_SQUARES = {"time": "<i8", "total": "<i8", "tickers": "<i8"}


class Meta(BaseModel):
    """The content of meta.json: what an entry is, without its numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal["1.0"] = "1.0"  #: of the entry's layout
    config: dict[str, Any]
    config_hash: str
    volatility_source: str
    training_samples: int
    metrics: dict[str, float | int | None]
    until: dict[str, int]  #: ticker -> close of the newest session that was read, UTC ms
    origins: dict[str, str]
    left_out: dict[str, str]

    @classmethod
    def read(cls, content: bytes) -> "Meta":
        """The parsed file.

        Raises:
            BadBundle: it is damaged, or its configuration cannot be meant.
        """
        try:
            meta = cls.model_validate(strict_json(META_FILE, content))
            _ = meta.configuration, meta.origin_of
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise BadBundle(f"{META_FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except (BadInput, ValueError) as error:
            raise BadBundle(f"{META_FILE}: {str(error)[:200]}") from None
        if set(meta.until) != set(meta.origins) or not meta.until:
            raise BadBundle(f"{META_FILE}: until and origins do not tell of the same tickers")
        return meta

    @property
    def configuration(self) -> BounceHunterConfig:
        """What it was fitted for."""
        return BounceHunterConfig.from_json(self.config)

    @property
    def origin_of(self) -> dict[str, Origin]:
        """Origin by ticker."""
        return {ticker: Origin(origin) for ticker, origin in self.origins.items()}


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Made:
    """A fitted model with what it was fitted on, on its way into the cache."""

    config: BounceHunterConfig
    config_hash: str
    volatility_source: str
    gathered: Gathered
    model: BounceModel
    parent: str | None = None  #: config hash of the entry that it grew from
    read_at: UtcMillis | None = None  #: when its data were read; None: now


def entry_files(made: Made) -> dict[str, bytes]:
    """The files of an entry; equal ones give equal bytes."""
    gathered = made.gathered
    meta = Meta(
        config=made.config.to_json(),
        config_hash=made.config_hash,
        volatility_source=made.volatility_source,
        training_samples=made.model.trained,
        metrics=asdict(made.model.metrics),
        until=dict(gathered.until),
        origins={ticker: origin.value for ticker, origin in gathered.origins.items()},
        left_out=dict(gathered.left_out),
    )
    squares = gathered.squares
    return {
        META_FILE: canonical_json(meta.model_dump()),
        ROWS_FILE: write_arrays(_columns(gathered.dips)),
        VOLATILITY_FILE: write_arrays({"time": squares.time, "total": squares.total, "tickers": squares.tickers}),
        **made.model.to_payload(),
    }


def read_entry(files: Mapping[str, bytes]) -> tuple[Meta, BounceModel, Gathered]:
    """What the files of an entry say.

    Raises:
        BadBundle: one is missing, damaged, or does not fit the others.
    """
    missing = [name for name in (META_FILE, ROWS_FILE, VOLATILITY_FILE, MODEL_FILE) if name not in files]
    if missing:
        raise BadBundle(f"the entry has no {missing[0]}")
    meta = Meta.read(files[META_FILE])
    model = BounceModel.from_payload({MODEL_FILE: files[MODEL_FILE]})
    squares = read_arrays(VOLATILITY_FILE, files[VOLATILITY_FILE], _SQUARES)
    gathered = Gathered(
        dips=_dips(read_arrays(ROWS_FILE, files[ROWS_FILE], _ROWS), sorted(meta.until)),
        until=meta.until,
        origins=meta.origin_of,
        left_out=meta.left_out,
        squares=Squares(squares["time"], squares["total"], squares["tickers"]),
    )
    if model.trained != meta.training_samples:
        raise BadBundle(f"the entry's model was fitted on {model.trained} dips, not on {meta.training_samples}")
    return meta, model, gathered


def _columns(dips: Mapping[str, Dips]) -> dict[str, Any]:
    each = [dips[ticker] for ticker in sorted(dips)]
    features = np.concatenate([one.features for one in each])
    return {
        "ticker": np.repeat(np.arange(len(each)), [len(one) for one in each]),
        "time": np.concatenate([one.time for one in each]),
        "label": np.concatenate([one.label for one in each]),
        "known_at": np.concatenate([one.known_at for one in each]),
        **{name: features[:, place] for place, name in enumerate(OWN)},
    }


def _dips(columns: Mapping[str, Any], tickers: list[str]) -> dict[str, Dips]:
    """The dips by ticker, which `ticker` numbers."""
    of = columns["ticker"]
    if len({len(column) for column in columns.values()}) != 1 or (np.diff(of) < 0).any():
        raise BadBundle(f"{ROWS_FILE} holds columns of different lengths, or tickers out of order")
    if len(of) and not 0 <= of[0] <= of[-1] < len(tickers):
        raise BadBundle(f"{ROWS_FILE} names ticker {of[-1]} of {len(tickers)}")
    features = np.column_stack([columns[name] for name in OWN])
    bounds = np.searchsorted(of, np.arange(len(tickers) + 1))
    return {
        ticker: Dips(
            *(column[low:high] for column in (columns["time"], features, columns["label"], columns["known_at"]))
        )
        for ticker, low, high in zip(tickers, bounds[:-1], bounds[1:], strict=True)
    }
