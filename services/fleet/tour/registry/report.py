"""The tour's end, for people and for programs."""

from typing import Any

from services.fleet.tour.registry.steps import Tour


def as_json(tour: Tour) -> dict[str, Any]:
    """JSON values only."""
    return {
        "forecasts": sum(map(len, tour.answers.values())),
        "trained": tour.trained,
        "metrics": tour.metrics,
        "refused": [
            {"what": what, "status": status, "code": code, "detail": detail}
            for what, status, code, detail in tour.refused
        ],
        "checks": tour.checks.made,
        "violations": tour.checks.violations,
    }


def print_tour(tour: Tour, seconds: float) -> None:
    """The metrics as a table, and the count."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    grid = Table(
        title="what came of the saved forecasts: mean error in USDT, 90 % intervals",
        title_justify="left",
        box=box.ROUNDED,
    )
    for name in ("model", "h", "scored", "open", "error", "naive", "skill", "held", "PSI"):
        grid.add_column(name, justify="left" if name == "model" else "right")
    for name, told in tour.metrics.items():
        for each in told["horizons"]:
            drifts = [drift["psi"] for drift in each["drift"].values() if drift and drift["psi"] is not None]
            cells = (
                _cell(each["mae"], ",.1f"), _cell(each["naive_mae"], ",.1f"), _cell(each["skill"], "+.3f"),
                _cell(each["coverage"], ".0%"), _cell(max(drifts, default=None), ".2f"),
            )  # fmt: skip
            grid.add_row(name, str(each["horizon"]), str(each["n"]), str(each["open"]), *cells)
    console.print(grid)
    console.print(f"our forest: {tour.trained['verdict']}")
    for violation in tour.checks.violations:
        console.print(f"violation: {violation}")
    console.print(f"{tour.checks.made} checks, {len(tour.checks.violations)} violations; {seconds:.1f} s in all")
    console.print("The market is made so that something can be learnt; it shows the registry, not a profit.")


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
