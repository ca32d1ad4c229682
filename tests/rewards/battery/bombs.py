"""Ideas 37 to 41: too much time, too much memory, too deep."""

from tests.rewards.battery.idea import BODY, CALL, FORM, HEAD, TEXT, Idea, expression, returning

DEEP = "too long or too deeply nested|longer than 1000 characters|Python syntax error"
WIDE = "elements per transition"
# x is [N, 16], and y is [N, 16, 16], the widest value that there may be.
ROW = f"x = np.stack([{', '.join(['state.force'] * 16)}], axis=-1)"
PAGE = "y = x[:, :, None] + x[:, None, :]"
TOTAL = "np.sum(np.sum(y, axis=-1), axis=-1)"


def nested(before: str, after: str = "", times: int = 900, inner: str = "1") -> str:
    return expression(f"{before * times}{inner}{after * times}")


def lines(text: str, times: int) -> str:
    return HEAD + f"    {text}\n" * times + BODY


IDEAS = {
    37: Idea(
        "huge powers",
        {
            "exponent is too large": [
                "2 ** 1000000",
                "state.force ** 9",
                "np.power(action, 1e6)",
                "2.0 ** -9",
            ],
            "exponent must be a number": [
                "2.0 ** state.force",
                "action ** action",
            ],
            "not finite or too large": [
                "1e6 ** 8 * 1e6 ** 8",
                "1e7",
                "1e400",
                "-1e400 * 0",
                "9" * 500,
                "0x" + "f" * 900,
                "0b" + "1" * 900,
                "1_000_000_000",
                "np.exp(1e6)",
                "np.sqrt(-1.0)",
                "np.log(0.0)",
                "1e6 * 1e6 * 1e6",
            ],
            "exponent is too large|too large": ["9 ** 9 ** 9 ** 9", "10 ** -400", "1e6 ** 3"],
            "longer than 1000": ["9" * 5000],
            CALL: [
                "pow(9, 9 ** 9)",
                "np.float_power(9, 99)",
                "math.factorial(10 ** 9)",
                "np.linalg.matrix_power(action, 9)",
            ],
        },
        {
            "division by zero": [
                "x = state.force / 0",
                "x = 1 / 0.0",
                "x = action / np.array([1, 0, 1, 1])",
            ]
        },
        contained=[
            (
                returning("x * state.force", "x = 2.0", *["x *= x"] * 3),
                returning("256 * state.force"),
            ),
        ],
    ),
    38: Idea(
        "repetition",
        {
            FORM: ["[0] * 10 ** 9", "(1,) * 10 ** 9", "[[0] * 9] * 9"],
            TEXT: ["'a' * 10 ** 9", "b'a' * 10 ** 9"],
            CALL: [
                "np.zeros(10 ** 9)",
                "np.ones((10 ** 9,))",
                "np.arange(10 ** 9)",
                "np.tile(state.force, 10 ** 9)",
                "np.repeat(state.force, 10 ** 9)",
                "np.full(10 ** 9, 1.0)",
                "np.pad(action, 10 ** 9)",
                "bytearray(10 ** 9)",
                "range(10 ** 9)",
                "list(range(10 ** 9))",
            ],
            "empty or too long": ["np.array([" + "1, " * 65 + "])"],
            "few values can be joined": ["np.stack([" + "action[:, 0], " * 33 + "], axis=-1)"],
            "a list of values": [
                "np.stack([action] * 10 ** 6, axis=-1)",
                "np.concatenate(action, axis=-1)",
            ],
        },
    ),
    39: Idea(
        "broadcasting",
        {
            "first axis": [
                "state.force[None, :] * state.force[:, None]",
                "action[None] * action[:, None]",
            ],
            "do not match": [
                "state.position * state.force",
                "action * state.position",
                "action[:, None] * action",
            ],
            WIDE: [
                "action[:, :, None, None, None, None]",
                "state.position[:, None, None, None, :, None]",
            ],
            CALL: [
                "np.broadcast_to(state.force, (10 ** 9,))",
                "np.outer(state.force, state.force)",
                "np.einsum('i,j->ij', state.force, state.force)",
                "np.meshgrid(state.force, state.force)",
                "np.add.outer(action, action)",
                "np.kron(action, action)",
            ],
            FORM: ["state.position @ state.position"],
        },
        sources={
            WIDE: [
                returning("state.force", ROW, "x = np.concatenate([x, x], axis=-1)", PAGE),
                returning("state.force", ROW, PAGE, "z = y[:, :, :, None] * x[:, None, None, :]"),
            ],
            "computes too much": [
                returning(TOTAL, ROW, PAGE, *["y = np.power(y, 1.5)"] * 3),
                returning(TOTAL, ROW, PAGE, *["y = np.exp(y)"] * 20),
                returning(TOTAL, ROW, PAGE, *["y = np.arctan2(y, y + 1)"] * 5),
                returning(TOTAL, ROW, PAGE, *["y = y * y + 1"] * 60),
            ],
        },
        contained=[
            # What no result needs is not computed, and what is written twice is computed once.
            (
                returning("state.force", ROW, PAGE, *["y = np.power(y, 1.5)"] * 3),
                returning("state.force"),
            ),
            (
                returning("x", "x = state.force", *["x = x + x"] * 10),
                returning("1024 * state.force"),
            ),
        ],
    ),
    40: Idea(
        "nesting that crashes a parser",
        sources={
            DEEP: [
                nested("(", ")"),
                nested("(", ")", 300),
                nested("(", ")", 41),
                nested("[", "]", 190),
                nested("{", "}", 190),
                nested("-", times=9000),
                nested("-", times=990),
                nested("not ", times=240),
                nested("~", times=990),
                nested("1**", times=320),
                nested("1+", times=490),
                nested("lambda:", times=140),
                nested("1 if 1 else ", times=80),
                nested("await ", times=160),
                nested("*", times=900),
                nested("np.abs(", ")", 120),
                nested("f'{", "}'", 200),
                expression("np" + ".a" * 480),
                expression("np.abs" + "()" * 480),
                expression("action" + "[:]" * 320),
                expression("(" * 900),
                expression("(\n" * 5000),
                expression("-\\\n" * 3000 + "1"),
                expression("(" + "-\n" * 1500 + "1)"),
                HEAD
                + "".join(f"{' ' * (4 + n)}if 1:\n" for n in range(99))
                + " " * 103
                + "x = 1\n"
                + BODY,
                lines("x = " + "+".join(["1"] * 60), 80),
            ],
            "empty or too long": [lines("x = 1", 201)],
            "longer than 12000": [
                lines("x = 1", 2500),
                lines("if x: y = 1\n    elif x: y = 1", 400),
                HEAD + "#\n" * 6000 + BODY,
                HEAD + "    # " + "a" * 12000 + "\n" + BODY,
            ],
        },
        contained=[(expression("1" + "<1" * 480), HEAD + BODY)],
    ),
    41: Idea(
        "loops without an end, also inside one call",
        {
            CALL: [
                "reward(state, action, next_state)",
                "sum(range(10 ** 12))",
                "int('9' * 10 ** 7)",
                "re.match('(a+)+$', 'a' * 99 + 'b')",
                "iter(int, 1)",
                "max(iter(int, 1))",
                "time.sleep(10 ** 9)",
                "input()",
            ],
            FORM: ["[0 for a in action for b in action]", "{a: a for a in action}"],
        },
        {
            "not part of the dialect": [
                "while True: x = 1",
                "while 1:\n        pass",
                "for x in state.force: y = x",
                "for x in iter(int, 1): y = x",
                "def f(): return f()",
                "if True: x = 1",
            ]
        },
    ),
}

# Accepted, and as large as a program may be: wide, long, and all of it alive at once.
LARGE = (
    returning(TOTAL, ROW, PAGE, *["y = y * 0.5 + 1"] * 30),
    returning(
        " + ".join(f"np.sum(np.sum(y{n}, axis=-1), axis=-1)" for n in range(9)),
        ROW,
        PAGE,
        *[f"y{n} = np.sin(y + {n})" for n in range(9)],
    ),
    returning("x", "x = state.force", *["x = (x + x) / 2"] * 190),
)
