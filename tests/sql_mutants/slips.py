"""What may go wrong in one statement so that it still runs: each slip has a name, and is made in a copy.

The copy is SQLAlchemy's tree, not its text, so one slip is the same on both dialects.
"""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ClauseElement, Function, Insert, Join, Null, Select, Update, case, literal
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList, Case, UnaryExpression
from sqlalchemy.sql.visitors import cloned_traverse, iterate

Slip = Callable[[], None]  #: made in the copy that it came with
Named = Iterator[tuple[str, Slip]]

#: Slips that mean something on Postgres only: on SQLite the write lock is held already.
LOCKING = ("without FOR UPDATE", "without SKIP LOCKED", "without the advisory lock")
#: operator -> those that a hand may write instead
_FLIPPED: dict[Any, tuple[Any, ...]] = {
    operators.eq: (operators.ne,),
    operators.ne: (operators.eq,),
    operators.lt: (operators.le, operators.gt),
    operators.le: (operators.lt, operators.ge),
    operators.gt: (operators.ge, operators.lt),
    operators.ge: (operators.gt, operators.le),
    operators.is_: (operators.is_not,),
    operators.is_not: (operators.is_,),
    operators.in_op: (operators.not_in_op,),
    operators.is_not_distinct_from: (operators.is_distinct_from,),
    operators.add: (operators.sub,),
    operators.sub: (operators.add,),
}
_CLOCK = re.compile(r"CAST\(floor\(EXTRACT\(epoch FROM clock_timestamp\(\)\) \* \S+\) AS BIGINT\)")
_VALUE = re.compile(r"%\(\w+\)s(::\w+)?|(?<!:):\w+|__\[POSTCOMPILE_\w+\]")

#: Named without what it has inside: that has slips of its own, and differs by optional conditions.
_NESTED = re.compile(r"\((WITH|SELECT) .*\)")


def text(element: Any) -> str:
    """SQL as a reader knows it, the same for both dialects: values and the clock are question marks."""
    return " ".join(_VALUE.sub("?", _CLOCK.sub("?", str(element))).split())


def slips(statement: ClauseElement) -> tuple[Any, dict[str, Slip]]:
    """A copy of the statement, and the slips that can be made in it, one at a time, in a fixed order."""
    whole: Any = cloned_traverse(statement, {}, {})
    found: dict[str, Slip] = {}
    for node in iterate(whole):
        for name, slip in _of(node):
            name = _NESTED.sub("(SELECT ...)", name)
            again = sum(each.partition(" #")[0] == name for each in found)
            found[f"{name} #{again + 1}" if again else name] = slip
    return whole, found


def _of(node: Any) -> Named:
    if isinstance(node, Select):
        yield from _select(node)
    if isinstance(node, Select | Update) or getattr(node, "__visit_name__", "") == "delete":
        for number, criterion in enumerate(node._where_criteria):
            if getattr(criterion, "operator", None) is operators.and_:
                continue  # who misses one of its parts would miss the whole
            rest = node._where_criteria[:number] + node._where_criteria[number + 1 :]
            yield f"without WHERE {text(criterion)}", _set(node, "_where_criteria", rest)
    if isinstance(node, Update | Insert) and node._values:
        yield from _values(node)
    if isinstance(node, Insert) and node._post_values_clause is not None:
        yield from _on_conflict(node)
    if isinstance(node, BooleanClauseList):
        for number, clause in enumerate(node.clauses):
            rest = [*node.clauses[:number], *node.clauses[number + 1 :]]
            yield f"without {text(clause)}", _set(node, "clauses", rest)
    if isinstance(node, BinaryExpression):
        for other in _FLIPPED.get(node.operator, ()):
            yield f"{text(node)}: {other.__name__}", _set(node, "operator", other)
    if isinstance(node, Join) and node.isouter:
        yield f"inner join of {text(node.right)}", _set(node, "isouter", False)
    if isinstance(node, Case):
        never = [(literal(1) == literal(0), value) for _, value in node.whens]
        yield f"{text(node)}: never", _set(node, "whens", case(*never).whens)
    if isinstance(node, Function):
        yield from _function(node)


def _select(node: Any) -> Named:
    if node._for_update_arg is not None:
        yield "without FOR UPDATE", _set(node, "_for_update_arg", None)
        if node._for_update_arg.skip_locked:
            waits = copy.copy(node._for_update_arg)
            waits.skip_locked = False
            yield "without SKIP LOCKED", _set(node, "_for_update_arg", waits)
    for number, by in enumerate(node._order_by_clauses):
        before, after = node._order_by_clauses[:number], node._order_by_clauses[number + 1 :]
        descends = isinstance(by, UnaryExpression) and by.modifier is operators.desc_op
        other = by.element if isinstance(by, UnaryExpression) and descends else by.desc()
        yield f"without ORDER BY {text(by)}", _set(node, "_order_by_clauses", before + after)
        yield f"ORDER BY {text(other)}", _set(node, "_order_by_clauses", (*before, other, *after))
    if node._limit_clause is not None:
        yield "without LIMIT", _set(node, "_limit_clause", None)
    if node._distinct:
        yield "without DISTINCT", _set(node, "_distinct", False)


def _values(node: Any) -> Named:
    """A column that an update forgets keeps its value; one that an insert forgets is empty."""
    for key in node._values:
        column = node.table.c[key] if isinstance(key, str) else key
        if isinstance(node, Update) or column.nullable:
            kept = column if isinstance(node, Update) else Null()
            yield f"without SET {column.name}", _set(node, "_values", {**node._values, key: kept})


def _on_conflict(node: Any) -> Named:
    clause = node._post_values_clause
    clause = clause.clauses[0] if hasattr(clause, "clauses") else clause
    yield "without ON CONFLICT", _set(node, "_post_values_clause", None)
    if clause.__visit_name__ != "on_conflict_do_update":
        return
    if clause.update_whereclause is not None:
        yield "ON CONFLICT without WHERE", _set(clause, "update_whereclause", None)
    for key in clause.update_values_to_set:
        column = node.table.c[key] if isinstance(key, str) else key
        rest = {other: value for other, value in clause.update_values_to_set.items() if other != key}
        if rest:
            yield f"ON CONFLICT without SET {column.name}", _set(clause, "update_values_to_set", rest)


def _function(node: Any) -> Named:
    name = node.name.lower()
    if name in ("max", "min"):
        yield f"{text(node)}: the other end", _set(node, "name", "min" if name == "max" else "max")
    if name == "coalesce":
        yield f"{text(node)}: no default", _set(node.clause_expr.element, "clauses", [node.clauses.clauses[0]] * 2)
    if name == "pg_advisory_xact_lock":
        yield "without the advisory lock", _set(node, "name", "abs")


def _set(node: Any, name: str, value: Any) -> Slip:
    return lambda: setattr(node, name, value)
