"""Ideas 13 to 23: names, definitions, classes and objects with hooks."""

from tests.rewards.battery.idea import (
    BODY,
    CALL,
    FORM,
    HARMLESS,
    HEAD,
    NAME,
    SYNTAX,
    Idea,
)

IDEAS = {
    13: Idea(
        "parameters that shadow a guard",
        sources={
            "other arguments": [
                "def reward(state, action, next_state, /):\n" + BODY,
                "def reward(state, action, *, next_state):\n" + BODY,
                "def reward(state, action, next_state, np):\n" + BODY,
                "def reward(state, action, np):\n" + BODY,
                "def reward(state, action, next_state, *np):\n" + BODY,
                "def reward(state, action, next_state, **np):\n" + BODY,
                "def award(state, action, next_state):\n" + BODY,
                "def reward():\n" + BODY,
            ],
            SYNTAX: ["def reward(state, state, next_state, state):\n", "def reward(__debug__):\n"],
        },
    ),
    14: Idea(
        "assignments to attributes and elements",
        statements={
            "plain name": [
                "np.load = 1",
                "state.force = 1",
                "state.force += 1",
                "np.abs = 1",
                "state['force'] = 1",
                "state.position[:, 0] += 1",
                "(state.force) -= 1",
                "x, state.force = 1, 2",
            ],
            NAME: ["state.__dict__ = 1", "x.__class__ += 1"],
        },
    ),
    15: Idea(
        "deleting or binding a guarded name again",
        statements={
            "is taken": [
                "np = state",
                "np = 1",
                "state = action",
                "action = 1",
                "reward = 1",
                "action += 1",
            ],
            FORM: ["del np", "del state", "global np", "import math as np", "def np(): return 1"],
            NAME: ["__builtins__ = 1", "_ = 1", "__name__ = 1"],
            "plain name": [
                "*x, y = state.position",
                "x = y = 1",
                "*x, y = action",
                "(x, y) = (1, 2)",
                "[x] = action",
            ],
        },
        sources={SYNTAX: [HEAD + "    nonlocal np\n    np: global = 1\n"]},
    ),
    16: Idea(
        "a walrus that leaks into another scope",
        {FORM: ["(x := state.force)", "[y := 1, y ** 2]", "(np := state)"]},
        {FORM: ["(np := 1)", "x[(y := 0)]"]},
    ),
    17: Idea(
        "a decorator that is called",
        sources={
            "decorators": [
                "@print\n" + HARMLESS,
                "@np.vectorize\n" + HARMLESS,
                "@(lambda f: f)\n" + HARMLESS,
            ]
        },
    ),
    18: Idea(
        "annotations that are evaluated",
        statements={
            FORM: ["x: str = 'a'", "x: print('a') = 1", "x: int", "state.force: print('a') = 1"]
        },
        sources={
            "annotations": [
                "def reward(state: print('a'), action, next_state):\n" + BODY,
                "def reward(state, action, next_state) -> print('a'):\n" + BODY,
            ],
        },
    ),
    19: Idea(
        "code in default arguments",
        {FORM: ["lambda x=print('a'): x", "lambda: state"], CALL: ["(lambda x: x)(1)"]},
        sources={
            "other arguments": [
                "def reward(state, action, next_state=print('a')):\n" + BODY,
                "def reward(state, action, next_state=[]):\n" + BODY,
            ]
        },
    ),
    20: Idea(
        "metaclasses and class hooks",
        {CALL: ["type('A', (), {})", "type('A', (), {})()", "super().x()"]},
        {
            FORM: [
                "class A: x = 1",
                "class A(metaclass=print): x = 1",
                "class A(np.ndarray, x=1): x = 1",
            ]
        },
        {
            "exactly one function": [
                "class reward:\n    x = 1\n",
                "class reward(metaclass=print): x = 1\n",
            ]
        },
    ),
    21: Idea(
        "__del__ that runs later in the host",
        {
            NAME: ["type('A', (), {'b': state.__del__})"],
            CALL: ["type('A', (), {'__del__': print})()"],
        },
        {FORM: ["class A:\n        def f(self): return 1", "del action"], NAME: ["__del__ = 1"]},
    ),
    22: Idea(
        "a returned object with hooks",
        {
            "starred": ["np.sum(*[state.position], axis=-1)"],
            "not available here": ["np.sum(**{'x': state.position})", "np.abs(x=action)"],
            "has other arguments": ["np.where(state.force > 0)", "np.abs()"],
            FORM: ["{}", "{'a': 1}", "[1]", "(1, 2)", "{1}"],
            CALL: ["object()", "np.ndarray((3,))"],
        },
        sources={
            "another form": [
                HEAD + "    return state\n",
                HEAD + "    return state.force\n",
                HEAD + "    return state.force, state\n",
                HEAD + '    return {"force": state.force}\n',
                HEAD + '    return state.force, {"a": state.force}, 1\n',
            ],
            "must have shape": [
                HEAD + '    return 1.0, {"a": state.force}\n',
                HEAD + '    return state.force, {"a": state.position}\n',
            ],
            "plain string": [
                HEAD + '    return state.force, {**{"a": state.force}}\n',
                HEAD + "    return state.force, {state.force: state.force}\n",
            ],
            "the term name": [
                HEAD + '    return state.force, {"__class__": state.force}\n',
                HEAD + '    return state.force, {"a/../b": state.force}\n',
                HEAD + '    return state.force, {"a": state.force, "a": state.force}\n',
            ],
        },
    ),
    23: Idea(
        "__reduce__ on the way to unpickling",
        {
            NAME: [
                "object.__reduce__(state)",
                "state.force.__reduce__()",
                "action.__setstate__(1)",
            ],
            CALL: ["copyreg.pickle(state)", "pickle.loads(b'')", "state.force.dumps()"],
        },
    ),
}
