"""Strategy schemas as files: the shipped ones, and what is refused with its line."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from services.fleet.cli import main
from services.param_controller.service.schema_files import MAX_BYTES, BadSchema, Schemas, read_schema
from services.param_controller.settings import SHIPPED, ParamSettings
from tidewheel.contracts.errors import BadSetting, NotFound
from tidewheel.kit.settings import load

ROOT = Path(__file__).parents[3]
NAME = "momentum_breakout.yaml"
GOOD = (SHIPPED / NAME).read_text()


def problems(folder: Path, content: str | bytes, name: str = NAME) -> list[str]:
    """What is told of a file with that content, its folder left out."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadSchema) as refused:
        read_schema(file)
    return [each.removeprefix(f"{folder}/") for each in refused.value.problems]


def test_the_shipped_schemas_are_found_without_a_setting() -> None:
    """Three strategies come with the product; the documents' example features are theirs."""
    schemas = Schemas.of(load(ParamSettings).schemas_dir)
    assert [schema.strategy for schema in schemas.all()] == ["market_making", "momentum_breakout", "trend_following"]
    for schema in schemas.all():
        assert "vol" in [feature.name for feature in schema.context]
        assert any(feature.fill for feature in schema.context)
    with pytest.raises(NotFound, match="known are market_making, momentum_breakout, trend_following"):
        schemas.get("scalping")


def line_of(text: str, content: str = GOOD) -> int:
    """The line on which `text` begins."""
    return content[: content.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "at", "sentence"),
    [
        ("max: 240", "max: 240\n    max: 241", "max: 241", "max stands twice here"),
        ("max: 240", "max: 5", "type: int", "parameters.lookback_bars: the first of [10.0, 5.0] must be below"),
        ("max: 240", "max: .nan", "max: .nan", "parameters.lookback_bars.max: input should be a finite number"),
        ("max: 240", "max: 2024-13-45", "max: 2024", "month must be in 1..12"),
        ("max: 240", "max: 2024-12-05", "max: 2024", "neither text nor number"),
        ("max: 240", f"max: {'9' * 5000}", "max: 999", "Exceeds the limit"),
        ("max: 240", "\tmax: 240", "\tmax: 240", "cannot start any token"),
        ("min: 10", "yes: 10", "yes: 10", "a name must be a plain word"),
        (
            "lookback_bars: 20",
            "lookback_bars: 5",
            "lookback_bars: 5",
            "preset fast: parameter lookback_bars = 5 is out",
        ),
        ("lookback_bars: 20,", "", "{ entry_buffer_atr: 0.1,", "preset fast: lookback_bars is missing"),
        ("default_preset: balanced", "default_preset: bold", "default_preset: bold", "bold is none of the presets"),
        ("- id: fast", "- id: balanced", "id: balanced\n    description: Short", "balanced stands more than once"),
        ("  absurd: 50.0\n", "", "unit: R\n", "reward.absurd: field required"),
        ("name: lints", "name: magic", "name: magic", "policy.name: input should be 'lints', 'thompson'"),
        ("reward:", "rewards:", "  unit: R", "rewards: extra inputs are not permitted"),
        ("strategy: momentum_breakout", "strategy: other", "strategy: other", "rename it to other.yaml"),
        ("unit: bars", "unit: !!python/name:os.system", "unit: !!python", "could not determine a constructor"),
        ("unit: bars", "unit: *bars", "unit: *bars", "aliases are not taken"),
        ("unit: bars", "unit: \x07", "unit: \x07", "it holds the character U+0007"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, at: str, sentence: str, tmp_path: Path) -> None:
    """Every kind of mistake names the line to mend."""
    spoilt = GOOD.replace(old, new, 1)
    told = problems(tmp_path, spoilt)
    expected = f"{NAME}:{line_of(at, spoilt)}: "
    assert any(each.startswith(expected) and sentence in each for each in told), (expected, told)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", ":1: the file is empty"),
        ("- 1", ":1: input should be a valid dictionary"),
        ("[" * 5_000, ":1: it is nested too deeply"),
        ("a: 1\n---\nb: 2", ":2: expected a single document"),
        ("!!set {a}", ":1: neither text nor number"),
        ("a: 1\n<<: {b: 2}", ":2: could not determine a constructor"),
        (b"a: 1\nb: \xff", ":2: it is not UTF-8"),
        ("#" * (MAX_BYTES + 1), f": it is longer than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_no_schema_at_all(content: str | bytes, sentence: str, tmp_path: Path) -> None:
    """Other files, and hostile ones, end in a sentence."""
    (told,) = problems(tmp_path, content)
    assert told.startswith(NAME + sentence)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A name that leads nowhere is told as such."""
    with pytest.raises(BadSchema, match="No such file"):
        read_schema(tmp_path / "gone.yaml")


def test_a_bad_file_stops_the_start(tmp_path: Path) -> None:
    """The role does not start beside a schema that it cannot use, or without any."""
    with pytest.raises(BadSetting, match=r"holds no \.yaml file"):
        Schemas.of(tmp_path)
    with pytest.raises(BadSetting, match="No such file or directory"):
        Schemas.of(tmp_path / "gone")
    for source in SHIPPED.glob("*.yaml"):
        shutil.copy(source, tmp_path)
    (tmp_path / NAME).write_text(GOOD.replace("max: 240", "max: 5"))
    (tmp_path / "market_making.yaml").rename(tmp_path / "market_making.yml")
    command = [sys.executable, "-m", "services.fleet.cli", "serve", "param-controller", "--port", "1"]
    environment = {"TIDEWHEEL_SCHEMAS_DIR": str(tmp_path), "PYTHONPATH": f"{ROOT}"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / NAME}:8: parameters.lookback_bars" in done.stderr
    assert "rename it to market_making.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tidewheel schemas check` ends with 0 where all is well and 1 where something is not; --json tells each file."""
    assert ended(["schemas", "check"]) == 0
    assert capsys.readouterr().out.count(": ok (lints-") == 3
    bad = tmp_path / NAME
    bad.write_text(GOOD.replace("max: 240", "max: 5"))
    assert ended(["schemas", "check", str(SHIPPED / NAME), str(bad)]) == 1
    assert f"{bad}:8: parameters" in capsys.readouterr().out
    assert ended(["schemas", "check", "--json", str(SHIPPED / NAME), str(bad)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [row["ok"] for row in told["files"]] == [True, False] and not told["ok"]
    assert told["files"][1]["problems"][0].startswith(f"{bad}:8: ")


def ended(arguments: list[str]) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def test_wheel_and_image_carry_them() -> None:
    """Installed, the schemas lie beside the packages, where the setting's default looks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "services" in wheel["packages"] and wheel["force-include"] == {"strategy_schemas": "strategy_schemas"}
    assert "COPY strategy_schemas strategy_schemas\n" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert "!strategy_schemas\n" in (ROOT / ".dockerignore").read_text()
