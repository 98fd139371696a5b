"""`make mutants`: what part of the planted slips in auth, names and gates the tests find. Minutes; not in the suite.

mutmut wants its sources under src/ and is no dependency of ours, so both are put into a temporary folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: mutmut and what it needs beyond our own lock
TOOL = (
    *("mutmut==3.8.1", "coverage==7.17.3", "libcst==1.9.0", "textual==8.2.8"),
    *("linkify-it-py", "mdit-py-plugins", "setproctitle"),
)
SETTINGS = """
[tool.mutmut]
source_paths = ["src/tidewheel"]
only_mutate = ["src/tidewheel/kit/auth.py", "src/tidewheel/contracts/keys.py", "src/tidewheel/gates/*.py"]
also_copy = ["services", "tests", "docs", "src"]
pytest_add_cli_args_test_selection = [
  "tests/libs/kit/test_auth.py", "tests/libs/kit/test_web.py", "tests/libs/contracts", "tests/libs/gates",
]
pytest_add_cli_args = ["-p", "no:xdist", "-p", "no:benchmark"]

[tool.pytest.ini_options]
addopts = "-q --import-mode=importlib -p no:cacheprovider"
pythonpath = ["."]
"""


def main() -> int:
    """Run mutmut and print its count of killed and survived mutants, and the survivors."""
    with tempfile.TemporaryDirectory(prefix="tidewheel-mutants-") as folder:
        home = Path(folder)
        shutil.copytree(ROOT / "libs", home / "src")
        for name in ("services", "tests", "docs"):
            shutil.copytree(ROOT / name, home / name)
        (home / "pyproject.toml").write_text(SETTINGS)
        tool = home / "tool"
        install = [sys.executable, "-m", "uv", "pip", "install", "-q", "--no-deps", "--target", str(tool), *TOOL]
        subprocess.run(install, check=True)
        environment = {**os.environ, "PYTHONPATH": str(tool)}
        mutmut = [sys.executable, "-m", "mutmut"]
        done = subprocess.run([*mutmut, "run", *sys.argv[1:]], cwd=home, env=environment, check=False)
        subprocess.run([*mutmut, "results"], cwd=home, env=environment, check=False)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
