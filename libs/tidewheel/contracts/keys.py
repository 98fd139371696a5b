"""Names of streams and models, and the one function that turns a name into a path part."""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote

from tidewheel.contracts.errors import BadInput
from tidewheel.contracts.times import DAY, UtcMillis, iso, step_millis

FAMILY = "hmm"  #: of models, and the consumer that trains them, where nothing names another
CHAMPION = "champion"  #: alias of the version that a registered model's bare name means
BASELINE = "baseline"  #: the registered model that others must beat where their name has no champion
REGISTRY_CONSUMERS = "registry-"  #: how the consumer of a registered model's runs begins; it claims no files
BOUNCE_CONSUMERS = "bounce-"  #: the same of BounceHunter's runs; what its configuration's hash begins with follows
STOCKS = "stocks"  #: exchange of imported tickers where nobody names another
LONGEST_PAUSE = 10 * DAY  #: for which a market of sessions may be closed
_EXCHANGE = re.compile(r"[a-z0-9_]{1,40}")
_MAX_SYMBOL = 80
_TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.^_-]{0,19}")
_PAIRED = ("USDT", "USDC", "FDUSD", "BUSD")  #: how pairs end that are written without their slash
_MAX_READABLE = 96  #: two components, a suffix and a temporary name's random part fit into the 255 bytes of a file name
_IDENTIFIER = re.compile(r"[a-z0-9._-]+")
_LOWER = re.compile(r"[a-z]")
_STRATEGY = re.compile(r"[a-z0-9_]{1,64}")
_PRESET = re.compile(r"[a-z0-9_-]{1,64}")
_DECISION = re.compile(r"[1-9][0-9]{0,17}")
_MAX_INSTRUMENT = 120
_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_OTHER_FAMILIES = frozenset(("lstm", "patchtst", "ppo_lstm", "sac_patchtst", "bottom", "bounce"))  #: and all hmm*
_VERSION = re.compile(r"v[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{8}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)  #: devices on Windows shares


@dataclass(frozen=True, order=True, slots=True)
class StreamKey:
    """One series of candles, written `binance:BTC/USDT:1m`.

    The symbol is ccxt's unified one and may itself hold colons (`BTC/USDT:USDT`).
    """

    exchange: str
    symbol: str
    timeframe: str

    def __post_init__(self) -> None:
        if not _EXCHANGE.fullmatch(self.exchange):
            raise BadInput(f"exchange {self.exchange!r} is not a ccxt exchange id, such as binance")
        if not self.symbol or len(self.symbol) > _MAX_SYMBOL or not self.symbol.isprintable():
            raise BadInput(f"symbol {self.symbol!r} is empty, not printable or longer than {_MAX_SYMBOL} characters")
        step_millis(self.timeframe)

    @classmethod
    def parse(cls, text: str) -> "StreamKey":
        """Read `exchange:symbol:timeframe`.

        Raises:
            BadInput: a part is missing or malformed.
        """
        exchange, _, rest = text.partition(":")
        symbol, _, timeframe = rest.rpartition(":")
        if not symbol:
            raise BadInput(f"stream {text!r} is not of the form exchange:symbol:timeframe, such as binance:BTC/USDT:1m")
        return cls(exchange, symbol, timeframe)

    def __str__(self) -> str:
        return f"{self.exchange}:{self.symbol}:{self.timeframe}"

    @property
    def step(self) -> int:
        """Length of one bar in milliseconds."""
        return step_millis(self.timeframe)

    @property
    def trades_in_sessions(self) -> bool:
        """Whether its market closes, at night and at weekends: a ticker's (`AAPL`); ccxt's symbols have a slash."""
        return "/" not in self.symbol

    @property
    def longest_step(self) -> int:
        """Distance of two neighbouring bars beyond which one is missing, ms; a closed market is no gap."""
        return max(self.step, LONGEST_PAUSE) if self.trades_in_sessions else self.step


@dataclass(frozen=True, order=True, slots=True)
class PairKey:
    """What parameters are chosen for: a strategy on an instrument.

    The instrument is the engine's own name for it, slashes and colons included (`BTC/USDT`, `binance:BTC/USDT:1m`).
    """

    strategy: str
    instrument: str

    def __post_init__(self) -> None:
        if not _STRATEGY.fullmatch(self.strategy):
            raise BadInput(f"strategy {self.strategy[:80]!r} is not 1 to 64 of a-z, 0-9 and _")
        name = self.instrument
        if "\ufffd" in name:  # what a server makes of bytes that are not UTF-8: many names would become one
            raise BadInput(f"instrument {name[:80]!r} is not UTF-8; percent-encode its UTF-8 bytes")
        if not name.isprintable() or name != name.strip() or not 0 < len(name) <= _MAX_INSTRUMENT:
            raise BadInput(
                f"instrument {name[:80]!r} is empty, not printable, padded or longer than {_MAX_INSTRUMENT} characters"
            )

    def __str__(self) -> str:
        return f"{self.strategy}/{self.instrument}"


def is_ticker(text: str) -> bool:
    """Whether `text` is written as a share, fund or index is (`AAPL`, `BRK.B`, `^VIX`), and not as a pair of coins."""
    return _TICKER.fullmatch(text) is not None and not text.endswith(_PAIRED)


def preset_id(text: str) -> str:
    """`text`, where it can name a preset.

    Raises:
        BadInput: it cannot.
    """
    if not _PRESET.fullmatch(text):
        raise BadInput(f"preset_id {text[:80]!r} is not 1 to 64 of a-z, 0-9, _ and -")
    return text


def model_name(text: str) -> str:
    """`text`, where it can name a registered model.

    Raises:
        BadInput: it cannot, or it is the name of a family that is no registered model.
    """
    if text in _OTHER_FAMILIES or text.startswith(FAMILY):
        raise BadInput(
            f"model_name {text[:80]!r} is kept for models of another kind "
            f"(hmm..., {', '.join(sorted(_OTHER_FAMILIES))}); choose another, such as my_{text[:40]}"
        )
    if not _MODEL.fullmatch(text):
        raise BadInput(
            f"model_name {text[:80]!r} is not 1 to 64 of a-z, 0-9, _ and -, the first a letter or a digit; "
            "write it like random_forest_v1"
        )
    return text


def registry_consumer(name: str) -> str:
    """The consumer of a registered model's runs: one of them is active at a time."""
    return REGISTRY_CONSUMERS + name


def bounce_consumer(config_hash: str) -> str:
    """The consumer of the runs that fit BounceHunter's configuration of that hash (hex): one is active at a time."""
    return BOUNCE_CONSUMERS + config_hash[:16]


def version_name(day: UtcMillis, digest: str) -> str:
    """The name of a version: the UTC date of `day`, and what `digest` (hex) begins with."""
    return f"v{iso(day)[:10]}-{digest[:8]}"


def is_version(text: str) -> bool:
    """Whether `text` is written as the name of a version, `v2026-01-31-0a1b2c3d`."""
    return _VERSION.fullmatch(text) is not None


def model_version(text: str) -> str:
    """`text`, where it can name a version of a model.

    Raises:
        BadInput: it cannot.
    """
    if not is_version(text):
        raise BadInput(f"version {text[:80]!r} is not of the form v2026-01-31-0a1b2c3d")
    return text


def model_alias(text: str) -> str:
    """`text`, where it can be an alias of a registered model's versions.

    Raises:
        BadInput: it cannot, or looks like the name of a version.
    """
    if not _ALIAS.fullmatch(text) or is_version(text):
        raise BadInput(
            f"alias {text[:80]!r} is not 1 to 40 of a-z, 0-9, _ and -, the first a letter, or it looks like a version; "
            "write it like champion or staging"
        )
    return text


@dataclass(frozen=True, slots=True)
class ConfigId:
    """What an order is tagged with: the decision and its preset, written `17:breakout-fast`."""

    decision: int
    preset: str

    @classmethod
    def parse(cls, text: str) -> "ConfigId":
        """Read `decision:preset`.

        Raises:
            BadInput: it is not of that form.
        """
        number, _, preset = text.partition(":")
        if not _DECISION.fullmatch(number) or not _PRESET.fullmatch(preset):
            raise BadInput(f"config_id {text[:120]!r} is not of the form that GET /param answers, such as 17:fast")
        return cls(int(number), preset)

    def __str__(self) -> str:
        return f"{self.decision}:{self.preset}"


def path_part(name: str) -> str:
    """Encode any name as one path component of at most 97 ASCII characters, never hidden and never with a separator.

    Two names never share a component, not even on a disk that takes `A` for `a`. Names as they usually are stay
    readable: lower-case identifiers (`binance`, `1m`) as they are, upper-case symbols percent-encoded
    (`BTC%2FUSDT`). Every other name ends in a mark, which no encoding contains, and its digest.

    Raises:
        BadInput: the name is empty.
    """
    if not name:
        raise BadInput("an empty name cannot become a path")
    encoded = quote(name, safe="", errors="surrogatepass")
    # The two kinds cannot meet when case is ignored: an identifier holds no escape, and such a symbol holds one.
    usual = _IDENTIFIER.fullmatch(name) or ("%" in encoded and not _LOWER.search(name))
    edges_free = not encoded.startswith(".") and not encoded.endswith(".")
    if usual and edges_free and len(encoded) <= _MAX_READABLE and not _DEVICE.match(encoded):
        return encoded
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{encoded.replace('.', '%2E')[: _MAX_READABLE - 32]}={digest}"
