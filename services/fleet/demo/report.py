"""What a demo tells at its end."""

import os
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx

from services.fleet.demo import load
from services.fleet.local.fleet import Plan
from services.fleet.local.memory import proportional_bytes
from services.fleet.local.supervisor import Supervisor
from tidewheel.contracts.errors import Unavailable
from tidewheel.contracts.keys import FAMILY
from tidewheel.contracts.roles import Role
from tidewheel.contracts.times import UtcMillis, iso
from tidewheel.ledger.open import Ledger, open_ledger

_SECOND = 1_000
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """One move of the champion, and what callers saw of it."""

    version: str
    action: str  #: promote, rollback or adopt
    at: UtcMillis  #: by the ledger
    reload_ms: float | None  #: until the first answer by the version came back; None when no load was on yet
    by_version: dict[str, int]  #: answers to requests sent in the second from `at` on
    failed: int  #: requests sent in that second and not answered with a prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A version and what the gate said of it."""

    run: int
    family: str  #: of regime models, or the name of a registered model
    state: str
    version: str | None
    step: str | None  #: the step that decided: the refusing one, else the last
    reason: str | None
    numbers: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The demo in numbers."""

    bars: dict[str, int]  #: by stream
    files: int
    claims: dict[str, int]  #: files by what the consumer did with them
    verdicts: list[Judged]
    flips: list[Flip]
    requests: int
    failed_requests: int
    median_ms: float | None
    p99_ms: float | None
    tasks: dict[str, int]  #: Celery tasks that Flower saw, by name and state
    memory_mib: dict[str, float]  #: PSS by process, children included

    def as_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)


def collect(plan: Plan, supervisor: Supervisor, load_file: Path) -> Report:
    """Count everything while the fleet still runs."""
    requests = load.read(load_file) if load_file.exists() else []
    times = sorted(each.milliseconds for each in requests if not each.failed)
    data_dir = plan.home / "ml"
    ledger = open_ledger(f"sqlite:///{data_dir / 'manifest.sqlite'}", data_dir)
    try:
        return Report(
            bars={str(each.key): each.sealed_bars + each.tail_bars for each in ledger.streams.all()},
            files=len(ledger.bars.files()),
            claims={state.value: count for state, count in ledger.claims.states(FAMILY).items() if count},
            verdicts=_verdicts(ledger),
            flips=_flips(ledger, requests),
            requests=len(requests),
            failed_requests=sum(each.failed for each in requests),
            median_ms=_quantile(times, 0.5),
            p99_ms=_quantile(times, 0.99),
            tasks=_tasks(plan),
            memory_mib=_memory(supervisor),
        )
    finally:
        ledger.close()


def _verdicts(ledger: Ledger) -> list[Judged]:
    judged = []
    for run in reversed(ledger.runs.list()):
        steps = run.verdict.steps if run.verdict else ()
        deciding = (run.verdict.refusal if run.verdict else None) or (steps[-1] if steps else None)
        judged.append(
            Judged(
                run=run.id,
                family=run.family,
                state=run.state.value,
                version=run.version,
                step=deciding.step if deciding else None,
                reason=deciding.reason if deciding else run.reason,
                numbers=deciding.numbers if deciding else {},
            )
        )
    return judged


def _flips(ledger: Ledger, requests: list[load.Answered]) -> list[Flip]:
    promotions = ledger.versions.promotions(FAMILY)
    ends = [each.created_at for each in promotions[1:]]
    flips = []
    for promotion, end in zip_longest(promotions, ends):
        at = promotion.created_at
        loaded = any(each.sent_at < at for each in requests)
        second = [each for each in requests if at <= each.sent_at < at + _SECOND]
        seen = [
            each.answered_at - at
            for each in requests
            if each.version == promotion.version and each.answered_at >= at and (end is None or each.sent_at < end)
        ]
        flips.append(
            Flip(
                version=promotion.version,
                action=promotion.action.value,
                at=at,
                reload_ms=round(min(seen), 1) if loaded and seen else None,
                by_version=dict(Counter(each.version for each in second if each.version and not each.failed)),
                failed=sum(each.failed for each in second),
            )
        )
    return flips


def _tasks(plan: Plan) -> dict[str, int]:
    """Flower's own count, by `name state`."""
    url = f"{plan.url(Role.FLOWER)}/api/tasks"
    try:
        answer = httpx.get(url, auth=("tidewheel", "tidewheel"), trust_env=False, timeout=10)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Unavailable(f"Flower's API at {url} gave no tasks: {error}") from None
    return dict(sorted(Counter(f"{task['name']} {task['state']}" for task in answer.json().values()).items()))


def _memory(supervisor: Supervisor) -> dict[str, float]:
    sizes = {child.command.name: proportional_bytes(child.pid) for child in supervisor.children}
    everything = proportional_bytes(os.getpid())
    sizes["demo"] = max(0, everything - sum(sizes.values()))
    return {name: round(size / _MIB, 1) for name, size in sizes.items()}


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def print_report(report: Report, seconds: float) -> None:
    """The table at the end of a demo, for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(title="The loop, once", show_header=False, title_justify="left", box=box.ROUNDED)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    grid.add_row("bars", f"{sum(report.bars.values()):,}: " + ", ".join(f"{k} {v:,}" for k, v in report.bars.items()))
    grid.add_row("files", f"{report.files}")
    grid.add_row("claims", ", ".join(f"{count} {state}" for state, count in report.claims.items()) or "none")
    for judged in report.verdicts:
        step = f"{judged.step}: " if judged.step else ""
        grid.add_row(
            f"run {judged.run}", f"{judged.family}: {judged.state} {judged.version or ''}\n{step}{judged.reason or ''}"
        )
    for flip in report.flips:
        grid.add_row(f"{flip.action}", _flip_text(flip))
    if report.median_ms is not None and report.p99_ms is not None:
        speed = f"median {report.median_ms:.1f} ms, p99 {report.p99_ms:.1f} ms"
        grid.add_row("requests", f"{report.requests:,}, {report.failed_requests} failed; {speed}")
    grid.add_row("Flower saw", ", ".join(f"{count} x {name}" for name, count in report.tasks.items()) or "no task")
    sizes = sorted(report.memory_mib.items(), key=lambda item: -item[1])
    grid.add_row(
        "memory (PSS)",
        f"{sum(report.memory_mib.values()):.0f} MiB: " + ", ".join(f"{name} {size:.0f}" for name, size in sizes),
    )
    grid.add_row("time", f"{seconds:.1f} s")
    Console(highlight=False).print(grid)


def _flip_text(flip: Flip) -> str:
    if flip.reload_ms is None:
        return f"{flip.version} at {iso(flip.at)}"
    answers = ", ".join(f"{count} by {version}" for version, count in flip.by_version.items())
    return (
        f"{flip.version} at {iso(flip.at)}: first answer after {flip.reload_ms:.0f} ms\n"
        f"in that second: {answers}; {flip.failed} failed"
    )
