"""The files of `strategy_schemas/`: read safely, and refused with file and line."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tidewheel.contracts.errors import BadInput, BadSetting, NotFound
from tidewheel.contracts.strategies import MisfitError, StrategySchema

MAX_BYTES = 64 * 1024
SUFFIX = ".yaml"
_MAP, _LIST = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_Path = tuple[str | int, ...]  #: of a value in the document: ("parameters", "stop_atr", "max")


class BadSchema(BadInput):
    """A schema file cannot be used; `problems` holds a sentence each, beginning with `file:line`."""

    code, title = "bad_schema", "The strategy schema cannot be used"

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems), problems=self.problems)


class Schemas:
    """The strategies that a controller knows."""

    def __init__(self, schemas: Iterable[StrategySchema]) -> None:
        self._by_name = {schema.strategy: schema for schema in schemas}

    @classmethod
    def of(cls, folder: Path) -> "Schemas":
        """Every `*.yaml` of `folder`.

        Raises:
            BadSetting: the folder cannot be read, is empty, or a file of it cannot be used: says where and why.
        """
        problems: list[str] = []
        found: list[StrategySchema] = []
        for file in schema_files(folder):
            try:
                found.append(read_schema(file))
            except BadSchema as bad:
                problems += bad.problems
        if problems:
            raise BadSetting(f"a strategy schema cannot be used: {'; '.join(problems)}")
        return cls(found)

    def all(self) -> list[StrategySchema]:
        """By name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, strategy: str) -> StrategySchema:
        """The schema of a strategy.

        Raises:
            NotFound: no file describes it (code `unknown_strategy`).
        """
        if strategy not in self._by_name:
            raise NotFound(
                f"strategy {strategy[:80]!r} has no schema; known are {', '.join(sorted(self._by_name))}",
                code="unknown_strategy",
            )
        return self._by_name[strategy]


def schema_files(folder: Path) -> list[Path]:
    """The schema files of `folder`, by name; `*.yml` too, so that reading them tells how to name them.

    Raises:
        BadSetting: the folder cannot be read, or holds none.
    """
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in (SUFFIX, ".yml"))
    except OSError as error:
        raise BadSetting(f"TIDEWHEEL_SCHEMAS_DIR={folder} cannot be used: {error.strerror}") from None
    if not files:
        raise BadSetting(f"TIDEWHEEL_SCHEMAS_DIR={folder} holds no {SUFFIX} file; name the folder of the schemas")
    return files


def read_schema(file: Path) -> StrategySchema:
    """The schema in `file`, whose name is the strategy's.

    Raises:
        BadSchema: it cannot be used; every problem with its line.
    """
    document, lines = _parsed(file)
    try:
        schema = StrategySchema.model_validate(document)
    except ValidationError as invalid:
        raise BadSchema(_told(file, error, lines) for error in invalid.errors(include_url=False)) from None
    if file.name != schema.strategy + SUFFIX:
        name = f"a file is named after its strategy: rename it to {schema.strategy}{SUFFIX}"
        raise BadSchema([f"{file}:{lines[('strategy',)]}: {name}"])
    return schema


def _told(file: Path, error: Any, lines: Mapping[_Path, int]) -> str:
    misfit = error.get("ctx", {}).get("error")
    place: _Path = misfit.place if isinstance(misfit, MisfitError) else tuple(error["loc"])
    written = next(place[:length] for length in range(len(place), -1, -1) if place[:length] in lines)
    message = str(error["msg"]).removeprefix("Value error, ")
    named = ".".join(map(str, error["loc"]))
    return f"{file}:{lines[written]}: {named + ': ' if named else ''}{message[:1].lower()}{message[1:]}"


def _parsed(file: Path) -> tuple[Any, dict[_Path, int]]:
    """The document, and the line on which each of its values begins (the first is 1)."""
    text, lines = _text(file), dict[_Path, int]()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise BadSchema([f"{file}:1: the file is empty"])
        return _value(loader, node, (), lines), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(part for part in (error.context, error.problem) if part)
        raise BadSchema([f"{file}:{mark.line + 1 if mark else 1}: {told}"]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadSchema([f"{file}:{line}: it holds the character U+{ord(text[error.position]):04X}"]) from None
    except RecursionError:
        raise BadSchema([f"{file}:1: it is nested too deeply; a schema has four levels"]) from None


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadSchema([f"{file}: {error.strerror}"]) from None
    if len(content) > MAX_BYTES:
        raise BadSchema([f"{file}: it is longer than {MAX_BYTES} bytes, which no schema needs"])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadSchema([f"{file}:{line}: it is not UTF-8"]) from None


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML is untyped
    """Plain values only; an alias, which can make a small file huge, is refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not taken; write the value out", problem_mark=mark)
        return super().compose_node(parent, index)


def _value(loader: _Loader, node: Any, path: _Path, lines: dict[_Path, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
        return {name: _value(loader, inner, (*path, name), lines) for name, inner in _members(loader, node)}
    if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
        return [_value(loader, inner, (*path, place), lines) for place, inner in enumerate(node.value)]
    return _scalar(loader, node)


def _scalar(loader: _Loader, node: Any) -> Any:
    try:
        value = loader.construct_object(node)
    except ValueError as error:  # a date or a number that Python does not have
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None
    if not isinstance(value, str | int | float | None):
        raise yaml.MarkedYAMLError(problem="neither text nor number; put it in quotes", problem_mark=node.start_mark)
    return value


def _members(loader: _Loader, node: Any) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for key, inner in node.value:
        name = _scalar(loader, key) if isinstance(key, yaml.ScalarNode) else None
        problem = f"{name} stands twice here; keep one" if name in seen else None
        if not isinstance(name, str):
            problem = "a name must be a plain word; put it in quotes"
        if problem is not None:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        seen.add(str(name))
        yield str(name), inner
