import threading
import time
from pathlib import Path

import pytest

from services.fleet.local.ports import free_ports
from services.fleet.prove.apparatus.line import Line, State
from tests.servers import valkey
from tests.waiting import until
from tidewheel.contracts.errors import Unavailable
from tidewheel.kit.bus import Bus, Subscription, Told


def gathered(subscription: Subscription) -> tuple[list[Told], threading.Thread]:
    heard: list[Told] = []

    def listen() -> None:
        heard.extend(())
        for told in subscription:
            heard.append(told)

    thread = threading.Thread(target=listen)
    thread.start()
    return heard, thread


def test_what_is_told_is_heard(redis_url: str) -> None:
    """Exact and prefix channels arrive in order, others do not, and closing ends the iteration."""
    bus = Bus(redis_url)
    subscription = bus.subscribe("models.hmm", "candles.*")
    heard, thread = gathered(subscription)
    assert subscription.listening.wait(10)
    time.sleep(0.2)
    bus.publish("models.hmm", {"version": "v1"})
    bus.publish("models.lstm", {"version": "v2"})
    bus.publish("candles.binance:BTC/USDT:1m", {"watermark": 5})
    until(lambda: len(heard) == 2)
    assert heard == [Told("models.hmm", {"version": "v1"}), Told("candles.binance:BTC/USDT:1m", {"watermark": 5})]
    subscription.close()
    thread.join(5)
    assert not thread.is_alive()
    bus.close()


def test_listener_survives_the_server(tmp_path: Path) -> None:
    """A listener hears again after the server was killed and came back; a publisher is told that it is away."""
    port = free_ports(1)[0]
    bus = Bus(f"redis://127.0.0.1:{port}/0")
    subscription = bus.subscribe("models.hmm")
    with valkey(tmp_path, port):
        heard, thread = gathered(subscription)
        assert subscription.listening.wait(10)
        bus.publish("models.hmm", {"n": 1})
        until(lambda: len(heard) == 1)
    until(lambda: not subscription.listening.is_set())
    with pytest.raises(Unavailable, match="is away"):
        bus.publish("models.hmm", {"n": 2})
    with pytest.raises(Unavailable, match="is away"):
        bus.ping()
    with valkey(tmp_path, port):
        assert subscription.listening.wait(20)
        bus.publish("models.hmm", {"n": 3})
        until(lambda: len(heard) == 2)
        assert heard[-1] == Told("models.hmm", {"n": 3})
        subscription.close()
        thread.join(5)
    bus.close()


def test_not_a_number_is_never_told(redis_url: str) -> None:
    """NaN is refused where it would leave."""
    bus = Bus(redis_url)
    with pytest.raises(ValueError, match="JSON"):
        bus.publish("models.hmm", {"metric": float("nan")})
    bus.close()


def test_listener_notices_that_its_connection_died_without_a_close(tmp_path: Path) -> None:
    """Half-open: no byte comes and no end; the listener connects anew by itself and hears again."""
    port = free_ports(1)[0]
    with valkey(tmp_path, port), Line(port) as line:
        bus, direct = Bus(f"redis://127.0.0.1:{line.port}/0", silence_seconds=1), Bus(f"redis://127.0.0.1:{port}/0")
        subscription = bus.subscribe("models.hmm")
        heard, thread = gathered(subscription)
        assert subscription.listening.wait(10)
        line.turn(State.SILENT)
        line.turn(State.WHOLE)

        def hears() -> bool:
            direct.publish("models.hmm", {})
            return bool(heard)

        until(hears, 60)
        subscription.close()
        thread.join(10)
        assert not thread.is_alive()
        bus.close()
        direct.close()
