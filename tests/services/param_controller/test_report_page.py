"""The page of a report: readable without script, and every name on it is text, whatever it holds."""

from html.parser import HTMLParser

import pytest

from services.param_controller.schemas import SwitchView
from services.param_controller.service.review.page import page
from services.param_controller.service.review.views import (
    Believed,
    ChangesReport,
    Counted,
    Course,
    DrawdownReport,
    Interval,
    KeyReport,
    PresetReport,
    RegretReport,
    Report,
    Window,
)

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"
NONE = Counted(count=0, share=None)


def preset(name: str, mean: float, deviation: float) -> PresetReport:
    """A preset with ten decisions."""
    return PresetReport(
        preset_id=name, live=False, retired_reason=EVIL, params={}, pulls=Counted(count=10, share=0.5),
        reported=Counted(count=8, share=0.8), inferred=NONE, defaulted=NONE, waiting=NONE,
        reward=Interval(value=mean, low=mean - 1, high=mean + 1, n=8),
        posterior=Believed(
            outcomes=8, mean=mean, width=1.0, deviation=deviation, coefficients={"constant": mean, EVIL: 0.5}
        ),
        unusable=None,
    )  # fmt: skip


def report(**changes: object) -> Report:
    """A report in which every text that comes from outside is hostile."""
    told = Report(
        strategy="breakout", instrument=EVIL, at=1_790_000_000_000, policy="lints", policy_version="lints-1a2b3c4d",
        reward_unit=EVIL, window=Window(decisions=20, of=20, since=1_790_000_000_000, until=1_790_000_060_000),
        average_context={EVIL: 0.3}, presets=[preset("fast", 2.0, 0.5), preset("slow", 1.0, 0.0)],
        reasons={"exploited": 20},
        changes=ChangesReport(
            made=3, today=3, a_day=4, held_by_hysteresis=2, held_by_daily_limit=1, held_by_kill_switch=0
        ),
        keys=[KeyReport(actor=EVIL, learnt=8, left_out={"key_share": 2}, dropped=1)],
        regret=RegretReport(
            known=True, reason=EVIL, against="fast", per_decision=Interval(value=0.5, low=0.1, high=0.9, n=16),
            total=Interval(value=8, low=1.6, high=14.4, n=16), unsupported={},
        ),
        drawdown=DrawdownReport(realised=24.0, peak=25.0, fall=1.0, limit=None),
        kill_switches=[
            SwitchView(scope="fleet", tripped_at=1_790_000_000_000, tripped_by=EVIL, reason=EVIL, cause="hand")
        ],
        course=Course(first=1, last=8, total=[1.0, 2.0, 24.0], presets={"fast": [1.0, 2.0, 23.0], "slow": [0, 0, 1.0]}),
    )  # fmt: skip
    return told.model_copy(update=changes)


class Read(HTMLParser):
    """What a browser would find: elements, attributes, and text outside of the style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def foreign(text: str) -> list[str]:
    """What does not belong on the page: elements that load or run, attributes that act or lead away."""
    found = Read(text)
    wrong = [tag for tag in found.tags if tag in ("script", "img", "link", "iframe", "object", "form", "a")]
    wrong += [name for name, _ in found.attributes if name.startswith("on") or name in ("href", "src", "style")]
    return wrong + [value for name, value in found.attributes if "url(" in value or "javascript:" in value]


def test_hostile_names_stay_text() -> None:
    """Instrument, unit, features, keys and reasons are shown as they are and do nothing; unescaped they would."""
    text = page(report()).decode()
    found = Read(text)

    assert foreign(text) == []
    assert found.text.count(EVIL) >= 8 and "url(" not in text and "http" not in text
    escaped = EVIL.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped in text and set(foreign(text.replace(escaped, EVIL))) >= {"script", "img", "onerror", "src"}


def test_the_page_shows_both_pictures_for_light_and_dark() -> None:
    """Two pictures with a word for those who cannot see them, and colours for either scheme."""
    text = page(report()).decode()
    found = Read(text)

    assert text.startswith("<!DOCTYPE html>") and found.tags.count("svg") == 2
    assert len([value for name, value in found.attributes if name == "aria-label"]) == 2
    assert text.count("prefers-color-scheme: dark") == 2
    assert "Frozen: the kill switch of fleet stands." in found.text
    assert "0.1 to 0.9, beside always fast" in found.text


@pytest.mark.parametrize(
    "changes",
    [
        {"presets": [], "course": Course(first=0, last=0, total=[], presets={}), "keys": [], "reasons": {}},
        {"window": Window(decisions=0, of=0, since=None, until=None)},
        {
            "presets": [preset("fast", 0.0, 0.0)],
            "course": Course(first=3, last=3, total=[0.0], presets={"fast": [0.0]}),
        },
        {"presets": [preset("fast", 1e90, 1e-9), preset("slow", -1e90, 3.0)]},
    ],
)
def test_a_page_is_made_of_any_report(changes: dict[str, object]) -> None:
    """Nothing decided, nothing reported, a single flat outcome, numbers far apart: the page stands."""
    text = page(report(**changes)).decode()
    assert foreign(text) == [] and "nan" not in text.lower().replace("nano", "") and "inf " not in text
