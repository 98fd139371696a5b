"""Celery as a carrier of hints: JSON messages of ids, acknowledged at once, their results kept nowhere.

What a message asks for is decided by the ledger when it arrives, so losing or doubling one is harmless: the keeper
sends it again. That is why a message is acknowledged before its handler runs, and why nothing is retried here.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import structlog
from celery import Celery, Task, signals
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import OperationalError

from tidewheel.contracts.errors import BadSetting, Unavailable
from tidewheel.contracts.messages import MESSAGES, Message, Queue
from tidewheel.kit import logs
from tidewheel.kit.masks import mask_secrets
from tidewheel.kit.service import Handler, Service
from tidewheel.kit.settings import Settings

Pool = Literal["threads", "prefork"]
Dispatch = Callable[[Message], object]

# Every wait on the broker's socket ends: with the defaults, a stalled network left a worker stuck for good (measured).
_WORKER_SOCKET = {"socket_timeout": 10, "socket_connect_timeout": 5, "health_check_interval": 10}
_SENDER_SOCKET = {"socket_timeout": 3, "socket_connect_timeout": 2, "max_retries": 1, "interval_start": 0}
_RECONNECT_SECONDS = 4  # longest pause between two attempts; kombu's own grows to 30 s, and no setting reaches it
_VISIBILITY_SECONDS = 300  # only messages that a killed worker had fetched but not begun wait this long


class _Connection(Connection):
    """Knocks often at a broker that is away, so that work goes on soon after it is back."""

    def _ensure_connection(self, *args: Any, **options: Any) -> Any:
        longest = {"interval_max": _RECONNECT_SECONDS}
        return super()._ensure_connection(*args, **{**longest, **options})  # type: ignore[no-untyped-call]


class _Amqp(AMQP):  # type: ignore[misc]  # Celery is untyped
    Connection = _Connection


def celery_app(redis_url: str, **transport: Any) -> Celery:
    """A Celery app on `redis_url`; nothing connects before it is used. `transport` adds kombu's Redis options."""
    app = Celery("tidewheel", set_as_current=False, amqp=_Amqp)
    app.conf.update(
        broker_url=redis_url,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": _VISIBILITY_SECONDS,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
            **transport,
        },
        task_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_queues=[KombuQueue(queue.value) for queue in Queue],  # type: ignore[no-untyped-call]
        task_default_queue=Queue.INGEST.value,
        task_create_missing_queues=False,
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # no hint waits behind an hour of training while another trainer is idle
        worker_hijack_root_logger=False,
        worker_proc_alive_timeout=60,  # a child builds its service before it reports
        enable_utc=True,
        timezone="UTC",
    )
    return app


class Sender:
    """Sends messages; may be shared by threads, not by forked processes."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._app = celery_app(redis_url, **_SENDER_SOCKET)

    def send(self, message: Message) -> str:
        """Send once, and give the message's id.

        Raises:
            Unavailable: the broker did not take it within a few seconds.
        """
        fields = message.model_dump(mode="json")
        try:
            sent = self._app.send_task(message.task, kwargs=fields, queue=message.queue.value, retry=False)
        except OperationalError as away:
            raise Unavailable(
                f"the message broker at {mask_secrets(self._url)} is away ({mask_secrets(str(away))}); "
                "start it, or set REDIS_URL"
            ) from None
        return str(sent.id)

    def close(self) -> None:
        """Close the connections."""
        self._app.close()


class _MessageTask(Task):  # type: ignore[misc]  # Celery is untyped
    """The one task base: parse the message, bind the log context, call the handler, tell how it went."""

    typing = False  # the message checks its own fields

    def __init__(self, kind: type[Message], dispatch: Dispatch) -> None:
        self.name = kind.task
        self.kind, self.dispatch = kind, dispatch

    def run(self, **fields: Any) -> None:
        """Handle one message; whatever is raised marks the task as failed, and it is not retried."""
        log = logs.logger(__name__)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(task=self.name, request_id=self.request.id)
        started = time.perf_counter()
        try:
            self.dispatch(self.kind.model_validate(fields))
        except Exception:
            log.exception("task_failed", message=fields)
            raise
        log.info("task_done", message=fields, ms=round((time.perf_counter() - started) * 1e3, 1))


def register(app: Celery, tasks: Mapping[type[Message], Handler]) -> None:
    """Let `app`'s workers answer each message type with its handler."""
    for kind, handler in tasks.items():
        app.register_task(_MessageTask(kind, handler))


