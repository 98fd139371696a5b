"""Progress of long work: bars on a terminal, plain lines elsewhere. Both go to standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click


class Display(Protocol):
    """Shows which step runs and how far it is."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show `title` while the block runs, then how long it took."""

    def progress(self, fraction: float, text: str = "") -> None:
        """How far the running step is, 0..1, and what it does just now."""

    def note(self, text: str) -> None:
        """One line that stays."""


class Lines:
    """One line for each step when it is done."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        click.echo(f"... {title}", err=True)
        yield
        click.echo(f"    {title}: {time.monotonic() - started:.1f} s", err=True)

    def progress(self, fraction: float, text: str = "") -> None:
        """Nothing: a log wants no bars."""

    def note(self, text: str) -> None:
        click.echo(f"    {text}", err=True)


class Bars:
    """A bar for each step, by rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[text]}"),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._progress.add_task("", visible=False, total=1.0, text="")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._task = self._progress.add_task(title, total=1.0, text="")
        self._progress.start()
        try:
            yield
            self._progress.update(self._task, completed=1.0, text="")
        finally:
            # Stopped between steps, so that other lines on the terminal are never painted over.
            self._progress.stop()
            self._progress.update(self._task, visible=False)
            mark = "[green]✓" if self._progress.tasks[self._task].finished else "[red]✗"
            elapsed = self._progress.tasks[self._task].elapsed or 0.0
            self._progress.console.print(f"{mark} {title} [dim]{elapsed:.1f} s")

    def progress(self, fraction: float, text: str = "") -> None:
        # A full bar means a finished step, so a running one stops just short of it.
        self._progress.update(self._task, completed=min(fraction, 0.99), text=text)

    def note(self, text: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._progress.console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))


def display() -> Display:
    """Bars when standard error is a terminal."""
    return Bars() if sys.stderr.isatty() else Lines()
