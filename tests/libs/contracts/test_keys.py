"""Names are data, never paths (R16)."""

import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from services.ml_trainer.settings import TrainerSettings
from tests.libs.models.worlds import candles
from tidewheel.contracts.errors import BadInput, BadSetting
from tidewheel.contracts.keys import ConfigId, PairKey, StreamKey, path_part
from tidewheel.kit.settings import load
from tidewheel.ledger.archive import Archive
from tidewheel.market.limiter import Limiter
from tidewheel.modelstore.store import ModelStore

NAMES = 100_000
KNOWN = (
    *("BTC/USDT", "BTC/USDT:USDT", "btc/usdt", "Btc/Usdt", "BTCUSDT", "btcusdt", "kPEPE/USDC:USDC", "KPEPE/USDC:USDC"),
    *(".", "..", "...", "../x", "..\\x", "/", "//", "/etc/passwd", "C:\\x", "~", "~root", "-rf", "--", "a/../b"),
    *("%2e%2e", "%2E%2E", "%2F", "%252F", "%00", "\x00", "a\x00b", "\n", " ", "a ", "a.", ".a", "A.", ".A/B", "a\tb"),
    *("con", "CON", "Con", "con.txt", "CON/X", "CON./X", "nul", "aux", "prn", "com1", "lpt9", "console", "$MFT"),
    *("current", "registry", ".staging", "binance", "1m", "hmm", "HMM", "hmm-strict", "_", "=", "a=b", "a:b", "a|b"),
    *("K/B", "\u212a/B", "ſ/B", "S/B", "é/B", "e\u0301/B", "ß/B", "ẞ/B", "SS/B", "ss/B", "İ/B", "\ud800", "\udfff/B"),
    *("x" * 96, "x" * 97, "X" * 300, "X" * 299 + "x", "/" * 32, "/" * 33, "🌊" * 8, "🌊" * 80, "\u202eTDSU/CTB"),
)  # fmt: skip
ALPHABETS = ("AB/", "aAbB", "abc./_-", "ABC%/:", ".%2eEfF/\\", "BTCUSDT/:-0123456789", "aAéÉßẞſK\u212aİı", "🌊🌀AaB/")
SAFE = re.compile(r"[A-Za-z0-9_%~=-][A-Za-z0-9._%~=-]*")

Encoder = Callable[[str], str]


def names(count: int, seed: int) -> set[str]:
    """Known traps, and random names: short ones of few letters meet often, long ones burst file names."""
    dice = random.Random(seed)
    found = set(KNOWN)
    while len(found) < count:
        alphabet = dice.choice(ALPHABETS) if dice.random() < 0.9 else [chr(dice.randrange(0x110000)) for _ in range(4)]
        name = "".join(dice.choices(alphabet, k=dice.choice((2, 4, 6, 12, 300 if dice.random() < 0.1 else 30))))
        found |= {name, name.swapcase(), name.lower(), name.title()}
    return found


def faults(encode: Encoder, given: Iterable[str]) -> list[str]:
    """What is wrong with `encode` as the maker of path components."""
    wrong: list[str] = []
    taken: dict[str, str] = {}
    for name in given:
        part = encode(name)
        if not SAFE.fullmatch(part) or part.endswith(".") or len(part) > 110:
            wrong.append(f"{name!r} becomes {part[:40]!r}, {len(part)} characters: no safe component")
        if part.partition(".")[0].lower() in ("con", "prn", "aux", "nul", "com1", "lpt9"):
            wrong.append(f"{name!r} becomes the device {part!r}")
        other = taken.setdefault(part.lower(), name)
        if other != name:
            wrong.append(f"{name!r} and {other!r} share {part!r}")
    return wrong


def test_every_name_has_a_component_of_its_own(report: Callable[[str], None]) -> None:
    """10^5 names: no two share a component, whatever a disk thinks of case; none leaves its folder or is too long."""
    given = names(NAMES, seed=1)

    assert faults(path_part, given) == []
    report(f"names encoded as path components: {len(given)}")


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (lambda name: quote(name, safe="-_~", errors="surrogatepass"), "no safe component"),
        (lambda name: quote(name, safe="-_~", errors="surrogatepass"), "share"),
        (lambda name: name.replace("/", "_"), "share"),
        (lambda name: path_part(name)[:60], "share"),
        (lambda name: quote(name.lower(), safe="", errors="surrogatepass") + "_", "share"),
    ],
)
def test_an_encoder_that_errs_is_caught(planted: Encoder, found: str) -> None:
    """Plain percent-encoding, a replaced separator, a cut name, folded case: each is seen."""
    assert any(found in fault for fault in faults(planted, names(5_000, seed=1)))


@pytest.mark.parametrize(
    ("name", "part"),
    [("binance", "binance"), ("BTC/USDT", "BTC%2FUSDT"), ("BTC/USDT:USDT", "BTC%2FUSDT%3AUSDT"), ("1m", "1m")],
)
def test_usual_names_stay_readable(name: str, part: str) -> None:
    """A person finds a stream's folder without a table."""
    assert path_part(name) == part