class _Process:
    """The service of one worker process, built where its tasks run: never before a fork."""

    def __init__(self, build: Callable[[], Service], kinds: Iterable[type[Message]]) -> None:
        self._build, self._kinds = build, tuple(kinds)
        self._service: Service | None = None
        self._stack = ExitStack()

    def start(self) -> None:
        service = self._build()
        missing = [kind.task for kind in self._kinds if kind not in service.tasks]
        if missing:
            raise BadSetting(f"service {service.name} has no handler for {', '.join(missing)}; take other queues")
        for close in service.close:
            self._stack.callback(close)
        for loop in service.loops:
            loop.start()
            self._stack.callback(loop.stop)
        self._service = service

    def handle(self, message: Message) -> object:
        if self._service is None:
            raise Unavailable("this worker process has not built its service yet")
        return self._service.tasks[type(message)](message)

    def stopping(self) -> None:
        # In a thread of its own: a signal handler must not wait for a lock that the interrupted code may hold.
        notify = list(self._service.on_shutdown) if self._service else []
        threading.Thread(target=lambda: [tell() for tell in notify], name="on-shutdown").start()

    def stop(self) -> None:
        self._stack.close()


def run_worker(
    settings: Settings, build: Callable[[], Service], *, queues: Iterable[Queue], pool: Pool, concurrency: int
) -> int:
    """Work off `queues` until SIGTERM; gives the exit code.

    `build` is called in every process that runs tasks: once with threads, in each child with prefork. With threads,
    SIGTERM calls the service's `on_shutdown`, which must end what runs; prefork lets tasks run to their end. The logs
    stay as the caller configured them.

    Raises:
        BadSetting: `build`'s service cannot handle a message of these queues.
    """
    chosen = [Queue(queue) for queue in queues]
    kinds = [kind for kind in MESSAGES if kind.queue in chosen]
    process = _Process(build, kinds)
    app = celery_app(settings.redis_url, **_WORKER_SOCKET)
    register(app, dict.fromkeys(kinds, process.handle))
    handlers = _connect(process, pool)
    worker = app.Worker(
        hostname=f"{settings.instance}@tidewheel",
        queues=[queue.value for queue in chosen],
        pool=pool,
        concurrency=concurrency,
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
        loglevel=settings.log_level.upper(),
    )
    if pool == "threads":
        process.start()
    try:
        worker.start()
    finally:
        if pool == "threads":
            process.stop()
        for signal, handler in handlers:
            signal.disconnect(handler)
    return int(worker.exitcode or 0)


def _connect(process: _Process, pool: Pool) -> list[tuple[Any, Callable[..., None]]]:
    def keep_logs(**_: Any) -> None:  # a receiver of this signal is what stops Celery from replacing our handlers
        # Failures are ours to log, once and with their context; see _MessageTask.
        for name in ("celery.app.trace", "celery.worker.strategy"):
            logs.quieten(name)

    def child_starts(**_: Any) -> None:
        process.start()

    def child_ends(**_: Any) -> None:
        process.stop()

    def shutting_down(**_: Any) -> None:
        process.stopping()

    handlers: list[tuple[Any, Callable[..., None]]] = [(signals.setup_logging, keep_logs)]
    if pool == "threads":
        handlers.append((signals.worker_shutting_down, shutting_down))
    else:
        handlers += [(signals.worker_process_init, child_starts), (signals.worker_process_shutdown, child_ends)]
    for signal, handler in handlers:
        signal.connect(handler, weak=False)
    return handlers
