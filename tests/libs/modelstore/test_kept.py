import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tidewheel.contracts.errors import BadModel
from tidewheel.features.frames import Floats
from tidewheel.modelstore.kept import KeptModels

KB = 1024


@dataclass(frozen=True)
class Sized:
    """A model of a given size."""

    nbytes: int
    features: int | None = 1
    outputs: int = 1

    def predict(self, rows: Floats) -> Floats:
        return rows


def test_a_hundred_who_ask_at_once_get_one_load() -> None:
    """While one thread loads, the others wait for it; all get the same model."""
    cache: KeptModels[Sized] = KeptModels(KB * KB)
    loads, gate = [], threading.Barrier(100)

    def load() -> Sized:
        loads.append(threading.get_ident())
        return Sized(10)

    def ask(_: int) -> object:
        gate.wait(60)
        return cache.get("a", load)

    with ThreadPoolExecutor(100) as pool:
        got = list(pool.map(ask, range(100)))

    assert len(loads) == 1
    assert {id(model) for model in got} == {id(got[0])}


def test_a_failed_load_reaches_all_who_waited_and_is_tried_again() -> None:
    """Nobody gets half a model, and a failure is no answer for the next one."""
    cache: KeptModels[Sized] = KeptModels(KB * KB)
    waiting, entered = threading.Event(), threading.Event()

    def fail() -> Sized:
        entered.set()
        waiting.wait(60)
        raise BadModel("damaged")

    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(cache.get, "a", fail)]
        entered.wait(60)
        asked += [pool.submit(cache.get, "a", fail) for _ in range(4)]
        waiting.set()
        errors = [each.exception() for each in asked]

    assert all(isinstance(error, BadModel) for error in errors)
    assert cache.get("a", lambda: Sized(1)) == Sized(1)


def test_the_models_used_last_are_kept_within_the_bound() -> None:
    """The one that nobody asked for longest goes first; one larger than the bound is served and not kept."""
    cache: KeptModels[Sized] = KeptModels(400 * KB)
    loads: list[str] = []

    def ask(digest: str, size: int = 60 * KB) -> None:
        def load() -> Sized:
            loads.append(digest)
            return Sized(size)

        assert cache.get(digest, load).nbytes == size

    for digest in "abcadacdb":  # of three that fit, b goes for d, and comes back for a
        ask(digest)
    for _ in range(2):
        ask("large", KB * KB)
    for digest in "cdb":
        ask(digest)

    assert loads == [*"abcdb", "large", "large"]


def test_what_is_dropped_is_loaded_anew() -> None:
    """And its room is free again; dropping what is not there does nothing."""
    cache: KeptModels[Sized] = KeptModels(400 * KB)
    first = cache.get("a", lambda: Sized(300 * KB))
    cache.drop("a")
    cache.drop("b")
    second = cache.get("a", lambda: Sized(300 * KB))
    assert first is not second
    assert cache.get("a", lambda: Sized(1)) is second