def test_other_names_can_be_recognised() -> None:
    """What comes before the mark tells a person which name it was."""
    assert re.fullmatch(r"kPEPE%2FUSDC=[0-9a-f]{32}", path_part("kPEPE/USDC"))
    with pytest.raises(BadInput, match="empty"):
        path_part("")


def test_what_is_really_written_stays_in_its_folder(tmp_path: Path) -> None:
    """Candles, model families and rate limits of odd names: one place each, all inside, on a real disk."""
    odd = sorted(KNOWN)[::2] + sorted(names(200, seed=2) - set(KNOWN))[::4]
    archive, store, limiter = Archive(tmp_path / "ml"), ModelStore(tmp_path / "models"), Limiter(tmp_path / "limits")
    frame = candles(np.array([0.0, 0.01]))
    streams = []
    for name in odd:
        try:
            streams.append(StreamKey("binance", name, "1m"))
        except BadInput:
            continue
    written = {archive.store(key, frame).csv_path.lower() for key in streams}
    for name in odd:
        limiter.bucket("binance", name, 1.0, 1.0).take()
        if name not in ("current", "registry"):
            with store.alone(name):
                pass

    assert len(streams) > 30
    assert len(written) == len(streams) == len(list((tmp_path / "ml").rglob("*.csv")))
    assert len(list((tmp_path / "limits").iterdir())) == len(odd)
    assert len(list((tmp_path / "models").iterdir())) == len(set(odd) - {"current", "registry"})
    assert {each.name for each in tmp_path.iterdir()} == {"ml", "models", "limits"}
    assert {len(each.relative_to(tmp_path).parts) for each in tmp_path.rglob("*.csv")} == {6}


@pytest.mark.parametrize("consumer", ["../evil", "a b", "HMM", "hmm/..", "", "x" * 41, "hmm\n"])
def test_a_consumer_is_a_plain_word(consumer: str) -> None:
    """TRAIN_CONSUMER names a family's folder; the whole of it must fit the form, not a part."""
    with pytest.raises(BadSetting, match="TRAIN_CONSUMER"):
        load(TrainerSettings, train_consumer=consumer)


def test_a_stream_is_written_and_read_alike() -> None:
    """`exchange:symbol:timeframe`; a symbol may hold colons, has up to 80 characters, and is printable."""
    key = StreamKey.parse("binance:BTC/USDT:USDT:1m")
    assert (key.exchange, key.symbol, key.timeframe) == ("binance", "BTC/USDT:USDT", "1m")
    assert str(key) == "binance:BTC/USDT:USDT:1m" and key.step == 60_000
    assert StreamKey("binance", "x" * 80, "1m").symbol == "x" * 80


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("binance", "not of the form exchange:symbol:timeframe"),
        ("binance:1m", "not of the form exchange:symbol:timeframe"),
        ("Binance:A/B:1m", "exchange 'Binance' is not a ccxt exchange id"),
        (":A/B:1m", "exchange '' is not a ccxt exchange id"),
        (f"binance:{'x' * 81}:1m", "longer than 80"),
        ("binance:A\x00B:1m", "not printable"),
        ("binance:A/B:1x", "timeframe '1x'"),
    ],
)
def test_what_is_no_stream_is_told_why(text: str, says: str) -> None:
    """The refusal names the part and its value."""
    with pytest.raises(BadInput, match=re.escape(says)):
        StreamKey.parse(text)
    with pytest.raises(BadInput, match="is empty"):
        StreamKey("binance", "", "1m")


@pytest.mark.parametrize("instrument", ["BTC/USDT", "binance:BTC/USDT:1m", "btcusdt", "€/¥"])
def test_a_pair_is_a_strategy_and_the_engine_s_own_name(instrument: str) -> None:
    """Slashes and colons are part of an instrument."""
    assert str(PairKey("trend_following", instrument)) == f"trend_following/{instrument}"


@pytest.mark.parametrize(
    ("strategy", "instrument"),
    [
        ("Trend", "x"), ("", "x"), ("a" * 65, "x"), ("a\n", "x"), ("a", ""), ("a", " x"), ("a", "x\n"),
        ("a", "x" * 121), ("a", "caf\ufffd"),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_be_meant_is_refused(strategy: str, instrument: str) -> None:
    """Names are bounded and printable."""
    with pytest.raises(BadInput):
        PairKey(strategy, instrument)


def test_a_config_id_reads_back() -> None:
    """An order's tag names the decision and its preset."""
    assert ConfigId.parse("17:fast") == ConfigId(17, "fast")
    assert str(ConfigId(17, "fast")) == "17:fast"


@pytest.mark.parametrize(
    "text", ["", "17", ":fast", "017:fast", "-1:fast", "17:Fast", "17:", "9" * 19 + ":fast", "١:a"]
)
def test_another_config_id_is_refused(text: str) -> None:
    """It has one spelling."""
    with pytest.raises(BadInput, match="config_id"):
        ConfigId.parse(text)
