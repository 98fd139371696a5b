"""`tidewheel import`: files become sealed bars, wholly or not at all."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from services.fleet import imports
from services.fleet.cli import main
from services.fleet.imports import compared, imported, judged
from tests.libs.market.sim.made import START, candles, same
from tidewheel.contracts.errors import BadCandles, BadInput, Conflict, TidewheelError
from tidewheel.contracts.keys import StreamKey
from tidewheel.contracts.states import Origin
from tidewheel.contracts.times import DAY, MINUTE, UtcMillis, iso, parse_time
from tidewheel.features.frames import CandleFrame
from tidewheel.ledger.open import Ledger, migrate, open_ledger
from tidewheel.ledger.records import Appended
from tidewheel.market.sim.dips import dips_market, write_days

BTC = StreamKey("binance", "BTC/USDT", "1m")
HEADER = "open_time,open,high,low,close,volume"


def written(file: Path, frame: CandleFrame, time: Callable[[UtcMillis], str] = str, header: str = HEADER) -> Path:
    rows = [",".join([time(when), *map(repr, values)]) for when, *values in frame.rows()]
    file.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return file


def bring(ledger: Ledger, *files: Path, origin: Origin = Origin.IMPORT, utc: bool = False) -> Appended:
    """What the files brought together."""
    sources = [judged(file, BTC, ledger.now(), naive_is_utc=utc) for file in files]
    each = imported(ledger, BTC, origin, sources, "test", lambda fraction, text: None).values()
    return Appended(
        stored=sum(one.stored for one in each),
        duplicates=sum(one.duplicates for one in each),
        revised=sum(one.revised for one in each),
    )


def test_the_same_files_again_change_nothing(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars are sealed in chunks up to the watermark, holes become gaps, and a repeat finds everything known."""
    monkeypatch.setattr(imports, "CHUNK", 40)
    frame = candles(100, missing=(50, 51))
    late, early = (
        written(tmp_path / "late.csv", frame.take(slice(60, None))),
        written(tmp_path / "early.csv", frame.take(slice(61))),
    )
    first = bring(ledger, late, early)
    files = ledger.bars.files(BTC)
    again = bring(ledger, late, early)
    stream = ledger.streams.get(BTC)

    assert (first, again) == (
        Appended(stored=98, duplicates=1, revised=0),
        Appended(stored=0, duplicates=99, revised=0),
    )
    assert [file.bars for file in files] == [40, 21, 37] and ledger.bars.files(BTC) == files
    assert {file.source for file in files} == {"import:early.csv", "import:late.csv"}
    assert stream is not None
    assert (stream.origin, stream.watermark, stream.gaps_open) == (Origin.IMPORT, START + 100 * MINUTE, 1)
    assert same(ledger.bars.read(BTC), frame)
    assert all(finding.ok for finding in ledger.fsck())


def test_other_values_are_revisions_and_older_bars_go_before(ledger: Ledger, tmp_path: Path) -> None:
    """What is known with other values is kept beside them; a dry run says the same and writes nothing."""
    frame = candles(60)
    bring(ledger, written(tmp_path / "a.csv", frame.take(slice(20, 60))))
    before = ledger.bars.files(BTC)
    frame.close[30] += 0.25
    file = written(tmp_path / "b.csv", frame)
    foreseen = compared(ledger, BTC, Origin.IMPORT, judged(file, BTC, ledger.now(), naive_is_utc=False))
    assert ledger.bars.files(BTC) == before
    brought = bring(ledger, file)

    assert foreseen == brought == Appended(stored=20, duplicates=39, revised=1)
    assert same(ledger.bars.read(BTC), frame)
    assert ledger.bars.read(BTC).revision.tolist() == [1 if at == 30 else 0 for at in range(60)]


def test_origins_are_mixed_only_when_it_is_said(ledger: Ledger, tmp_path: Path) -> None:
    """Files join the candles of an exchange only as its own, and never those of a simulator; nothing is written."""
    ledger.streams.register(BTC, Origin.EXCHANGE)
    file = written(tmp_path / "a.csv", candles(30))
    with pytest.raises(Conflict, match="say so with --origin exchange"):
        bring(ledger, file)
    assert len(ledger.bars.read(BTC)) == 0
    assert bring(ledger, file, origin=Origin.EXCHANGE).stored == 30


