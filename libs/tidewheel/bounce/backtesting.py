"""A backtest in a process of its own, which fits dozens of models: with limits, so that it holds nobody else up.

What goes in is one npz without pickle, what comes out is JSON.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tidewheel.bounce.backtest import BacktestTerms, backtest
from tidewheel.bounce.fitting import prepare
from tidewheel.bounce.market import DailyBars
from tidewheel.contracts.bounce import BounceHunterConfig
from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY
from tidewheel.features.frames import CandleFrame, Floats, Ints
from tidewheel.models.bounce import DipRows
from tidewheel.modelstore.limited import limit_this_process, run_limited

MEMORY_BYTES = 3 * 1024 * 1024 * 1024  #: of addresses, of which native libraries reserve far more than they use
CPU_SECONDS = 200
TIMEOUT_SECONDS = 240.0  #: less than the 300 s for which the edge waits for a role
OUTPUT_BYTES = 256 * 1024 * 1024
_MODULE = "tidewheel.bounce.backtesting"
_REFUSED = 3
_ROWS = "rows_"  #: how the names of the dips' columns begin


@dataclass(frozen=True, kw_only=True, slots=True)
class Backtested:
    """What trading a universe would have come to."""

    document: Mapping[str, Any]  #: `trades`, `equity`, `metrics` and `picture`, of JSON values
    tickers: tuple[str, ...]  #: that could be bought
    left_out: Mapping[str, str]  #: why others could not
    origin: Origin  #: the least real one of the tickers' bars
    volatility_source: str


def backtest_of(
    bars: DailyBars, config: BounceHunterConfig, terms: BacktestTerms, *, check: Callable[[], None] = lambda: None
) -> Backtested:
    """Read the universe as it was known at the end of the time, and trade it in a child process.

    Args:
        check: called after each ticker that was read; what it raises ends the work.

    Raises:
        BadInput: `unknown_ticker`, `ambiguous_ticker`, `no_sessions`; or `backtest_too_large` for the child's limits.
        NotEnoughData: no ticker can be used; says why.
    """
    as_of = terms.end + DAY
    config = replace(config, as_of=as_of if config.as_of is None else min(as_of, config.as_of))
    prepared = prepare(bars, config, check=check)
    gathered = prepared.gathered
    streams = bars.streams(sorted(gathered.dips))
    frames = {}
    for ticker, sessions in zip(streams, bars.history(streams.values(), config.as_of), strict=True):
        frames[ticker] = sessions.between(terms.start, None)
        check()
    return Backtested(
        document=in_child(frames, prepared.rows, config, terms),
        tickers=tuple(frames),
        left_out=gathered.left_out,
        origin=Origin.least_real(gathered.origins.values()),
        volatility_source=prepared.volatility_source,
    )


def in_child(
    bars: Mapping[str, CandleFrame],
    rows: DipRows,
    config: BounceHunterConfig,
    terms: BacktestTerms,
    *,
    memory_bytes: int = MEMORY_BYTES,
    cpu_seconds: int = CPU_SECONDS,
) -> dict[str, Any]:
    """`backtest(...).to_json()` by a child process.

    Raises:
        BadInput: as `backtest`; `backtest_too_large`, the child came to one of its limits.
    """
    limits = (str(memory_bytes), str(cpu_seconds))
    ended = run_limited(_MODULE, limits, given=_packed(bars, rows, config, terms), timeout=TIMEOUT_SECONDS)
    if ended.well:
        document: dict[str, Any] = json.loads(ended.output)
        return document
    if ended.status == _REFUSED:
        raise BadInput(**json.loads(ended.output))
    raise BadInput(
        f"the backtest of {len(bars)} tickers {ended.words}; ask for fewer of them, or for a shorter time",
        code="backtest_too_large",
    )


def _packed(bars: Mapping[str, CandleFrame], rows: DipRows, config: BounceHunterConfig, terms: BacktestTerms) -> bytes:
    said = {"tickers": list(bars), "config": config.to_json(), "terms": asdict(terms)}
    target = io.BytesIO()
    np.savez(
        target,
        allow_pickle=False,
        said=np.frombuffer(json.dumps(said, allow_nan=False).encode(), np.uint8),
        ends=np.cumsum([len(frame) for frame in bars.values()]),
        time=np.concatenate([frame.open_time for frame in bars.values()]),
        prices=np.concatenate([frame.matrix() for frame in bars.values()]),
        **{_ROWS + name: column for name, column in rows.columns().items()},
    )
    return target.getvalue()


def _unpacked(given: bytes) -> tuple[dict[str, CandleFrame], DipRows, BounceHunterConfig, BacktestTerms]:
    with np.load(io.BytesIO(given), allow_pickle=False) as arrays:
        said = json.loads(arrays["said"].tobytes())
        cuts = arrays["ends"][:-1]
        each = zip(np.split(arrays["time"], cuts), np.split(arrays["prices"], cuts), strict=True)
        frames = [_frame(time, prices) for time, prices in each]
        columns = [name for name in arrays.files if name.startswith(_ROWS)]
        rows = DipRows(**{name.removeprefix(_ROWS): arrays[name] for name in columns})
    bars = dict(zip(said["tickers"], frames, strict=True))
    return bars, rows, BounceHunterConfig.from_json(said["config"]), BacktestTerms(**said["terms"])


def _frame(time: Ints, prices: Floats) -> CandleFrame:
    opened, high, low, close, volume = prices.T
    return CandleFrame(DAY, time, opened, high, low, close, volume, time + DAY, np.zeros(len(time), np.int16))


def main(memory_bytes: int, cpu_seconds: int) -> int:
    """The child: limit itself, read what is asked from stdin, trade, print; 0 when it went well."""
    limit_this_process(memory_bytes, cpu_seconds, OUTPUT_BYTES)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # native libraries write what they think to stdout
    with answer:
        try:
            document = backtest(*_unpacked(sys.stdin.buffer.read())).to_json()
        except BadInput as refused:
            answer.write(json.dumps({"detail": refused.detail, "code": refused.code}))
            return _REFUSED
        answer.write(json.dumps(document, allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
