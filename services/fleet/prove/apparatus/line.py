"""A TCP line to a server that can go bad without either end being told: what a firewall or a dead router does."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

_PIECE = 64 * 1024


class State(StrEnum):
    """What the line does with bytes."""

    WHOLE = "whole"  #: passes them on
    SILENT = "silent"  #: swallows them; a connection that sees this stays deaf for ever, its stream would have a hole
    STALLED = "stalled"  #: keeps them, and passes them on once it is whole again


class Line:
    """Listens on a loopback port and forwards to `port`; in a thread of its own, until the block ends."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._state = State.WHOLE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._changed = asyncio.Event()
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server
        self.port = 0  #: where it listens

    def __enter__(self) -> "Line":
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def turn(self, state: State) -> None:
        """From now on bytes of all connections are treated so; new ones are taken in any state."""
        self._do(self._turn(state))

    def reset(self) -> int:
        """Break all connections off with a reset; how many there were."""
        return self._do(self._reset())

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, limit=_PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _turn(self, state: State) -> None:
        self._state = state
        for pair in self._pairs:
            pair.deaf = pair.deaf or state is State.SILENT
        self._changed.set()
        self._changed = asyncio.Event()

    async def _reset(self) -> int:
        broken = len(self._pairs)
        for pair in list(self._pairs):
            pair.abort()
        return broken

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine, whose task asyncio would watch: it reports a cancelled one as an error.
        task = self._loop.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer, deaf=self._state is State.SILENT)
        self._pairs.add(pair)
        try:
            while self._state is State.STALLED:
                await self._changed.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self._target, limit=_PIECE)
            pair.writers.append(back)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(pair, reader, back))
                both.create_task(self._pump(pair, there, writer))
        except* OSError:
            pass  # one end broke off, or the server is not there
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _pump(self, pair: "_Pair", source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            while self._state is State.STALLED:
                await self._changed.wait()
            if not pair.deaf:
                sink.write(piece)
                await sink.drain()
        if not pair.deaf:
            raise ConnectionResetError("one end has closed")
        # The other end never hears of it.


class _Pair:
    """Two connections that are one to their ends."""

    def __init__(self, writer: asyncio.StreamWriter, *, deaf: bool) -> None:
        self.writers = [writer]
        self.deaf = deaf

    def abort(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.transport.abort()
