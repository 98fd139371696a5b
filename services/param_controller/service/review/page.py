"""A report as one page for people: no script, nothing loaded, every name escaped by the XML library that writes it."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from services.param_controller.service.review.pictures import COLOURS, course, densities
from services.param_controller.service.review.views import Counted, Interval, PresetReport, RegretReport, Report
from tidewheel.contracts.times import UtcMillis, iso

#: What a browser may do with the page: show it.
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_LIGHT = ("#0072b2", "#d55e00", "#00805f", "#a03c78", "#a86f00", "#2b83a8", "#6c45b0", "#6b6b6b")
_DARK = ("#56b4e9", "#ff8a3d", "#2fc79a", "#e58fc0", "#f0b440", "#8fd3f5", "#b79af0", "#b5b5b5")
_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #5b6570; --rule: #d9dee3; --alarm: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e6e9ec; --soft: #9aa5b1; --rule: #323a43; --alarm: #ff8a80; }
}
body { margin: 2rem auto; padding: 0 1rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
p { margin: .3rem 0; max-width: 46rem; }
.soft, caption { color: var(--soft); }
.alarm { border: 2px solid var(--alarm); border-radius: 6px; padding: .6rem .9rem; margin: 1rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.tiles div { border: 1px solid var(--rule); border-radius: 6px; padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top;
  white-space: nowrap; }
td.words { white-space: normal; min-width: 12rem; }
th { font-weight: 600; }
svg { width: 100%; max-width: 760px; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: currentColor; }
svg .grid { stroke: var(--rule); }
svg .zero { stroke: var(--soft); }
svg .area { fill: var(--c); fill-opacity: .3; stroke: var(--c); }
svg .mark { stroke: var(--c); stroke-width: 2; }
svg .line { fill: none; stroke: var(--c); stroke-width: 1.5; }
svg .total { --c: var(--ink); stroke-width: 2.5; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; background: var(--c); margin-right: .4em; }
"""


def page(report: Report) -> bytes:
    """The page, UTF-8."""
    html = Element("html", {"lang": "en"})
    head = SubElement(html, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "title").text = f"{report.strategy} on {report.instrument}"
    SubElement(head, "style").text = _STYLE + _colours()
    body = SubElement(html, "body")
    _heading(body, report)
    _tiles(body, report)
    _presets(body, report)
    _beliefs(body, report)
    _course(body, report)
    _guardrails(body, report)
    _keys(body, report)
    return b"<!DOCTYPE html>\n" + tostring(html, encoding="unicode", method="html").encode(errors="replace")


def _colours() -> str:
    light = "".join(f".c{place} {{ --c: {colour}; }}\n" for place, colour in enumerate(_LIGHT))
    dark = "".join(f".c{place} {{ --c: {colour}; }}\n" for place, colour in enumerate(_DARK))
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _heading(body: Element, report: Report) -> None:
    _add(body, "h1", f"{report.strategy} on {report.instrument}")
    window = report.window
    span = "no decision yet"
    if window.since is not None and window.until is not None:
        span = f"{window.decisions:,} of {window.of:,} decisions, {_moment(window.since)} to {_moment(window.until)}"
    told = f"{span}. Policy {report.policy_version}; rewards in {report.reward_unit}. Told at {_moment(report.at)}."
    _add(body, "p", told, "soft")
    for switch in report.kill_switches:
        box = _add(body, "div", None, "alarm")
        _add(box, "b", f"Frozen: the kill switch of {switch.scope} stands.")
        _add(
            box,
            "p",
            f"{switch.reason} ({switch.cause}, tripped by {switch.tripped_by} at {_moment(switch.tripped_at)})",
        )


def _tiles(body: Element, report: Report) -> None:
    told = sum(preset.reported.count for preset in report.presets)
    drawdown, changes = report.drawdown, report.changes
    limit = "no limit" if drawdown.limit is None else f"the limit is {drawdown.limit:,g}"
    row = _add(body, "div", None, "tiles")
    for name, figure, note in (
        ("Decisions", f"{report.window.decisions:,}", f"{told:,} with a reported outcome"),
        ("Realised reward", _number(drawdown.realised), f"{report.reward_unit}, ever"),
        ("Below its peak", _number(drawdown.fall), limit),
        ("Regret a decision", *_regret(report.regret)),
        ("Changes today", f"{changes.today} of {changes.a_day}", f"{changes.made:,} in these decisions"),
    ):
        tile = _add(row, "div")
        _add(tile, "span", name, "soft")
        _add(tile, "b", figure)
        _add(tile, "span", note, "soft")
    if report.regret.reason is not None:
        _add(body, "p", f"Regret, from the log alone: {report.regret.reason}.", "soft")


def _regret(regret: RegretReport) -> tuple[str, str]:
    found = regret.per_decision
    if found is None or found.low is None or found.high is None:
        return "not known", "the log does not tell"
    return _number(found.value), f"{_number(found.low)} to {_number(found.high)}, beside always {regret.against}"


