"""The tour's end, for people and for programs."""

from html import escape
from pathlib import Path
from typing import Any

from services.fleet.tour.bounce.steps import Tour

PAGE = "bounce.html"
_HONEST = "The market is made so that something can be learnt; it shows the scanner, not a profit."
_COLUMNS = ("scan", "s", "model", "session", "signals", "dips", "AUC", "Brier", "base")
_STYLE = "body{font:15px system-ui,sans-serif;margin:2em;max-width:70em}td,th{padding:.2em .8em;text-align:left}"


def as_json(tour: Tour) -> dict[str, Any]:
    """JSON values only."""
    return {
        "scans": [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(tour)],
        "backtest": tour.backtest.get("metrics"),
        "refused": [
            {"what": what, "status": status, "code": code, "detail": detail}
            for what, status, code, detail in tour.refused
        ],
        "checks": tour.checks.made,
        "violations": tour.checks.violations,
    }


def print_tour(tour: Tour, page: Path, seconds: float) -> None:
    """The scans as a table, and the count."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    grid = Table(*_COLUMNS, box=box.ROUNDED, padding=(0, 0))
    for row in _rows(tour):
        grid.add_row(*row)
    console.print(grid)
    console.print(_traded(tour))
    for violation in tour.checks.violations:
        console.print(f"violation: {violation}")
    console.print(f"{_count(tour)}; {seconds:.1f} s in all; the report, with its picture: {page}")
    console.print(_HONEST)


def write_page(tour: Tour, page: Path) -> None:
    """The same for a browser, the backtest's picture within it."""
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in _rows(tour))
    refused = "".join(
        f"<tr><td>{escape(what)}</td><td>{status} {escape(code)}</td><td>{escape(detail)}</td></tr>"
        for what, status, code, detail in tour.refused
    )
    violations = "".join(f"<li>{escape(each)}</li>" for each in tour.checks.violations)
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>BounceHunter</title><style>{_STYLE}</style>"
        f"<h1>BounceHunter on made tickers</h1><p>{_HONEST}</p><table><tr>{head}</tr>{rows}</table>"
        f"<h2>Backtest</h2><p>{escape(_traded(tour))}</p>{tour.backtest.get('picture', '')}"
        f"<h2>Refused</h2><table>{refused}</table><h2>Checks</h2><p>{_count(tour)}</p><ul>{violations}</ul>\n"
    )


def _rows(tour: Tour) -> list[list[str]]:
    found = []
    for what, told in tour.scans.items():
        info = told["cache_info"]
        metrics = info["metrics"]
        signals = ", ".join(f"{each['ticker']} {each['probability']:.0%}" for each in told["signals"])
        figures = (metrics["auc"], metrics["brier"], metrics["brier_of_base_rate"])
        cells = ["" if value is None else f"{value:.3f}" for value in figures]
        found.append([
            what, f"{tour.seconds[what]:.2f}", info["source"], str(told["session"]), signals,
            str(info["training_samples"]), *cells,
        ])  # fmt: skip
    return found


def _traded(tour: Tour) -> str:
    metrics = tour.backtest.get("metrics")
    if metrics is None:
        return "no backtest"
    return (
        f"{metrics['trades']} trades of {metrics['dips']} dips, {metrics['hit_rate']:.0%} gained, "
        f"{metrics['total_return']:+.1%} after {metrics['costs']:,.0f} of costs, deepest fall "
        f"{metrics['max_drawdown']:.1%}; who had held all tickers: {metrics['buy_and_hold']['total_return']:+.1%}"
    )


def _count(tour: Tour) -> str:
    return f"{tour.checks.made} checks, {len(tour.checks.violations)} violations"
