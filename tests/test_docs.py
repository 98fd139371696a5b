"""The documentation is held against the code."""

import re
from pathlib import Path

from services.predictor.service.bounce.runs import RunFailed
from tidewheel.contracts.errors import (
    BadModel,
    HorizonNotSupported,
    ModelFileNotFound,
    ModelNotFound,
    ModelNotTrusted,
    NoHistoricalData,
    NotEnoughData,
)
from tidewheel.contracts.messages import MESSAGES, Queue
from tidewheel.contracts.roles import PORTS
from tidewheel.contracts.routes import ROUTES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_every_message_stands_in_the_docs_with_its_queue_and_fields() -> None:
    """docs/messages.md has exactly one row for each message, and it names the queue and every field."""
    rows = re.findall(r"^\| `(tidewheel\.[a-z.]+)` \| `(\w+)` \| ([^|]*) \|", (DOCS / "messages.md").read_text(), re.M)
    written = {task: (queue, set(re.findall(r"`(\w+)`", fields))) for task, queue, fields in rows}

    assert written == {kind.task: (kind.queue.value, set(kind.model_fields)) for kind in MESSAGES}


def test_every_queue_stands_in_the_docs() -> None:
    """A queue that the code declares is named on the page."""
    page = (DOCS / "messages.md").read_text()

    assert [queue for queue in Queue if f"`{queue}`" not in page] == []


def test_every_route_and_port_stands_in_the_docs() -> None:
    """docs/architecture.md lists each role's port and each path prefix of the route table."""
    page = (DOCS / "architecture.md").read_text()

    assert [role for role, port in PORTS.items() if not re.search(rf"\| `{role}` \| {port} \|", page)] == []
    assert [route.prefix for route in ROUTES if f"`{route.prefix}`" not in page] == []


def test_every_refusal_of_bouncehunter_has_its_remedy() -> None:
    """docs/operations.md, "BounceHunter", names each code that its rooms can answer."""
    section = (DOCS / "operations.md").read_text().partition("### BounceHunter")[2].partition("\n### ")[0]
    rooms = (ROOT / "libs" / "tidewheel" / "bounce", ROOT / "services" / "predictor" / "service" / "bounce")
    files = [file for room in rooms for file in room.rglob("*.py")]
    text = "".join(file.read_text() for file in (*files, ROOT / "libs" / "tidewheel" / "features" / "bounce.py"))
    said = set(re.findall(r'code="(\w+)"', text)) | {RunFailed.code, NotEnoughData.code}

    assert len(said) > 10
    assert [code for code in sorted(said) if f"`{code}`" not in section] == []


def test_every_refusal_of_the_registry_has_its_remedy() -> None:
    """docs/operations.md, "Registered models", names each code that the registry's rooms can answer."""
    section = (DOCS / "operations.md").read_text().partition("### Registered models")[2].partition("\n### ")[0]
    libs = ROOT / "libs" / "tidewheel"
    files = [*(libs / "registry").rglob("*.py"), *(libs / "ledger" / "registry").rglob("*.py")]
    text = "".join(file.read_text() for file in (*files, libs / "features" / "hourly.py"))
    classes = (ModelNotFound, HorizonNotSupported, ModelFileNotFound, NoHistoricalData, ModelNotTrusted, BadModel)
    said = set(re.findall(r'code="(\w+)"', text)) | {each.code for each in classes}

    assert len(said) > 15
    assert sorted(code for code in said if f"`{code}`" not in section) == []


def test_every_relative_link_leads_somewhere() -> None:
    """A link or picture in a Markdown page of the project names a file that exists."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "libs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())]
    broken = [f"{page.name}: {link}" for page, link in links if "://" not in link and not (page.parent / link).exists()]

    assert links
    assert broken == []
