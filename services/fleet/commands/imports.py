"""`tidewheel import`: candles from files into the ledger."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.fleet.output import json_option, moment, print_json, table
from tidewheel.contracts.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.fleet.imports import Source
    from services.ingester.settings import IngesterSettings
    from tidewheel.contracts.keys import StreamKey
    from tidewheel.ledger.records import Appended


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--exchange", help="ccxt's id of the exchange.  [default: EXCHANGE; of a ticker: stocks]")
@click.option("--market", type=click.Choice(["spot", "futures"]), help="Kind of market.  [default: EXCHANGE_TYPE]")
@click.option("--symbol", help="Such as BTC/USDT or btcusdt; offline also a ticker, AAPL.")
@click.option("--tickers", is_flag=True, help="Each file is a ticker of its own, named as the file: AAPL.csv.")
@click.option("--timeframe", help="Length of a bar, such as 1m.  [default: TIMEFRAME]")
@click.option(
    "--origin",
    type=click.Choice(["import", "exchange", "synthetic"]),
    default="import",
    show_default=True,
    help="exchange: they are the exchange's own candles, and join those that the ingester fetches. "
    "synthetic: nobody ever traded them.",
)
@click.option("--utc", is_flag=True, help="Times without a zone are UTC; otherwise they are refused.")
@click.option("--offline", is_flag=True, help="Take the symbol as it stands, without asking the exchange for it.")
@click.option("--dry-run", is_flag=True, help="Judge the files and tell what would be stored; write nothing.")
@json_option
def import_files(
    files: tuple[Path, ...],
    exchange: str | None,
    market: str | None,
    symbol: str | None,
    tickers: bool,
    timeframe: str | None,
    origin: str,
    utc: bool,
    offline: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Store candles of CSV, parquet or feather files (date,open,high,low,close,volume), as one stream or one a file.

    Every row of every file is judged before the first is stored. The same files again change nothing; a bar that is
    known with other values becomes a revision.
    """
    from services.fleet.commands.ledger import opened
    from services.fleet.display import display
    from services.fleet.imports import compared, imported, judged, require_origin
    from tidewheel.contracts.states import Origin

    settings = _settings(exchange=exchange, exchange_type=market, timeframe=timeframe)
    if tickers is (symbol is not None):
        raise click.UsageError("either --symbol names one stream, or --tickers makes one of each file")
    shown, files, brought = display(), tuple(dict.fromkeys(files)), dict[Path, "Appended"]()
    with opened() as ledger:
        keys = {file: _stream(settings, exchange, symbol or _stem(file), offline or tickers) for file in files}
        for key in set(keys.values()):
            require_origin(ledger, key, Origin(origin))
        now, sources = ledger.now(), list["Source"]()
        with shown.step(f"judging {len(files)} file(s) for {_in_words(keys)}"):
            for done, file in enumerate(files):
                shown.progress(done / len(files), file.name)
                sources.append(judged(file, keys[file], now, naive_is_utc=utc))
        groups = {key: [source for source in sources if keys[source.path] == key] for key in keys.values()}
        if dry_run:
            for source in sources:
                brought[source.path] = compared(ledger, keys[source.path], Origin(origin), source)
        else:
            with shown.step(f"storing {sum(source.bars for source in sources)} bars"):
                owner = f"cli:{getpass.getuser()}"
                for key, group in groups.items():
                    brought |= imported(ledger, key, Origin(origin), group, owner, shown.progress)
        streams = {key: ledger.streams.get(key) for key in groups}
    told = [
        {
            "stream": str(key),
            "dry_run": dry_run,
            "origin": origin if stream is None else stream.origin.value,
            "watermark": moment(stream.watermark) if stream else None,
            "open_gaps": stream.gaps_open if stream else 0,
            "files": [_row(source, brought[source.path]) for source in groups[key]],
        }
        for key, stream in streams.items()
    ]
    if as_json:
        print_json({"streams": told} if tickers else told[0])
    else:
        _tell(told)


def _tell(streams: "Sequence[Mapping[str, Any]]") -> None:
    """The answer for people."""
    click.echo(table([row for told in streams for row in told["files"]]))
    for told in streams:
        key = told["stream"]
        if told["dry_run"]:
            click.echo(f"Nothing was written; without --dry-run this would go into {key}.")
        else:
            click.echo(f"{key} ({told['origin']}) stands at {told['watermark']}, with {told['open_gaps']} open gaps.")


def _in_words(keys: "Mapping[Path, StreamKey]") -> str:
    streams = set(keys.values())
    return f"{len(streams)} streams" if len(streams) > 1 else str(next(iter(streams)))


def _stem(file: Path) -> str:
    """The ticker that a file is named after.

    Raises:
        BadInput: it cannot be one.
    """
    from tidewheel.contracts.keys import is_ticker

    name = file.name.removesuffix(".gz").rpartition(".")[0].upper()
    if not is_ticker(name):
        raise BadInput(f"{file} is not named after a ticker, as AAPL.csv; rename it, or give it a --symbol alone")
    return name


def _row(source: "Source", brought: "Appended") -> dict[str, Any]:
    return {
        "file": str(source.path),
        "bars": source.bars,
        "first": moment(source.first),
        "last": moment(source.last),
        "new": brought.stored,
        "known": brought.duplicates,
        "revised": brought.revised,
    }


def _settings(**given: str | None) -> "IngesterSettings":
    """The ingester's, but for what was given."""
    from services.ingester.settings import IngesterSettings
    from tidewheel.kit.settings import load

    return load(IngesterSettings, **{name: value for name, value in given.items() if value is not None})


def _stream(settings: "IngesterSettings", exchange: str | None, symbol: str, offline: bool) -> "StreamKey":
    """The stream that is meant: a share's, fund's or index's, or of a market of ccxt's."""
    from tidewheel.contracts.keys import STOCKS, StreamKey, is_ticker

    if offline and is_ticker(symbol) and settings.exchange_type == "spot":
        import ccxt

        named = (exchange or STOCKS).strip().lower()
        if named not in ccxt.exchanges:
            return StreamKey(named, symbol, settings.timeframe)
    return _market(settings, symbol, offline)


def _market(settings: "IngesterSettings", symbol: str, offline: bool) -> "StreamKey":
    """The stream of a market, the symbol by the exchange's own list unless `offline`."""
    from services.fleet.local.home import exchange_address
    from services.fleet.local.supervisor import read_state
    from tidewheel.contracts.keys import StreamKey
    from tidewheel.market.limiter import Limiter
    from tidewheel.market.open import open_exchange

    exchange = open_exchange(
        settings.exchange,
        type=settings.exchange_type,
        url=exchange_address(settings, read_state(settings.tidewheel_home)),
        limiter=Limiter(settings.data_dir / "limits"),
    )
    exchange.check_timeframe(settings.timeframe)
    if offline:
        base, _, rest = symbol.partition("/")
        if not base or not rest or (settings.exchange_type == "futures") is not (":" in rest):
            example = "BTC/USDT:USDT" if settings.exchange_type == "futures" else "BTC/USDT"
            raise BadInput(
                f"symbol {symbol!r} is not ccxt's own spelling for {settings.exchange_type}, as {example}; "
                "a ticker is written in capitals, as AAPL, and its --exchange is none of ccxt's"
            )
        return StreamKey(exchange.id, symbol, settings.timeframe)
    try:
        return StreamKey(exchange.id, exchange.resolve(symbol), settings.timeframe)
    except Unavailable as away:
        raise Unavailable(
            f"{away.detail}; or write ccxt's own symbol, or a ticker as AAPL, and --offline", code=away.code
        ) from away
