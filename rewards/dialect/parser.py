"""Source text to a program: limits first, then one function of assignments and one return."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import unicodedata
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from embodied.types import Field
from rewards.dialect import rules
from rewards.dialect.errors import DialectError, Refusal
from rewards.dialect.expressions import Expressions, refuse_node
from rewards.dialect.tree import Constant, Input, Local, Node, total_width

DIALECT_VERSION = 1
SIGNATURE = "def reward(state, action, next_state):"
RETURN = 'return total, {"name": term, ...}'
RESERVED = frozenset({"state", "action", "next_state", "np", "reward"})
MAX_SOURCE = 12_000  # characters
MAX_NODES = 3_000
MAX_DEPTH = 60
MAX_STATEMENTS = 200
MAX_TERMS = 32
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

    @property
    def width(self) -> int:
        """Elements per transition of all intermediate values together, to size chunks by."""
        results = (*self.statements, self.total, *(term for _, term in self.terms))
        return sum(total_width(node) for node in (*self.inputs, *results))


def parse(source: str, fields: Mapping[str, Field], action: Field) -> Program:
    """Parse reward code.

    Args:
        source: The text of one function ``reward(state, action, next_state)``.
        fields: What ``state`` and ``next_state`` hold, each ``[N, *shape]``.
        action: The action, ``[N, *shape]``.

    Raises:
        DialectError: The code is outside the dialect; it names the line, the reason and a way out.
    """
    function = _function(_tree(source))
    expressions = Expressions(fields, action)
    body = function.body
    if _is_docstring(body[0]):
        body = body[1:]
    if not body or len(body) > MAX_STATEMENTS:
        raise DialectError(function.lineno, "the function is empty or too long")
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
        raise DialectError(body[-1].lineno, "the reward reads neither a field nor the action")
    return Program(source, tuple(slots), total, terms, inputs)


def _tree(source: str) -> ast.Module:
    """Return Python's tree of a source that is short, plain and shallow enough to walk."""
    if not source.strip() or len(source) > MAX_SOURCE:
        raise DialectError(0, f"the source is empty or longer than {MAX_SOURCE} characters")
    for number, line in enumerate(source.split("\n"), start=1):
        for character in line:
            if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and (
                character not in "\t\r"
            ):
                raise DialectError(number, f"the character U+{ord(character):04X} is not allowed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        raise DialectError(error.lineno or 0, f"Python syntax error: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise DialectError(0, "the source is too deeply nested or not Python") from None
    _check_size(tree)
    _check_names(source)
    return tree


def _check_size(tree: ast.Module) -> None:
    """Bound the number of nodes and their depth without recursion."""
    level: list[ast.AST] = [tree]
    nodes = depth = 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            line = getattr(level[0], "lineno", 0)
            raise DialectError(line, "the code is too long or too deeply nested", "simplify it")
        level = [child for node in level for child in ast.iter_child_nodes(node)]


def _check_names(source: str) -> None:
    """Refuse names that Python would fold into others (NFKC) and names of Python's machinery."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.NAME:
            continue
        if not token.string.isascii() or token.string.startswith("_"):
            raise DialectError(
                token.start[0],
                f"the name {token.string[:40]!r} is not allowed",
                "use plain ASCII names that do not start with an underscore",
            )


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
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
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
            raise Refusal(f"the term name {key.value[:40]!r} is not plain or occurs twice")
        terms[key.value] = _per_transition(expressions.translate(value), f"the term {key.value!r}")
    if not 1 <= len(terms) <= MAX_TERMS:
        raise Refusal(f"there must be 1 to {MAX_TERMS} named terms", f"write {RETURN}")
    return total, tuple(terms.items())


def _per_transition(value: Node, what: str) -> Node:
    if not value.type.batched or value.type.shape:
        hint = "multiply a number by np.ones_like(distance); reduce a vector with axis=-1"
        raise Refusal(f"{what} must have shape [N] and is {value.type}", hint)
    return rules.to_float(value)
