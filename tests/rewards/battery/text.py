"""Ideas 50 to 52: the text itself, and results that are none."""

from tests.rewards.battery.idea import (
    BODY,
    HARMLESS,
    HEAD,
    NAME,
    SYNTAX,
    TEXT,
    Idea,
    expression,
    returning,
    statement,
)

CHARACTER = "the character U\\+[0-9A-F]{4,6} is not allowed"


def inside(character: str) -> str:
    return statement(f"x = 1  # a{character}b")


IDEAS = {
    50: Idea(
        "letters that Python folds into others",
        {
            f"{NAME}|{SYNTAX}": [
                "\uff53tate.force",  # full width
                "state.\uff46orce",
                "\U0001d42c\U0001d42d\U0001d41a\U0001d42d\U0001d41e.force",  # mathematical bold
                "np.\U0001d41a\U0001d41b\U0001d42c(state.force)",
                "\u017ftate.force",  # long s
                "np.ab\u017f(state.force)",
                "\u0430ction",  # Cyrillic
                "np.e\u0445p(action)",
                "\ufb01eld",  # a ligature
                "eval\u0301('1')",
                "np.\u2102(1)",
                "\u1d49val('1')",
                "x\u200d",
                "_\uff3fimport__('os')",
                "state.\uff3f\uff3fclass\uff3f\uff3f",
                "\u3164",  # a letter that is not seen
                "np.abs\uff08action\uff09",
                "1\uff0b1",
            ],
            "has no field": [
                "state['\uff46orce']",
                "state['forc\u0435']",
                "next_state['force\u3164']",
            ],
        },
        {NAME: ["\u0430ction = 1", "\uff4ep = 1", "x\uff3fy = 1", "x\u0301 = 1", "x\u00b7y = 1"]},
        {
            "the term name": [HEAD + '    return state.force, {"f\u043erce": state.force}\n'],
            "other arguments|" + NAME: ["def rew\u0430rd(state, action, next_state):\n" + BODY],
            NAME: [HEAD + "    \U0001d427\U0001d429 = 1\n" + BODY],
        },
        contained=[(returning("state.force", "# 3\u00b0, \u03c0, \u96ea"), HARMLESS)],
    ),
    51: Idea(
        "NUL, cookies, line ends and direction marks",
        {
            TEXT: ["'\\0'", "'\\N{BULLET}'"],
            SYNTAX: [
                "'\\N{NO SUCH NAME}'",
                "'\\x'",
                "b'\\x'",
                "1\u00a01",
                "\u00bd",
                "$",
                "?",
                "`a`",
                "1__0",
                "0777",
            ],
        },
        sources={
            CHARACTER: [
                *map(inside, "\0\x01\x07\x08\x0b\x0c\x1a\x1b\x7f\x85\u00ad\u061c"),
                *map(inside, "\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\u2066\u2067\u2069"),
                *map(inside, "\u202a\u202d\u202e\ufeff\ufff9\ud800\udfff\U000e0001\U000e0041"),
                "\ufeff" + HARMLESS,
                HARMLESS.replace("\n", "\r"),
                HEAD + "    # x\r    import os\n" + BODY,
                HEAD + "    x = 1\f\n" + BODY,
                HARMLESS + "\0import os",
                "\0" + HARMLESS,
            ],
            SYNTAX: [
                HEAD + "\tx = 1\n        y = 2\n" + BODY,
                HEAD + "    x = (\n",
                HEAD + '    """\n',
                HEAD + "    x = 1 \\\n",
                HEAD + "  x = 1\n" + BODY,
                "# coding: utf-7\n" + HEAD + "    x = +AAo-import os\n" + BODY,
                "def reward(state, action, next_state)\n" + BODY,
                HARMLESS.replace(":", "\uff1a", 1),
            ],
            "empty or longer|exactly one function": [
                "",
                " ",
                "\n" * 99,
                "#",
                "1",
                "pass",
                "'a'",
                "...",
            ],
            "empty or too long": [HEAD + '    """Nothing."""\n'],
            "longer than 1000": [
                statement("x = 1" + " " * 1000 + "; import os"),
                expression("1 +" * 400 + "1"),
            ],
        },
        contained=[
            ("# -*- coding: utf-7 -*-\n" + HARMLESS, HARMLESS),
            ("# coding: rot13\n" + HARMLESS, HARMLESS),
            ("# -*- coding: unicode_escape -*-\n# \\u000aimport os\n" + HARMLESS, HARMLESS),
            (HARMLESS.replace("\n", "\r\n"), HARMLESS),
            ("\n\n" + HARMLESS + "\n\n    \n", HARMLESS),
        ],
    ),
    52: Idea(
        "results that are no number, of another shape, or constant",
        {
            "is not a number": ["1j", "None", "...", "1.5j + 2"],
            "not available": ["np.nan", "np.inf", "np.NaN", "np.e"],
            "not listed": ["float('nan')", "np.float64('inf')", "np.nan_to_num(action)"],
            "not finite": ["1e400", "1e999 - 1e999", "np.sqrt(-1)", "np.arccos(2.0)", "np.log(-1)"],
            "cannot be reduced": ["np.sum(action, axis=0)", "np.max(action, axis=2)"],
            "needs its axis": ["np.sum(action)", "np.mean(action)"],
            "batched value": ["np.ones_like(1.0)", "np.zeros_like(np.array([1, 2]))"],
        },
        sources={
            "must have shape": [
                returning("1.0"),
                returning("state.position"),
                returning("state.force[:, None]"),
                returning("np.array([1, 2])"),
                returning("x", "x = 0.5"),
            ],
        },
        translated="what is not finite for some inputs only, and a constant reward, are found on "
        "data by rewards.checks",
    ),
}