def _presets(body: Element, report: Report) -> None:
    _add(body, "h2", "Presets")
    head = ("preset", "served", "reported", "inferred", "defaulted", "waiting", f"mean reward, {report.reward_unit}")
    rows = _table(body, (*head, ""))
    for place, preset in enumerate(report.presets):
        row = SubElement(rows, "tr")
        name = _add(row, "td")
        _add(name, "span", None, f"key c{place % COLOURS}")
        _add(name, "span", preset.preset_id)
        for count in (preset.pulls, preset.reported, preset.inferred, preset.defaulted, preset.waiting):
            _add(row, "td", _counted(count))
        _add(row, "td", "none reported" if preset.reward is None else _spread(preset.reward))
        _add(row, "td", "" if preset.live else f"retired: {preset.retired_reason}", "soft words")
    _add(body, "p", "Intervals hold the true mean with a confidence of 95 %.", "soft")


def _beliefs(body: Element, report: Report) -> None:
    _add(body, "h2", "What is believed of each, at the average context")
    believed = {
        preset.preset_id: (preset.posterior.mean, preset.posterior.deviation)
        for preset in report.presets
        if preset.posterior is not None
    }
    if believed:
        body.append(densities(believed, f"expected reward, {report.reward_unit}"))
        _add(body, "p", "Each curve has its own height; what counts is where it lies and how wide it is.", "soft")
    _coefficients(body, report.presets)
    average = ", ".join(f"{name} {_number(value)}" for name, value in report.average_context.items())
    if average:
        _add(body, "p", f"Average context, scaled: {average}.", "soft")


def _coefficients(body: Element, presets: Iterable[PresetReport]) -> None:
    known = [preset for preset in presets if preset.posterior is not None]
    names = next((list(preset.posterior.coefficients) for preset in known if preset.posterior), [])
    rows = _table(body, ("preset", "outcomes", "expected", "deviation", *names))
    for preset in presets:
        row = SubElement(rows, "tr")
        _add(row, "td", preset.preset_id)
        belief = preset.posterior
        if belief is None:
            _add(row, "td", preset.unusable or "").set("colspan", str(3 + len(names)))
            continue
        figures = (belief.mean, belief.deviation, *belief.coefficients.values())
        for cell in (f"{belief.outcomes:,}", *map(_number, figures)):
            _add(row, "td", cell)


def _course(body: Element, report: Report) -> None:
    _add(body, "h2", "Cumulated reward")
    if not report.course.total:
        _add(body, "p", "No outcome was reported yet.")
        return
    ordered = {each.preset_id: report.course.presets.get(each.preset_id) for each in report.presets}
    told = report.course
    body.append(course(told.total, ordered, told.first, told.last, report.reward_unit))
    legend = _add(body, "p")
    for place, name in enumerate(ordered):
        if ordered[name] is not None:
            _add(legend, "span", None, f"key c{place % COLOURS}")
            _add(legend, "span", name).tail = " \u2003"
    _add(legend, "span", "The heavy line is all of them together.", "soft")


def _guardrails(body: Element, report: Report) -> None:
    _add(body, "h2", "Why, and what was held back")
    rows = _table(body, ("reason", "decisions"))
    for reason, count in report.reasons.items():
        row = SubElement(rows, "tr")
        _add(row, "td", reason.replace("_", " "))
        _add(row, "td", f"{count:,}")
    held = report.changes
    told = (
        f"Hysteresis held a change back {held.held_by_hysteresis:,} times; {held.held_by_daily_limit:,} decisions "
        f"fell after the day's last change, {held.held_by_kill_switch:,} under a kill switch."
    )
    _add(body, "p", told)


def _keys(body: Element, report: Report) -> None:
    _add(body, "h2", "Who told the outcomes")
    rows = _table(body, ("key", "learnt", "left out", "taken out by a rollback"))
    for key in report.keys:
        row = SubElement(rows, "tr")
        left_out = ", ".join(f"{count:,} by {why.replace('_', ' ')}" for why, count in key.left_out.items())
        for cell in (key.actor, f"{key.learnt:,}", left_out or "none", f"{key.dropped:,}"):
            _add(row, "td", cell)


def _add(parent: Element, tag: str, words: str | None = None, style: str | None = None) -> Element:
    element = SubElement(parent, tag, {} if style is None else {"class": style})
    element.text = words
    return element


def _table(body: Element, names: Sequence[str]) -> Element:
    table = SubElement(_add(body, "div", None, "wide"), "table")
    row = SubElement(SubElement(table, "thead"), "tr")
    for name in names:
        _add(row, "th", name)
    return SubElement(table, "tbody")


def _counted(counted: Counted) -> str:
    return f"{counted.count:,}" if counted.share is None else f"{counted.count:,} ({counted.share:.0%})"


def _spread(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return f"{_number(interval.value)} (of {interval.n})"
    return f"{_number(interval.value)} ({_number(interval.low)} to {_number(interval.high)})"


def _moment(millis: UtcMillis) -> str:
    return iso(millis // 1_000 * 1_000)


def _number(value: float) -> str:
    return (
        f"{value:,.3g}" if 1e-3 <= abs(value) < 1e3 else f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"
    )
