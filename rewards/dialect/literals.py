"""What is known from the source alone: dotted names, constant indices, vectors of numbers."""

from __future__ import annotations

import ast

from rewards.dialect import rules
from rewards.dialect.errors import Refusal
from rewards.dialect.tree import Constant, Type

MAX_VECTOR = 64  # numbers in np.array([...])


def vector(node: ast.Call) -> Constant:
    """Return the constant of ``np.array([numbers])``."""
    usage = "write np.array([0.1, 0.2, 0.3]) with numbers only"
    if node.keywords or len(node.args) != 1 or not isinstance(node.args[0], ast.List | ast.Tuple):
        raise Refusal("np.array has other arguments", usage)
    values: list[float] = []
    for element in node.args[0].elts:
        negative = isinstance(element, ast.UnaryOp) and isinstance(element.op, ast.USub)
        inner = element.operand if isinstance(element, ast.UnaryOp) and negative else element
        if not isinstance(inner, ast.Constant) or type(inner.value) not in (int, float):
            raise Refusal("np.array holds something that is not a number", usage)
        value = rules.number(inner.value).value  # type: ignore[arg-type]  # checked just above
        assert isinstance(value, float)
        values.append(-value if negative else value)
    if not 1 <= len(values) <= MAX_VECTOR:
        raise Refusal("np.array is empty or too long", usage)
    return Constant(tuple(values), Type((len(values),), batched=False))


def index_item(node: ast.expr) -> int | slice | None:
    """Return one constant item of a subscript."""
    if is_new_axis(node):
        return None
    if isinstance(node, ast.Slice):
        ends = [None if end is None else index_number(end) for end in (node.lower, node.upper)]
        step = None if node.step is None else index_number(node.step)
        if step is not None and step < 1:
            raise Refusal("a slice has a step that is not positive", "write x[:, :2]")
        return slice(ends[0], ends[1], step)
    return index_number(node)


def index_number(node: ast.expr) -> int:
    """Return a small constant integer."""
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if not (isinstance(node, ast.Constant) and type(node.value) is int and node.value < 1000):
        raise Refusal("an index or axis must be a small whole number", "write x[:, 0] or axis=-1")
    return sign * node.value


def is_ellipsis(node: ast.expr) -> bool:
    """Return whether a subscript item is ``...``."""
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def is_whole(node: ast.expr) -> bool:
    """Return whether a subscript item is ``:``."""
    return isinstance(node, ast.Slice) and not (node.lower or node.upper or node.step)


def is_new_axis(node: ast.expr) -> bool:
    """Return whether a subscript item is ``None`` or ``np.newaxis``."""
    none = isinstance(node, ast.Constant) and node.value is None
    return none or dotted_name(node) == "np.newaxis"


def dotted_name(node: ast.expr) -> str:
    """Return ``np.linalg.norm`` for such a chain of names and ``""`` for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])