@pytest.mark.parametrize("kind", ["s", "us", "iso", "offset", "binance", "gz", "feather", "parquet", "naive"])
def test_many_forms_are_one_candle(kind: str, tmp_path: Path) -> None:
    """Epoch s, ms and us, ISO-8601, Binance's archive with and without header, feather and parquet mean the same."""
    frame, file = candles(8), tmp_path / "a.csv"
    if kind in ("feather", "parquet"):
        file = file.with_suffix(f".{kind}")
        date = pa.array(frame.open_time).cast(pa.timestamp("ms", "UTC"))
        table = pa.table({"date": date, **{name: getattr(frame, name) for name in HEADER.split(",")[1:]}})
        (feather.write_feather if kind == "feather" else parquet.write_table)(table, str(file))
    elif kind == "binance":
        rows = [f"{t},{','.join(map(repr, v))},{t + 59_999},1.5,3,1,1,0" for t, *v in frame.rows()]
        file.write_text("\n".join(rows) + "\n")
    else:
        time: dict[str, Callable[[int], str]] = {
            "s": lambda t: str(t // 1_000),
            "us": lambda t: str(t * 1_000),
            "iso": iso,
            "offset": lambda t: iso(t + 7_200_000).replace("T", " ").replace("Z", "+02:00"),
            "naive": lambda t: iso(t)[:-1],
            "gz": str,
        }
        written(file, frame, time[kind], "Date, Open,HIGH,low,close,Volume")
        if kind == "gz":
            packed = tmp_path / "a.csv.gz"
            packed.write_bytes(gzip.compress(file.read_bytes()))
            file = packed
    source = judged(file, BTC, START + 8 * MINUTE, naive_is_utc=kind == "naive")
    (read,) = imports._frames(source, BTC)

    assert (source.bars, source.first, source.last) == (8, START, START + 7 * MINUTE)
    assert same(read, frame)


@pytest.mark.parametrize(
    ("line", "row", "sentence"),
    [
        (5, "{time},103,dear,102.5,104,1", "line 5: its high is 'dear', which is no number; mend"),
        (5, "{time},103,,102.5,104,1", "line 5: its high is '', which"),
        (5, "{time},103,102,102.5,104,1", r"line 5 \(2024-03-01T00:03:00Z 103, 102, .*: its high is not the highest"),
        (5, "{time},103,nan,102.5,104,1", "line 5 .*: a value is not a finite number; mend"),
        (5, "{time},103,104.5,102.5,104,-1", "line 5 .*: its volume is negative"),
        (5, "{time},103000,104500,102500,104000,1", "line 5 .* more than tenfold off its neighbours"),
        (5, "{time},103,104.5,102.5,104", "line 5: .* has 5 columns and not 6"),
        (5, "lunch,103,104.5,102.5,104,1", "line 5: its time is 'lunch'; write UTC timestamps"),
        (5, "{seconds},103,104.5,102.5,104,1", "line 5: its time 1709251380 looks like seconds, and others"),
        (5, "{odd},103,104.5,102.5,104,1", "line 5 .* not a multiple of the timeframe"),
        (5, "1709251200000,103,104.5,102.5,104,1", r"(?s)line 2 .*with different values.*line 5 .*goes back in time"),
        (13, "{time},103,104.5,102.5,104,1", "line 13 .* has not closed yet; remove it"),
    ],
)
def test_a_bad_row_is_named(line: int, row: str, sentence: str, tmp_path: Path) -> None:
    """The refusal names file, line, value and remedy; the bar that is still open counts among them."""
    bad = written(tmp_path / "bad.csv", candles(11))
    time = START + (line - 2) * MINUTE
    lines = bad.read_text().splitlines()
    lines[line - 1 : line] = [row.format(time=time, seconds=time // 1_000, odd=time + 1)]
    bad.write_text("\n".join(lines) + "\n")

    with pytest.raises(BadCandles, match=sentence):
        judged(bad, BTC, START + 12 * MINUTE - 1, naive_is_utc=False)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("1,2,3\n4,5,6\n", "3 columns and no header.* add date,open"),
        ("a,b\n1,2\n", r"has the columns \['a', 'b'\]; it needs date,open"),
        (f"{HEADER}\n2024-03-01T00:00:00,1,1,1,1,1\n", "bear no zone; if they are UTC, say so with --utc"),
        (f"{HEADER}\n20240301,1,1,1,1,1\n", "its time was meant otherwise; write it as 2024"),
        (f"{HEADER}\n", "holds no candles"),
        ("", "is empty; it needs date,open"),
        ("date;open;high;low;close;volume\n2024-03-01;1;1;1;1;1\n", "is separated by ';'; write it with commas"),
        ("1709251200000\t1\t1\t1\t1\t1\n", "is separated by '.t'"),
        (f"{HEADER},close\n1709251200000,1,1,1,1,1,2\n", "names 'close' more than once; keep the one"),
        (f"{HEADER}\n1e400,1,1,1,1,1\n", "its time inf is no UTC time"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(content: str, sentence: str, tmp_path: Path) -> None:
    """Columns, zones and units are never guessed."""
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(TidewheelError, match=sentence):
        judged(tmp_path / "a.csv", BTC, START + 100 * MINUTE, naive_is_utc=False)


def test_bars_of_another_timeframe_are_refused(tmp_path: Path) -> None:
    """Five-minute bars are aligned to the minute too, and would make a stream of holes."""
    file = written(tmp_path / "a.csv", candles(20, "5m"))
    with pytest.raises(BadInput, match=r"300 s apart, and those of binance:BTC/USDT:1m last 60 s; name its own"):
        judged(file, BTC, START + 500 * MINUTE, naive_is_utc=False)


def test_an_outlier_is_seen_across_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read in pieces, and a bar at the edge of one is judged beside those of the next."""
    monkeypatch.setattr("tidewheel.market.candle_files._CSV_BLOCK", 200)
    frame = candles(40)
    good = judged(written(tmp_path / "a.csv", frame), BTC, START + 40 * MINUTE, naive_is_utc=False)
    pieces = list(imports._frames(good, BTC))
    edge = len(pieces[0])
    for column in (frame.open, frame.high, frame.low, frame.close):
        column[edge - 1 : edge] *= 100
    with pytest.raises(BadCandles, match=f"line {edge + 1} .* tenfold"):
        judged(written(tmp_path / "b.csv", frame), BTC, START + 40 * MINUTE, naive_is_utc=False)

    assert len(pieces) > 3 and sum(map(len, pieces)) == 40


def test_the_command_tells_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` and the import itself tell the same numbers; the same file again brings nothing."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    migrate(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    command = ["import", str(written(tmp_path / "a.csv", candles(30))), "--symbol", "BTC/USDT", "--offline", "--json"]
    answers = []
    for extra in (["--dry-run"], [], []):
        with pytest.raises(SystemExit) as ended:
            main([*command, *extra])
        assert ended.value.code in (0, None)
        answers.append(json.loads(capsys.readouterr().out))

    assert [(each["files"][0]["new"], each["files"][0]["known"]) for each in answers] == [(30, 0), (30, 0), (0, 30)]
    assert [each["watermark"] for each in answers] == [None, "2024-03-01T00:30:00Z", "2024-03-01T00:30:00Z"]
    worse = written(tmp_path / "b.csv", candles(40))
    worse.write_text(worse.read_text().replace(",101.5,", ",1.5,"))
    more = written(tmp_path / "c.csv", candles(50))
    with pytest.raises(SystemExit) as ended:
        main(["import", str(more), str(worse), *command[2:]])
    assert ended.value.code == 1 and json.loads(capsys.readouterr().out)["code"] == "bad_candles"
    ledger = open_ledger(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    assert len(ledger.bars.read(BTC)) == 30
    ledger.close()
    with pytest.raises(SystemExit):
        main([*command[:2], "--symbol", "BTC/USDT", "--market", "futures", "--offline"])
    assert "not ccxt's own spelling for futures, as BTC/USDT:USDT" in capsys.readouterr().err


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit status and what `tidewheel import` wrote."""
    with pytest.raises(SystemExit) as ended:
        main(["import", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


def test_daily_tickers_are_no_market_of_ccxt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A share's days go in as people have them, from 1990 on too; weekends and holidays are no gaps, a month is."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    migrate(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    frame = dips_market(["AAPL"], 400, start=parse_time("1990-01-01")).frames["AAPL"]
    day = np.arange(400)
    held = frame.take((day % 21 != 0) & ((day < 300) | (day > 322)))
    how = ("--symbol", "AAPL", "--timeframe", "1d", "--utc", "--offline")
    file = str(write_days(tmp_path / "AAPL.csv", held))
    status, told = run(capsys, file, *how, "--origin", "synthetic")
    assert status == 0, told
    assert "stocks:AAPL:1d (synthetic) stands at 1991-07-12T00:00:00Z, with 1 open gaps" in told
    assert run(capsys, file, *how)[0] == 1  # what is made is never mixed with what was traded
    assert "nasdaq:AAPL:1d (import)" in run(capsys, file, *how, "--exchange", "nasdaq")[1]
    ledger = open_ledger(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    assert [str(stream.key) for stream in ledger.streams.all()] == ["nasdaq:AAPL:1d", "stocks:AAPL:1d"]
    assert len(ledger.bars.read(StreamKey("stocks", "AAPL", "1d"))) == len(held)
    (gap,) = ledger.bars.gaps(StreamKey("stocks", "AAPL", "1d"))
    assert (gap.start, gap.end) == (frame.open_time[299] + DAY, frame.open_time[323])
    assert all(finding.ok for finding in ledger.fsck())
    ledger.close()


def test_a_folder_of_tickers_goes_in_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file is the ticker that it is named after; one bad file, or one of another origin, refuses them all."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    migrate(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    made = dips_market(("BRK.B", "MSFT", "AMD"), 30)
    files = {ticker: str(file) for ticker, file in made.written(tmp_path).items()}
    files["MSFT"] = str(Path(files["MSFT"]).rename(tmp_path / "msft.csv"))
    how = ("--tickers", "--timeframe", "1d", "--utc")
    bad = tmp_path / "NEW.csv"
    bad.write_text("Date,Open,High,Low,Close,Volume\n2024-03-01,1,1,1,1,-1\n")
    assert run(capsys, *files.values(), str(bad), *how)[0] == 1
    assert run(capsys, files["AMD"], *how, "--origin", "synthetic")[0] == 0
    assert "are never mixed in" in run(capsys, *files.values(), *how)[1]
    ledger = open_ledger(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    assert [str(stream.key) for stream in ledger.streams.all()] == ["stocks:AMD:1d"]
    status, told = run(capsys, *files.values(), *how, "--origin", "synthetic", "--json")
    assert status == 0, told
    answer = json.loads(told[: told.rindex("}") + 1])
    assert {each["stream"]: each["files"][0]["new"] for each in answer["streams"]} == {
        "stocks:BRK.B:1d": 30, "stocks:MSFT:1d": 30, "stocks:AMD:1d": 0,
    }  # fmt: skip
    for ticker, frame in made.frames.items():
        assert same(ledger.bars.read(StreamKey("stocks", ticker, "1d")), frame)
    ledger.close()
    odd = str(write_days(tmp_path / "my days.csv", made.frames["AMD"]))
    assert "is not named after a ticker, as AAPL.csv" in run(capsys, odd, *how)[1]
    assert "either --symbol names one stream, or --tickers" in run(capsys, odd, "--timeframe", "1d")[1]


@pytest.mark.parametrize(
    ("symbol", "exchange", "refused"),
    [("btcusdt", None, True), ("BTCUSDT", None, True), ("AAPL", "binance", True), ("aapl", None, True),
     ("AAPL/USD", None, False), ("^VIX", "cboe", False), ("BRK.B", None, False)],
)  # fmt: skip
def test_what_is_meant_as_a_pair_is_no_ticker(
    symbol: str, exchange: str | None, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Nothing that looks like a pair, and nothing of an exchange that ccxt knows, becomes a ticker unseen."""
    monkeypatch.setenv("TIDEWHEEL_HOME", str(tmp_path / "home"))
    migrate(str(tmp_path / "home/ml/manifest.sqlite"), tmp_path / "home/ml")
    file = str(write_days(tmp_path / "a.csv", dips_market(["A"], 5).frames["A"]))
    named = () if exchange is None else ("--exchange", exchange)
    status, told = run(capsys, file, "--symbol", symbol, "--timeframe", "1d", "--utc", "--offline", *named)
    assert status == int(refused), told
    assert ("a ticker is written in capitals" in told) is refused


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("Date,Open,High,Low,Close\n2024-03-01,1,1,1,1\n", "no column of volumes; add one, of zeros where nobody"),
        ("Date,Open,High,Low,Close,Volume\n2024-03-01,1,1,1,1,\n", "line 2: its volume is ''"),
        ("Date,Open,High,Low,Close,Volume\n2024-03-01 16:00:00-05:00,1,1,1,1,1\n", "write its date alone, such as"),
        ("Date,Open,High,Low,Close,Volume\n20240301,1,1,1,1,1\n", "its time was meant otherwise; write it as 2024"),
        ("Date,Open,High,Low,Close,Volume\n03/01/2024,1,1,1,1,1\n", "its time is '03/01/2024'; write UTC"),
    ],
    ids=["no volume", "a volume missing", "a close in New York", "a number as a date", "month first"],
)
def test_days_that_people_have_are_refused_with_a_remedy(content: str, sentence: str, tmp_path: Path) -> None:
    """What cannot be taken as it is says how to write it."""
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(TidewheelError, match=sentence):
        judged(tmp_path / "a.csv", StreamKey("stocks", "AAPL", "1d"), parse_time("2025-01-01"), naive_is_utc=True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_midnight_of_the_market_names_its_session(kind: str, tmp_path: Path) -> None:
    """As libraries write a share's days: in its exchange's zone, summer time and winter time; a coin's are UTC days."""
    days = ["2024-03-08", "2024-03-11"]
    texts = [f"{days[0]} 00:00:00-05:00", f"{days[1]} 00:00:00-04:00"]
    file = tmp_path / f"AAPL.{kind}"
    if kind == "csv":
        file.write_text("\n".join(["Date,Open,High,Low,Close,Volume", *(f"{text},5,6,4,5,9" for text in texts)]) + "\n")
    else:
        zoned = pa.array([parse_time(text) for text in texts]).cast(pa.timestamp("ms", "America/New_York"))
        columns = {name: [5.0, 5.0] for name in ("Open", "High", "Low", "Close", "Volume")}
        parquet.write_table(pa.table({"Date": zoned, **columns}), str(file))
    source = judged(file, StreamKey("stocks", "AAPL", "1d"), parse_time("2025-01-01"), naive_is_utc=False)
    assert (source.first, source.last) == tuple(parse_time(day) for day in days)
    with pytest.raises(BadCandles, match="not a multiple of the timeframe"):
        judged(file, StreamKey("binance", "BTC/USDT", "1d"), parse_time("2025-01-01"), naive_is_utc=False)


def test_prices_that_stand_still_and_volumes_of_nothing_go_in(tmp_path: Path) -> None:
    """An index has no volume, and a dead share one price: both are days."""
    rows = "".join(f"2024-03-{day:02},5,5,5,5,4.2,0\n" for day in (1, 4, 5, 6))
    (tmp_path / "a.csv").write_text("Date,Open,High,Low,Close,Adj Close,Volume\n" + rows)
    key = StreamKey("stocks", "^VIX", "1d")
    assert judged(tmp_path / "a.csv", key, parse_time("2025-01-01"), naive_is_utc=True).bars == 4
