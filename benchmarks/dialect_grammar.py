"""Random reward programs: some from the dialect's grammar, some changed to leave it.

A program is a function of its number alone, so every finding can be made again from one integer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from embodied.types import Field

FIELDS = {
    "force": Field((), "N", "A force."),
    "angle": Field((), "rad", "An angle."),
    "position": Field((3,), "m", "A position."),
    "velocity": Field((3,), "m/s", "A velocity."),
    "pair": Field((2,), "1", "Two numbers."),
    "corners": Field((2, 3), "m", "Two positions."),
}
ACTION = Field((4,), "rad", "An action.")
HEAD = "def reward(state, action, next_state):\n"
Shape = tuple[int, ...]
SHAPES: Sequence[Shape] = ((), (), (), (3,), (3,), (2,), (4,), (2, 3))
UNARY = "abs sqrt square exp expm1 log log1p sin cos tan arcsin arccos arctan tanh sign absolute"
BINARY = "minimum maximum arctan2 hypot"
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
NUMBERS = ("0.0", "1", "0.5", "2.0", "-1.5", "0.03", "1e-6", "10", "-0.0", "1e3", "np.pi", "7")
HOSTILE = (
    *("__import__('os').system('true')", "().__class__.__base__", "state.__class__", "eval('1')"),
    *("open('a')", "np.load('a')", "np.fromfile('a')", "getattr(state, 'force')", "np.random"),
    *("9 ** 9 ** 9", "[0] * 10 ** 9", "'a' * 10 ** 9", "np.zeros(10 ** 9)", "lambda: 0", "None"),
    *("f'{state}'", "[x for x in action]", "(x := 1)", "np.nan", "1e400", "1j", "...", "b'a'"),
    *("np.sum(state.position)", "state.position[0]", "state.force[None]", "action.T", "action[1:]"),
    *("state['force'].data", "np.array([[1]])", "np.where(action > 0)", "np.sum(*action)", "_", ""),
    *(
        "np.stack([state.force] * 10 ** 6, axis=-1)",
        "state.missing",
        "np",
        "state",
        "0x" + "f" * 90,
    ),
)
STATEMENTS = (
    *("import os", "del state", "global np", "while True: pass", "for i in action: x = i", "pass"),
    *(
        "state.force = 1",
        "action[:] = 0",
        "x = y = 1",
        "class A: pass",
        "return",
        "raise SystemExit",
    ),
    *(
        "with open('a'): pass",
        "x: int = 1",
        "def f(): return 1",
        "np = 1",
        "assert action",
        "x += x",
    ),
    *("action = 0", "try: x = 1\n    finally: x = 2", "match action:\n        case _: x = 1", "1"),
)
CHARACTERS = (
    *"()[]{}:,.=+-*/%&|^~<>!@#\\'\"`;_09aA \t\n\r\f\0",
    *("\u202e", "\u200b", "\ufeff", "\u00a0", "\uff53", "\u0430", "\ud800", "\x1b", "\u2028", "½"),
)


class Writer:
    """Writes expressions of a wanted shape; ``names`` holds what was assigned so far."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.names: dict[str, Shape] = {}

    def program(self) -> str:
        """Return a program of the dialect."""
        lines = []
        for number in range(self.rng.randint(0, 8)):
            shape = self.rng.choice(SHAPES)
            name = f"v{number}"
            lines.append(f"    {name} = {self.value(shape, self.rng.randint(1, 4))}\n")
            self.names[name] = shape
            if self.rng.random() < 0.2:
                operator = self.rng.choice(("+=", "-=", "*="))
                lines.append(f"    {name} {operator} {self.value(shape, 1)}\n")
        terms = [
            f'"t{number}": {self.value((), self.rng.randint(0, 3))}'
            for number in range(self.rng.randint(1, 4))
        ]
        total = self.value((), self.rng.randint(1, 4))
        return f"{HEAD}{''.join(lines)}    return {total}, {{{', '.join(terms)}}}\n"

    def value(self, shape: Shape, depth: int) -> str:
        """Return a batched value ``[N, *shape]``."""
        if depth <= 0:
            return self.leaf(shape)
        ways: list[Callable[[Shape, int], str]] = [
            *(self._unary, self._binary, self._binary, self._arithmetic, self._arithmetic),
            *(self._arithmetic, self._where, self._clip, self._power, self._counted),
        ]
        if shape == ():
            ways += [self._reduced, self._reduced, self._element]
        elif len(shape) == 1:
            ways += [self._joined, self._scaled, self._row]
        return self.rng.choice(ways)(shape, depth - 1)

    def leaf(self, shape: Shape) -> str:
        """Return a name, a field or the action."""
        known = [name for name, held in self.names.items() if held == shape]
        fields = [name for name, field in FIELDS.items() if field.shape == shape]
        source = self.rng.choice(("state", "next_state"))
        choices = [*known, *(f"{source}.{name}" for name in fields)]
        choices += [f'{source}["{name}"]' for name in fields]
        if shape == (4,):
            choices.append("action")
        return self.rng.choice(choices)

    def operand(self, shape: Shape, depth: int) -> str:
        """Return a value, or sometimes numbers that fit it."""
        chance = self.rng.random()
        if chance < 0.2:
            return self.rng.choice(NUMBERS)
        if chance < 0.25 and shape:
            numbers = ", ".join(self.rng.choice(("0", "1.5", "-2")) for _ in range(shape[-1]))
            return f"np.array([{numbers}])"
        return self.value(shape, depth)

    def truth(self, shape: Shape, depth: int) -> str:
        """Return truth values ``[N, *shape]``."""
        left, right = self.value(shape, depth), self.operand(shape, depth)
        compared = f"({left} {self.rng.choice(COMPARISONS)} {right})"
        chance = self.rng.random()
        if depth > 0 and chance < 0.2:
            return f"({compared} {self.rng.choice('&|^')} {self.truth(shape, depth - 1)})"
        if chance < 0.3:
            return self.rng.choice((f"~{compared}", f"np.logical_not({compared})"))
        if chance < 0.4 and shape == ():
            function = self.rng.choice(("any", "all"))
            return f"np.{function}({self.truth((3,), depth - 1)}, axis=-1)"
        return compared

    def _unary(self, shape: Shape, depth: int) -> str:
        function = self.rng.choice([f"np.{name}" for name in UNARY.split()] + ["-", "+"])
        return f"({function}({self.value(shape, depth)}))"

    def _binary(self, shape: Shape, depth: int) -> str:
        function = self.rng.choice(BINARY.split())
        return f"np.{function}({self.value(shape, depth)}, {self.operand(shape, depth)})"

    def _arithmetic(self, shape: Shape, depth: int) -> str:
        parts = [self.value(shape, depth), self.operand(shape, depth)]
        operator = self.rng.choice("+-*/")
        if operator != "/":
            self.rng.shuffle(parts)
        elif not parts[1].startswith(("state", "next", "v")):
            parts[1] = f"np.maximum({self.value(shape, 0)}, 1e-6)"
        return f"({parts[0]} {operator} {parts[1]})"

    def _power(self, shape: Shape, depth: int) -> str:
        exponent = self.rng.choice(("2", "0.5", "3", "-1", "-2", "1", "0", "1.5", "8"))
        base = self.value(shape, depth)
        return self.rng.choice((f"({base} ** {exponent})", f"np.power({base}, {exponent})"))

    def _where(self, shape: Shape, depth: int) -> str:
        parts = (self.truth(shape, depth), self.operand(shape, depth), self.operand(shape, depth))
        return self.rng.choice(("np.where({0}, {1}, {2})", "({1} if {0} else {2})")).format(*parts)

    def _clip(self, shape: Shape, depth: int) -> str:
        low, high = self.rng.choice((("-1", "1"), ("0.0", "0.5"), (self.leaf(shape), "2.0")))
        return f"np.clip({self.value(shape, depth)}, {low}, {high})"

    def _counted(self, shape: Shape, depth: int) -> str:
        return f"({self.rng.choice(NUMBERS)} * {self.truth(shape, depth)})"

    def _reduced(self, shape: Shape, depth: int) -> str:
        function = self.rng.choice(("linalg.norm", "sum", "mean", "min", "max", "amin", "amax"))
        if self.rng.random() < 0.2:
            inner = f"np.{function}({self.value((2, 3), depth)}, axis={self.rng.choice((-2, 1))})"
            return f"np.{function}({inner}, axis=-1)"
        value = self.value(self.rng.choice(((2,), (3,), (4,))), depth)
        return f"np.{function}({value}, axis={self.rng.choice((-1, 1))})"

    def _element(self, shape: Shape, depth: int) -> str:
        source = self.rng.choice(((2,), (3,), (4,), (2, 3)))
        index = ", ".join(str(self.rng.randrange(-size, size)) for size in source)
        return f"{self.value(source, depth)}[{self.rng.choice((':', '...'))}, {index}]"

    def _row(self, shape: Shape, depth: int) -> str:
        if shape != (3,):
            return self._scaled(shape, depth)
        row = f"{self.value((2, 3), depth)}[:, {self.rng.choice((0, 1, -1))}]"
        crossed = f"np.cross({self.value(shape, depth)}, {self.value(shape, depth)})"
        return self.rng.choice((row, crossed, f"{self.value((4,), depth)}[..., 1:]"))

    def _joined(self, shape: Shape, depth: int) -> str:
        if shape == (4,) and self.rng.random() < 0.5:
            parts = f"{self.value((3,), depth)}, {self.value((), depth)}[:, None]"
            return f"np.concatenate([{parts}], axis=-1)"
        parts = ", ".join(self.value((), depth) for _ in range(shape[0]))
        return f"np.stack([{parts}], axis=-1)"

    def _scaled(self, shape: Shape, depth: int) -> str:
        value = self.value(shape, depth)
        size = f"np.linalg.norm({value}, axis=-1, keepdims=True)"
        scalar = f"{self.value((), depth)}[:, None]"
        return f"({value} {self.rng.choice('+-*')} {self.rng.choice((size, scalar))})"


