"""The shape of the house, where import-linter cannot see it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "libs").rglob("*.py"), *(ROOT / "services").rglob("*.py")])
SERVICE_FILES = {"__init__", "app", "api", "tasks", "service", "schemas", "settings", "train"}


def imported(path: Path) -> set[str]:
    """Top-level package names that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def test_sqlalchemy_is_private_to_the_ledger() -> None:
    """Rows and statements never leave the ledger: nobody else imports SQLAlchemy or Alembic."""
    users = [path for path in SOURCES if imported(path) & {"sqlalchemy", "alembic"}]

    assert users
    assert [path for path in users if "libs/tidewheel/ledger" not in path.as_posix()] == []


def test_one_place_opens_a_pickle() -> None:
    """Only the confined child imports joblib; nobody imports pickle or cloudpickle, whatever lint lets through.

    The tour's outsider plays a user who saves one, in a process of its own, and opens none.
    """
    openers = [path for path in SOURCES if imported(path) & {"joblib", "pickle", "cloudpickle", "dill"}]
    outsider = ROOT / "services/fleet/tour/registry/outsider.py"

    named = [path.relative_to(ROOT).as_posix() for path in openers if path != outsider]
    assert named == ["libs/tidewheel/registry/unpickling.py"]
    assert set(re.findall(r"joblib\.\w+", outsider.read_text())) == {"joblib.dump"}


def test_libraries_do_not_read_the_environment() -> None:
    """Only the kit's settings (and the fleet, which starts processes) touch os.environ."""
    readers = [path for path in SOURCES if re.search(r"os\.(environ|getenv)", path.read_text())]
    allowed = ("libs/tidewheel/kit/", "services/fleet/")

    assert [path.as_posix() for path in readers if not any(room in path.as_posix() for room in allowed)] == []


def test_every_service_has_the_same_file_names() -> None:
    """A newcomer who has read one service can open any other."""
    for service in ("ingester", "ml_trainer", "param_controller", "predictor"):
        names = {path.stem for path in (ROOT / "services" / service).iterdir()} - {"__pycache__"}

        assert names <= SERVICE_FILES, f"{service} has {sorted(names - SERVICE_FILES)}"
        assert {"app", "settings", "service", "api"} <= names


def test_composition_roots_are_short() -> None:
    """An app.py builds collaborators and hands them over: at most 70 lines."""
    lengths = {path.parent.name: len(path.read_text().splitlines()) for path in (ROOT / "services").glob("*/app.py")}

    assert lengths
    assert {name: length for name, length in lengths.items() if length > 70} == {}


def test_initialisers_hold_no_logic() -> None:
    """An __init__.py holds a docstring and at most imports and `__all__`."""
    for path in SOURCES:
        if path.name == "__init__.py":
            nodes = ast.parse(path.read_text()).body
            assert all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign) for node in nodes), path
