"""Limits on the text itself, before Python's parser sees it.

Python's parser is recursive: it answers deep nesting with ``MemoryError`` or ``RecursionError``,
and on some builds with a crash. So brackets, tokens and lines are counted first, without recursion.
"""

from __future__ import annotations

import ast
import io
import tokenize
import unicodedata
import warnings

from rewards.dialect.errors import DialectError

MAX_SOURCE = 12_000  # characters
MAX_LINE = 1_000  # characters
MAX_TOKENS = 1_000  # of one statement: nesting without brackets is never deeper than that
MAX_BRACKETS = 40  # open at one place
MAX_NODES = 3_000
MAX_DEPTH = 60
NOT_PLAIN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate and separator characters


def tree_of(source: str) -> ast.Module:
    """Return Python's tree of a source that is short, plain and shallow enough to walk.

    Raises:
        DialectError: It is not, or not Python; it names the line and the reason.
    """
    if not source.strip() or len(source) > MAX_SOURCE:
        reason = f"the source is empty or longer than {MAX_SOURCE} characters"
        raise DialectError(0, reason, "write one short function")
    source = source.replace("\r\n", "\n")
    _check_characters(source)
    names, broken = _check_tokens(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # To quote the line of an error, Python opens the file of this name: no file has it.
            tree = ast.parse(source, filename="")
    except SyntaxError as error:
        raise _not_python(error.lineno or 0, error.msg) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):
        raise _not_python(0, "it is too deeply nested, or not text") from None
    if broken:
        raise _not_python(0, broken)
    _check_size(tree)
    _check_names(names)
    return tree


def _not_python(line: int, message: str) -> DialectError:
    return DialectError(line, f"Python syntax error: {message}", "write plain Python")


def _check_characters(source: str) -> None:
    for number, line in enumerate(source.split("\n"), start=1):
        if len(line) > MAX_LINE:
            hint = "break it inside brackets"
            raise DialectError(number, f"the line is longer than {MAX_LINE} characters", hint)
        for character in line:
            if unicodedata.category(character) in NOT_PLAIN and character != "\t":
                raise DialectError(
                    number,
                    f"the character U+{ord(character):04X} is not allowed",
                    "use visible characters, spaces and line ends only",
                )


def _check_tokens(source: str) -> tuple[list[tokenize.TokenInfo], str]:
    """Bound the nesting; return the names, and what the tokenizer says against the text or ``""``.

    Python's own parser explains such an error better, so it is asked first.
    """
    names: list[tokenize.TokenInfo] = []
    tokens = depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            tokens = 0 if token.type == tokenize.NEWLINE else tokens + 1
            text = token.type in (tokenize.STRING, tokenize.COMMENT)
            if token.type == tokenize.NAME or not (text or token.string.isascii()):
                names.append(token)
            elif token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
            if depth > MAX_BRACKETS or tokens > MAX_TOKENS:
                line = token.start[0]
                raise DialectError(line, "the code is too long or too deeply nested", "simplify it")
    except (tokenize.TokenError, SyntaxError) as error:
        return names, str(error.args[0])
    return names, ""


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


def _check_names(names: list[tokenize.TokenInfo]) -> None:
    """Refuse names that Python would fold into others (NFKC) and names of Python's machinery."""
    for token in names:
        if not token.string.isascii() or token.string.startswith("_"):
            raise DialectError(
                token.start[0],
                f"the name {token.string[:40]!r} is not allowed",
                "use plain ASCII names that do not start with an underscore",
            )
