"""What people write for a pair, and the symbol that ccxt has for it."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from tidewheel.contracts.errors import BadInput


def resolved(written: str, markets: Mapping[str, Any], where: str) -> str:
    """ccxt's symbol of a pair written as `BTC/USDT`, `btc-usdt` or the exchange's own `btcusdt`.

    Args:
        markets: ccxt's, by symbol.
        where: what lists them, for the error.

    Raises:
        BadInput: none of them is meant; names the nearest.
    """
    text = written.strip()
    if text in markets:
        return text
    wanted = _letters(text)
    spellings: dict[str, str] = {}
    for symbol, market in markets.items():
        for spelling in (symbol, symbol.partition(":")[0], str(market["id"])):
            spellings.setdefault(_letters(spelling), symbol)
    if wanted in spellings:
        return spellings[wanted]
    near = get_close_matches(wanted, spellings, n=3, cutoff=0.6)
    hint = _did_you_mean(dict.fromkeys(spellings[name] for name in near))
    raise BadInput(f"symbol {written!r} is not traded on {where}{hint}", code="unknown_symbol")


def nearest(name: str, known: list[str]) -> str:
    """The end of an error's sentence: the known names that `name` may have meant; empty when none is near."""
    return _did_you_mean(get_close_matches(name, known, n=3, cutoff=0.6))


def _letters(symbol: str) -> str:
    return "".join(character for character in symbol.upper() if character.isalnum())


def _did_you_mean(near: Iterable[str]) -> str:
    names = " or ".join(near)
    return f"; did you mean {names}?" if names else ""
