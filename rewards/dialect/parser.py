"""Source text to a program: limits first, then one function of assignments and one return."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from embodied.types import Field
from rewards.dialect import rules
from rewards.dialect.errors import DialectError, Refusal
from rewards.dialect.expressions import Expressions, refuse_node
from rewards.dialect.plan import Plan, build
from rewards.dialect.text import tree_of
from rewards.dialect.tree import Constant, Input, Local, Node

DIALECT_VERSION = 1
SIGNATURE = "def reward(state, action, next_state):"
RETURN = 'return total, {"name": term, ...}'
RESERVED = frozenset({"state", "action", "next_state", "np", "reward"})
MAX_STATEMENTS = 200
MAX_TERMS = 32
# Additions per transition, about; at this limit 65,536 transitions take less than a second.
MAX_WORK = 20_000
TERM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Program:
    """Reward code that was accepted.

    Attributes:
        source: The text, as it was given.
        statements: The value of every slot, in order; later ones refer to earlier ones.
        total: The reward.
        terms: The named terms.
        inputs: What has to be given to ``evaluate``.
    """

    source: str
    statements: tuple[Node, ...]
    total: Node
    terms: tuple[tuple[str, Node], ...]
    inputs: tuple[Input, ...]

    @property
    def fields_used(self) -> tuple[str, ...]:
        """Names of the fields that are read of ``state`` or ``next_state``, sorted."""
        return tuple(sorted({entry.name for entry in self.inputs if entry.name}))

    @cached_property
    def plan(self) -> Plan:
        """The steps that compute the total and the terms."""
        return build(self.statements, [self.total, *(term for _, term in self.terms)])

    @property
    def width(self) -> int:
        """Elements per transition of everything that is kept at one time, to size chunks by."""
        return self.plan.width


def parse(source: str, fields: Mapping[str, Field], action: Field) -> Program:
    """Parse reward code.

    Args:
        source: The text of one function ``reward(state, action, next_state)``.
        fields: What ``state`` and ``next_state`` hold, each ``[N, *shape]``.
        action: The action, ``[N, *shape]``.

    Raises:
        DialectError: The code is outside the dialect, or computes too much; it names the line, the
            reason and a way out.
    """
    function = _function(tree_of(source))
    expressions = Expressions(fields, action)
    body = function.body
    if _is_docstring(body[0]):
        body = body[1:]
    if not body or len(body) > MAX_STATEMENTS:
        hint = f"write 1 to {MAX_STATEMENTS} lines, the last one {RETURN}"
        raise DialectError(function.lineno, "the function is empty or too long", hint)
    slots: list[Node] = []
    for statement in body[:-1]:
        try:
            _assign(statement, expressions, slots)
        except Refusal as refusal:
            raise DialectError(statement.lineno, refusal.reason, refusal.hint) from None
    try:
        total, terms = _returned(body[-1], expressions)
    except Refusal as refusal:
        raise DialectError(body[-1].lineno, refusal.reason, refusal.hint) from None
    inputs = tuple(expressions.inputs.values())
    if not inputs:
        hint = "read next_state.<field>"
        raise DialectError(body[-1].lineno, "the reward reads neither a field nor the action", hint)
    program = Program(source, tuple(slots), total, terms, inputs)
    if program.plan.work > MAX_WORK:
        raise DialectError(
            function.lineno,
            f"the code computes too much: {program.plan.work} operations per transition",
            f"keep it within {MAX_WORK}; use smaller vectors or fewer of them",
        )
    return program


def _function(tree: ast.Module) -> ast.FunctionDef:
    if len(tree.body) != 1 or type(tree.body[0]) is not ast.FunctionDef:
        first = next((node for node in tree.body if type(node) is not ast.FunctionDef), None)
        extra = first or tree.body[-1] if tree.body else None
        hint = f"write only {SIGNATURE} ...; np is there already, without an import"
        line = extra.lineno if extra else 0
        raise DialectError(line, "the source must be exactly one function", hint)
    function = tree.body[0]
    given = function.args
    names = [argument.arg for argument in given.args]
    plain = not (
        given.posonlyargs
        or given.kwonlyargs
        or given.vararg
        or given.kwarg
        or given.defaults
        or function.decorator_list
        or function.returns
        or getattr(function, "type_params", None)
        or any(argument.annotation for argument in given.args)
    )
    if not plain or function.name != "reward" or names != ["state", "action", "next_state"]:
        raise DialectError(
            function.lineno,
            "the function has another name, other arguments, annotations or decorators",
            f"write {SIGNATURE}",
        )
    return function


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _assign(statement: ast.stmt, expressions: Expressions, slots: list[Node]) -> None:
    """Translate ``name = value`` or ``name += value``; both bind a new value to the name."""
    target: ast.expr | None
    if isinstance(statement, ast.Assign):
        target = statement.targets[0] if len(statement.targets) == 1 else None
    elif isinstance(statement, ast.AugAssign):
        target = statement.target
    elif isinstance(statement, ast.If | ast.For | ast.While):
        hint = "write np.where(condition, a, b); all transitions are computed at once"
        raise Refusal(f"{type(statement).__name__} statements are not part of the dialect", hint)
    elif isinstance(statement, ast.Return):
        raise Refusal("there is a return before the last line", f"end with one {RETURN}")
    else:
        refuse_node(statement)
    if not isinstance(target, ast.Name):
        raise Refusal("only a plain name can be assigned", "write one name = value per line")
    if target.id in RESERVED:
        raise Refusal(f"the name {target.id!r} is taken", "use another name")
    value = expressions.translate(statement.value)
    if isinstance(statement, ast.AugAssign):
        old = expressions.translate(ast.copy_location(ast.Name(target.id, ast.Load()), target))
        value = expressions.operate(statement.op, old, value)
    if isinstance(value, Constant):
        expressions.locals[target.id] = value
    else:
        expressions.locals[target.id] = Local(len(slots), value.type)
        slots.append(value)


def _returned(
    statement: ast.stmt, expressions: Expressions
) -> tuple[Node, tuple[tuple[str, Node], ...]]:
    if not isinstance(statement, ast.Return):
        raise Refusal("the last line does not return", f"end with {RETURN}")
    pair = statement.value
    if not (
        isinstance(pair, ast.Tuple) and len(pair.elts) == 2 and isinstance(pair.elts[1], ast.Dict)
    ):
        raise Refusal("the return has another form", f"write {RETURN}")
    total = _per_transition(expressions.translate(pair.elts[0]), "the total")
    terms: dict[str, Node] = {}
    for key, value in zip(pair.elts[1].keys, pair.elts[1].values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise Refusal("a term is not named by a plain string", f"write {RETURN}")
        if not TERM_NAME.fullmatch(key.value) or key.value in terms:
            hint = "use other letters, digits and underscores for each term"
            raise Refusal(f"the term name {key.value[:40]!r} is not plain or occurs twice", hint)
        terms[key.value] = _per_transition(expressions.translate(value), f"the term {key.value!r}")
    if not 1 <= len(terms) <= MAX_TERMS:
        raise Refusal(f"there must be 1 to {MAX_TERMS} named terms", f"write {RETURN}")
    return total, tuple(terms.items())


def _per_transition(value: Node, what: str) -> Node:
    if not value.type.batched or value.type.shape:
        hint = "multiply a number by np.ones_like(distance); reduce a vector with axis=-1"
        raise Refusal(f"{what} must have shape [N] and is {value.type}", hint)
    return rules.to_float(value)
