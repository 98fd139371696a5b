"""The exchange of a ccxt id, as the settings describe it."""

from typing import Any, Literal
from urllib.parse import urlsplit

from tidewheel.contracts.errors import BadInput
from tidewheel.market.addresses import first_address, redirect
from tidewheel.market.exchange import Exchange
from tidewheel.market.limiter import Limiter
from tidewheel.market.symbols import nearest


def open_exchange(
    exchange_id: str,
    *,
    type: Literal["spot", "futures"] = "spot",
    url: str | None = None,
    api_key: str | None = None,
    secret: str | None = None,
    sleep_ms: int = 0,
    limiter: Limiter,
) -> Exchange:
    """The exchange of that ccxt id; no request is sent yet.

    Args:
        exchange_id: such as `binance`.
        type: `futures` means linear perpetuals (USD-M), under their own id where ccxt has one (`binanceusdm`).
        url: EXCHANGE_URL; every REST and websocket address keeps its path and is asked here instead.
        api_key, secret: only for exchanges that show candles to nobody else.
        sleep_ms: SLEEP_MS, the least pause between two requests for candles.
        limiter: shared by the fleet.

    Raises:
        BadInput: ccxt does not know the exchange, or it has no candles.
        BadSetting: the url is not one.
    """
    wanted, client = _client(exchange_id, type, {"apiKey": api_key, "secret": secret})
    if url is not None:
        redirect(client, url)
    per_second = 1_000 / max(1.0, float(client.rateLimit))
    host = urlsplit(url or first_address(client.urls["api"])).netloc
    bucket = limiter.bucket(wanted, client.implode_hostname(host), per_second, burst=max(1.0, 2 * per_second))
    return Exchange(client, futures=type == "futures", bucket=bucket, pause=sleep_ms / 1_000)


def _client(exchange_id: str, type: Literal["spot", "futures"], account: dict[str, str | None]) -> tuple[str, Any]:
    """ccxt's id and its client for that kind of market."""
    import ccxt

    known: list[str] = ccxt.exchanges
    wanted = exchange_id.strip().lower()
    if wanted not in known:
        raise BadInput(
            f"exchange {exchange_id!r} is not known to ccxt{nearest(wanted, known)}", code="unknown_exchange"
        )
    if type == "futures":
        own_id = {"binance": "binanceusdm"}.get(wanted, f"{wanted}futures")
        wanted = own_id if own_id in known else wanted
    options: dict[str, Any] = {} if type == "spot" else {"defaultType": "swap", "defaultSubType": "linear"}
    if wanted.startswith("binance"):
        options["fetchMarkets"] = {"types": ["spot" if type == "spot" else "linear"]}
        # With a key ccxt would also ask for margin pairs, signed, which not every key may.
        options["fetchMargins"] = False
    client = getattr(ccxt, wanted)({**account, "options": options})
    if not client.has.get("fetchOHLCV"):
        raise BadInput(f"exchange {wanted!r} offers no candles through ccxt; choose another", code="unknown_exchange")
    # Binance's list of currencies needs a key and tells nothing about candles.
    if wanted.startswith("binance"):
        client.has["fetchCurrencies"] = False
    return wanted, client