def mutate(source: str, rng: random.Random) -> str:
    """Change a program, usually to one outside the dialect."""
    at, to = sorted(rng.randrange(len(source) + 1) for _ in range(2))
    kind = rng.randrange(8)
    if kind == 0:
        return source[:at] + source[min(to, at + rng.randint(1, 12)) :]
    if kind == 1:
        return source[:at] + rng.choice(CHARACTERS) * rng.choice((1, 1, 2, 50)) + source[at:]
    if kind == 2:
        return source[:at] + source[at:to] * rng.choice((2, 2, 40)) + source[to:]
    if kind == 3:
        leaves = (
            "state.force",
            "state.position",
            "action",
            "next_state.angle",
            "np.abs",
            "axis=-1",
        )
        return source.replace(rng.choice(leaves), rng.choice(HOSTILE), 1)
    if kind == 4:
        return source.replace("    ", f"    {rng.choice(STATEMENTS)}\n    ", 1)
    if kind == 5:
        return source.replace("= ", f"= {rng.choice(HOSTILE)} {rng.choice('+*/<.')} ", 1)
    if kind == 6:
        deep = rng.choice(
            ("(", "-", "~", "not ", "[", "lambda:", "1 if 1 else ", "2 ** ", "np.abs(")
        )
        return source.replace("return ", "return " + deep * rng.choice((3, 60, 2000)), 1)
    tokens = source.split(" ")
    one, two = rng.randrange(len(tokens)), rng.randrange(len(tokens))
    tokens[one], tokens[two] = tokens[two], tokens[one]
    return " ".join(tokens)


def make(number: int) -> tuple[str, str]:
    """Return the class (``grammar`` or ``mutated``) and the source of a program."""
    rng = random.Random(number)
    source = Writer(rng).program()
    if number % 2 == 0:
        return "grammar", source
    for _ in range(rng.choice((1, 1, 2, 4))):
        source = mutate(source, rng)
    return "mutated", source
