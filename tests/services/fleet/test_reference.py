import re
from pathlib import Path

from services.fleet.reference import metrics_page, settings_classes
from tidewheel.kit.settings import settings_table

ROOT = Path(__file__).parents[3]
REMEDY = "run `python -m services.fleet.reference`"


def test_every_setting_stands_in_the_docs() -> None:
    """docs/settings.md holds the row of every variable as the code has it."""
    written = (ROOT / "docs" / "settings.md").read_text().splitlines()
    missing = [row for row in settings_table(settings_classes()).splitlines() if row not in written]
    assert missing == [], REMEDY


def test_every_metric_stands_in_the_docs() -> None:
    """docs/metrics.md is what the code declares."""
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page(), REMEDY


def test_no_settings_class_is_forgotten() -> None:
    """Every settings class under services/ is known to the page, wherever its file is."""
    sources = [path.read_text() for path in (ROOT / "services").rglob("*.py")]
    declared = {name for text in sources for name in re.findall(r"^class (\w+)\(\w*Settings\):", text, re.M)}
    assert {kind.__name__ for kind in settings_classes()} == declared
