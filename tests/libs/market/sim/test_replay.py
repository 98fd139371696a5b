from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import csv, feather, parquet

from tests.libs.market.sim.made import START, candles, same
from tidewheel.contracts.errors import BadCandles, BadInput
from tidewheel.contracts.states import Origin
from tidewheel.features.frames import CandleFrame
from tidewheel.market.sim.replay import replayed


def table(frame: CandleFrame) -> pa.Table:
    names = ("open", "high", "low", "close", "volume")
    date = pa.array(frame.open_time).cast(pa.timestamp("ms", "UTC"))
    return pa.table({"date": date, **{name: getattr(frame, name) for name in names}})


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d"])
@pytest.mark.parametrize("kind", ["feather", "parquet", "csv"])
def test_candles_come_back_as_recorded_with_their_hole(tmp_path: Path, kind: str, timeframe: str) -> None:
    frame = candles(50, timeframe, missing=(7, 8))
    file = tmp_path / f"ETH_BTC-{timeframe}.{kind}"
    write = {"feather": feather.write_feather, "parquet": parquet.write_table, "csv": csv.write_csv}[kind]
    write(table(frame), str(file))

    told = replayed((str(file),))

    assert (told.origin, told.start, told.ends) == (Origin.REPLAY, START, (START + 50 * frame.step,))
    assert (told.series[0].symbol, told.series[0].timeframe) == ("ETH/BTC", timeframe)
    assert same(told.series[0].frame, frame)
    assert len(told.series[0].frame.segments()) == 2


def test_a_first_column_without_a_name_is_the_time_and_the_step_is_found(tmp_path: Path) -> None:
    """Daily bars with a weekend, dates as text, capital letters: as research files are."""
    file = tmp_path / "EURUSD.csv"
    file.write_text(
        ",Open,High,Low,Close,Volume\n2024-03-07,1.1,1.3,1.0,1.2,10\n2024-03-08,1.2,1.3,1.1,1.2,11\n"
        "2024-03-11,1.2,1.4,1.1,1.3,12\n"
    )

    series = replayed((str(file),)).series[0]

    assert (series.symbol, series.timeframe, len(series.frame)) == ("EUR/USD", "1d", 3)


def test_our_own_csv_is_read_when_its_stream_is_named(tmp_path: Path) -> None:
    file = tmp_path / "1709251200000-1709251380000-0a1b2c3d.csv"
    rows = "".join(f"{time},{','.join(map(repr, values))}\n" for time, *values in candles(3).rows())
    file.write_text(f"open_time,open,high,low,close,volume\n{rows}")

    series = replayed((f"SOL_USDT-1m={file}",)).series[0]

    assert (series.symbol, series.timeframe) == ("SOL/USDT", "1m")
    assert same(series.frame, candles(3))


def test_several_files_are_one_exchange(tmp_path: Path) -> None:
    for name, count in (("ETH_BTC-5m", 20), ("LTC_BTC-5m", 30)):
        feather.write_feather(table(candles(count, "5m")), str(tmp_path / f"{name}.feather"))

    told = replayed(tuple(str(file) for file in sorted(tmp_path.iterdir())))

    assert [series.symbol for series in told.series] == ["ETH/BTC", "LTC/BTC"]
    assert told.ends == (START + 30 * 300_000,)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("GOOG.csv", "date,open,high,low,close,volume\n2024-03-07,1,1,1,1,1\n", "does not tell its symbol"),
        ("ETH_BTC-5m.xlsx", "", "neither a .feather nor"),
        ("ETH_BTC-5m.feather", "no feather at all", "cannot be read as candles"),
        ("ETH_BTC-5m.csv", "date,open,high,low,close\n2024-03-07,1,1,1,1\n", "no column of volumes"),
        ("ETH_BTC-5m.csv", "date,open,high,close,volume\n2024-03-07,1,1,1,1\n", "it needs date,open"),
        ("ETH_BTC-5m.csv", "date,open,high,low,close,volume\nlunch,1,1,1,1,1\n", "write UTC timestamps"),
        ("ETH_BTC-5m.csv", "date,open,high,low,close,volume\n2024-03-07,1,1,1,dear,1\n", "line 2: its close is 'dear'"),
        ("ETH_BTC-7m.csv", "open_time,open,high,low,close,volume\n0,1,1,1,1,1\n", "has only 1m"),
    ],
)
def test_what_is_no_file_of_candles_is_said(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    file = tmp_path / name
    file.write_text(content)

    with pytest.raises(BadInput, match=sentence):
        replayed((str(file),))


def test_no_file_at_all_is_said() -> None:
    """An empty list of files is the caller's mistake, not an empty market."""
    with pytest.raises(BadInput, match="no file"):
        replayed(())


def test_an_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"ETH_BTC-5m\.csv cannot be read"):
        replayed((str(tmp_path / "ETH_BTC-5m.csv"),))


def test_an_impossible_bar_is_named_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "ETH_BTC-1d.csv"
    file.write_text("date,open,high,low,close,volume\n2024-03-07,1,0.5,1,1,1\n")

    with pytest.raises(BadCandles, match=r"ETH_BTC-1d\.csv: the candle of 2024-03-07T00:00:00Z .* high"):
        replayed((str(file),))
