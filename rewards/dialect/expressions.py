"""Expressions: from Python's ``ast`` nodes, one positive list, to the typed tree.

Names and attributes are compared as strings with declared tables; nothing of the source is ever
looked up in a Python object.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from embodied.types import Field
from rewards.dialect import rules
from rewards.dialect.errors import DialectError, Refusal
from rewards.dialect.functions import FUNCTIONS, NUMBERS
from rewards.dialect.literals import (
    dotted_name,
    index_item,
    index_number,
    is_ellipsis,
    is_new_axis,
    is_whole,
    vector,
)
from rewards.dialect.tree import Input, Node, Type

MAX_JOINED = 32  # values in np.stack([...])

BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.BitAnd: "logical_and",
    ast.BitOr: "logical_or",
    ast.BitXor: "logical_xor",
}
COMPARISONS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
PLAIN = "use assignments of arithmetic, comparisons and np functions, and one return"
HINTS: Mapping[type[ast.AST], str] = {
    ast.BoolOp: "write np.logical_and(a, b) or (a) & (b), np.logical_or(a, b) or (a) | (b)",
    ast.Not: "write ~(a) or np.logical_not(a)",
    ast.Mod: "write np.arctan2(np.sin(d), np.cos(d)) to wrap an angle",
    ast.MatMult: "write np.sum(a * b, axis=-1)",
    ast.FloorDiv: "write /",
    ast.Invert: "write ~ before a comparison only",
    ast.Attribute: "read state.<field> or next_state.<field>; arrays have no attributes here, "
    "so write np.sum(x, axis=-1) instead of x.sum(axis=-1)",
    ast.List: "write np.array([...]) with numbers or np.stack([a, b], axis=-1)",
    ast.Tuple: "write np.array([...]) with numbers or np.stack([a, b], axis=-1)",
    ast.ListComp: "write the terms out one by one",
    ast.JoinedStr: "strings name fields and terms only",
    ast.NamedExpr: "write the assignment on a line of its own",
}


class Expressions:
    """Translates expressions, knowing the declared fields and the local names so far."""

    def __init__(self, fields: Mapping[str, Field], action: Field) -> None:
        self.fields = fields
        self.action = action
        self.locals: dict[str, Node] = {}
        self.inputs: dict[tuple[str, str], Input] = {}
        self._translators: Mapping[type[ast.expr], Callable[[Any], Node]] = {
            ast.Constant: self._constant,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Subscript: self._subscript,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.Compare: self._compare,
            ast.IfExp: self._conditional,
            ast.Call: self._call,
        }

    def translate(self, node: ast.expr) -> Node:
        """Return the typed tree of an expression.

        Raises:
            DialectError: It is outside the dialect; the line is that of the innermost part.
        """
        try:
            translator = self._translators.get(type(node))
            if translator is None:
                refuse_node(node)
            return translator(node)
        except Refusal as refusal:
            raise DialectError(node.lineno, refusal.reason, refusal.hint) from None

    def operate(self, operator: ast.operator, left: Node, right: Node) -> Node:
        """Apply a binary operator."""
        function = BINARY.get(type(operator))
        if function is None:
            refuse_node(operator)
        if function == "power":
            return rules.power(left, right)
        if function == "divide":
            return rules.divide(left, right)
        if function.startswith("logical"):
            return rules.logical(function, (left, right))
        return rules.elementwise(function, (left, right))

    def _constant(self, node: ast.Constant) -> Node:
        if not isinstance(node.value, bool | int | float):
            name = type(node.value).__name__
            raise Refusal(f"a {name} is not a number here", "write a plain number such as 0.5")
        return rules.number(node.value)

    def _name(self, node: ast.Name) -> Node:
        if node.id == "action":
            return self._input("action", "", self.action)
        if node.id in self.locals:
            return self.locals[node.id]
        if node.id in ("state", "next_state"):
            raise Refusal(f"{node.id} is not an array", f"read a field of it: {self._known()}")
        raise Refusal(
            f"the name {node.id[:40]!r} is unknown",
            "use state, action, next_state, np or a name assigned above",
        )

    def _attribute(self, node: ast.Attribute) -> Node:
        dotted = dotted_name(node)
        if dotted in NUMBERS:
            return rules.number(NUMBERS[dotted])
        if isinstance(node.value, ast.Name) and node.value.id in ("state", "next_state"):
            return self._field(node.value.id, node.attr)
        raise Refusal(f"the attribute {node.attr[:40]!r} is not available", HINTS[ast.Attribute])

    def _field(self, source: str, name: str) -> Node:
        if name not in self.fields:
            raise Refusal(f"{source} has no field {name[:40]!r}", f"known fields: {self._known()}")
        return self._input("state" if source == "state" else "next_state", name, self.fields[name])

    def _input(self, source: Any, name: str, field: Field) -> Input:
        if 0 in field.shape:
            raise Refusal(f"{name or source} holds no elements", "read another field")
        value = Input(source, name, Type(tuple(field.shape), batched=True))
        return self.inputs.setdefault((source, name), value)

    def _known(self) -> str:
        return ", ".join(sorted(self.fields))

    def _subscript(self, node: ast.Subscript) -> Node:
        if isinstance(node.value, ast.Name) and node.value.id in ("state", "next_state"):
            key = node.slice
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                return self._field(node.value.id, key.value)
            raise Refusal("a field is named by a plain string", 'write state["cube_position"]')
        value = self.translate(node.value)
        items = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not value.type.batched:
            raise Refusal(f"{value.type} cannot be indexed", "write the element as a number")
        if is_ellipsis(items[0]):
            named = sum(not is_new_axis(item) for item in items[1:])
            missing = len(value.type.shape) - named
            trailing: list[int | slice | None] = [slice(None)] * max(missing, 0)
        elif is_whole(items[0]):
            trailing = []
        else:
            raise Refusal(
                "the first axis is the batch of transitions and is taken whole",
                "write x[:, 0] or x[..., 0]",
            )
        return rules.index(value, trailing + [index_item(item) for item in items[1:]])

    def _unary(self, node: ast.UnaryOp) -> Node:
        value = self.translate(node.operand)
        if isinstance(node.op, ast.USub):
            return rules.elementwise("negative", (value,))
        if isinstance(node.op, ast.UAdd):
            return rules.to_float(value)
        if isinstance(node.op, ast.Invert):
            return rules.logical("logical_not", (value,))
        refuse_node(node.op)

    def _binary(self, node: ast.BinOp) -> Node:
        return self.operate(node.op, self.translate(node.left), self.translate(node.right))

    def _compare(self, node: ast.Compare) -> Node:
        values = [self.translate(value) for value in (node.left, *node.comparators)]
        results: list[Node] = []
        for operator, left, right in zip(node.ops, values[:-1], values[1:], strict=True):
            function = COMPARISONS.get(type(operator))
            if function is None:
                refuse_node(operator)
            results.append(rules.elementwise(function, (left, right), boolean=True))
        combined = results[0]
        for result in results[1:]:  # a < b < c is (a < b) & (b < c), element by element
            combined = rules.logical("logical_and", (combined, result))
        return combined

    def _conditional(self, node: ast.IfExp) -> Node:
        parts = (self.translate(part) for part in (node.test, node.body, node.orelse))
        return rules.where(*parts)

    def _call(self, node: ast.Call) -> Node:
        dotted = dotted_name(node.func)
        if dotted == "np.array":
            return vector(node)
        function = FUNCTIONS.get(dotted.removeprefix("np.")) if dotted.startswith("np.") else None
        if function is None:
            name = dotted.removeprefix("np.")
            hint = (
                f"write {FUNCTIONS[name].usage}"
                if name in FUNCTIONS
                else "use a listed function of np"
            )
            what = f"the function {dotted[:40]!r}" if dotted else "what is called here"
            raise Refusal(f"{what} is not listed", hint)
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            raise Refusal("starred arguments are not part of the dialect", "write them out")
        axis, keepdims, positional = _options(node, function.rule)
        if function.rule == "join":
            return self._join(function.entry, positional, axis, function.usage)
        if len(positional) != function.arity:
            raise Refusal(f"np.{dotted[3:]} has other arguments", f"write {function.usage}")
        values = [self.translate(argument) for argument in positional]
        if function.rule == "where":
            return rules.where(*values)
        if function.rule == "power":
            return rules.power(*values)
        if function.rule == "bool":
            return rules.logical(function.entry, values)
        if function.rule == "like":
            return rules.like(function.entry, values[0])
        if function.rule == "cross":
            return rules.cross(*values)
        if function.rule == "float":
            return rules.elementwise(function.entry, values)
        if axis is None:
            raise Refusal("a reduction needs its axis", f"write {function.usage}")
        boolean = function.rule == "reduce_bool"
        return rules.reduce(function.entry, values[0], axis, keepdims, boolean=boolean)

    def _join(self, entry: str, positional: list[ast.expr], axis: int | None, usage: str) -> Node:
        if len(positional) != 1 or not isinstance(positional[0], ast.List | ast.Tuple):
            raise Refusal("a list of values is needed", f"write {usage}")
        parts = positional[0].elts
        if axis not in (-1, 1) or not 1 <= len(parts) <= MAX_JOINED:
            raise Refusal("only a few values can be joined, along the last axis", f"write {usage}")
        return rules.join(entry, [self.translate(part) for part in parts])


def _options(node: ast.Call, rule: str) -> tuple[int | None, bool, list[ast.expr]]:
    """Split a call into axis, keepdims and the arguments that are values."""
    axis, keepdims, positional = None, False, list(node.args)
    reduces = rule in ("reduce", "reduce_bool")
    if reduces and len(positional) == 2 and dotted_name(node.func) != "np.linalg.norm":
        axis = index_number(positional.pop())
    for keyword in node.keywords:
        if keyword.arg == "axis" and axis is None and (reduces or rule == "join"):
            axis = index_number(keyword.value)
        elif keyword.arg == "keepdims" and reduces:
            keepdims = _truth(keyword.value)
        else:
            given = (keyword.arg or "**")[:40]
            raise Refusal(f"the argument {given!r} is not available here", "leave it out")
    return axis, keepdims, positional


def _truth(node: ast.expr) -> bool:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, bool)):
        raise Refusal("keepdims is neither True nor False", "write keepdims=True")
    return node.value


def refuse_node(node: ast.AST) -> NoReturn:
    """Refuse a node that is on no list, in words."""
    raise Refusal(f"{type(node).__name__} is not part of the dialect", HINTS.get(type(node), PLAIN))
