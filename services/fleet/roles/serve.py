"""Runs one role in the foreground, as its kind needs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from services.fleet.roles import worker
from services.fleet.roles.wiring import HTTP_ROLES, build, read_settings
from tidewheel.contracts.messages import Queue
from tidewheel.contracts.roles import PORTS, Role

if TYPE_CHECKING:
    from tidewheel.kit.service import Service

_WORKER_THREADS = 2


def serve_http_role(role: Role, port: int | None) -> None:
    """Serve the edge or one of HTTP_ROLES on TIDEWHEEL_LISTEN until SIGTERM."""
    from tidewheel.kit.serve import serve_http

    settings = read_settings(role)
    port = PORTS[role] if port is None else port
    if role in HTTP_ROLES:
        from tidewheel.kit.web import create_app

        serve_http(create_app(build(role, settings)), settings.listen, port, settings.client_seconds)
    else:
        from services.fleet.edge.app import edge_app

        serve_http(edge_app(settings), settings.listen, port, settings.client_seconds)


def serve_flower(port: int | None) -> None:
    """Run Flower."""
    from services.fleet.roles.flower import run_flower

    run_flower(read_settings(Role.FLOWER), PORTS[Role.FLOWER] if port is None else port)


def serve_worker(role: Role, queues: Sequence[Queue], ready_file: Path | None) -> int:
    """Run `worker` (the light queues) or `trainer` (one run at a time, each in a child process) on Celery.

    Both use threads: a prefork child may have no children of its own, and waits out its task on SIGTERM.
    Gives the exit status.
    """
    from celery.signals import worker_ready

    from tidewheel.kit.celery import run_worker

    settings = read_settings(role)

    def tell(**_: object) -> None:
        if ready_file is not None:
            ready_file.touch()

    worker_ready.connect(tell, weak=False)
    concurrency = 1 if role is Role.TRAINER else _WORKER_THREADS

    def parts() -> "Service":
        return worker.build(settings, queues) if role is Role.WORKER else build(role, settings)

    return run_worker(settings, parts, queues=queues, pool="threads", concurrency=concurrency)


def serve_keeper(ready_file: Path | None) -> None:
    """Run the keeper's loops."""
    from tidewheel.kit.serve import serve_loops

    service = build(Role.KEEPER, read_settings(Role.KEEPER))
    if ready_file is not None:
        ready_file.touch()
    serve_loops(service)
