"""Sources that try to leave the dialect. Each must be refused while it is parsed.

The numbers in comments group the ideas: attribute walks, string formatting, frames, binding tricks,
objects with hooks, files, foreign memory, library internals, bombs, parser limits, text tricks.
"""

import os

import pytest

from embodied.types import Field
from rewards.dialect import DialectError, parse

FIELDS = {"position": Field((3,), "m", "A position."), "force": Field((), "N", "A force.")}
ACTION = Field((4,), "rad", "An action.")
HEAD = "def reward(state, action, next_state):\n"
TAIL = '\n    return state.force, {"force": state.force}\n'

EXPRESSIONS = [
    # attribute walks
    "().__class__.__base__.__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()",
    "np.array([1.0]).__class__",
    "state.force.__class__",
    "state.__class__.__init__.__globals__",
    "state.position.T",
    "state.position.dtype.type",
    "action.base",
    "getattr(state, '__cl' + 'ass__')",
    "state['__class__']",
    "state['force' + '']",
    "state[state.force]",
    "state['force'].__class__",
    "np.__dict__['load']",
    "np['load']",
    "np",
    "np.linalg",
    "np.linalg.norm",
    "np.linalg.norm.__globals__",
    "np.pi.__class__",
    "(1.0).__class__",
    "(1.0).fromhex('0x1p3')",
    # string formatting
    "'{0.__class__}'.format(state)",
    "str.format('{0.__class__}', state)",
    "'{a.__class__}'.format_map(state)",
    "f'{state.__class__}'",
    "f'{f\"{state.__class__}\"}'",
    "'%s' % state",
    "'abc'",
    "b'abc'",
    # frames, generators, coroutines
    "(x for x in state.force).gi_frame",
    "[x for x in state.force]",
    "{x for x in state.force}",
    "{x: x for x in state.force}",
    "(lambda: 0).__globals__",
    "lambda: state",
    "(yield state)",
    "(await state)",
    # binding
    "(x := state.force)",
    "np.sum(*[state.position], axis=-1)",
    "np.sum(**{'x': state.position})",
    "np.sum(state.position, axis=-1, out=action)",
    "np.sum(state.position, axis=-1, dtype=object)",
    "np.where(state.force > 0)",
    "np.add(state.force, state.force, action)",
    # objects with hooks
    "type('A', (), {'__del__': print})()",
    "object.__reduce__(state)",
    "np.ndarray((3,))",
    "np.vectorize(print)(state.force)",
    "np.frompyfunc(print, 1, 1)(state.force)",
    "np.seterrcall(print)",
    "np.set_printoptions(formatter={'all': print})",
    # files
    "open('/etc/passwd').read()",
    "np.load('a.npy', allow_pickle=True)",
    "np.fromfile('/etc/passwd')",
    "np.memmap('/etc/passwd')",
    "np.loadtxt('/etc/passwd')",
    "np.genfromtxt('/etc/passwd')",
    "np.fromregex('/etc/passwd', '.', float)",
    "np.DataSource().open('http://localhost/')",
    "np.save('a.npy', state.force)",
    "np.savetxt('a.txt', state.force)",
    "state.force.tofile('a')",
    "state.force.dump('a')",
    # memory and library internals
    "np.ctypeslib.load_library('c', '.')",
    "state.force.ctypes.data",
    "np.lib.stride_tricks.as_strided(state.force, (10**9,))",
    "np.f2py.os.system('true')",
    "np.testing.os",
    "np.lib.os.environ",
    "np.frombuffer(b'abc')",
    "np.array(['a'], dtype=object)",
    "np.array([state])",
    "np.array([[1.0]])",
    "np.array([1.0], object)",
    "torch.load('a')",
    "torch.hub.load('a', 'b')",
    "torch.ops.load_library('a')",
    "state.force.register_hook(print)",
    "__import__('os').system('true')",
    "__builtins__['eval']('1')",
    "eval('1')",
    "exec('1')",
    "compile('1', '', 'eval')",
    "globals()",
    "vars(state)",
    "breakpoint()",
    "exit()",
    "print(state.force)",
    # clocks and randomness
    "np.random.normal()",
    "np.random.default_rng().normal()",
    "np.datetime64('now')",
    "time.time()",
    # bombs
    "9 ** 9 ** 9 ** 9",
    "2 ** 1000000",
    "1e6 ** 8 * 1e6 ** 8",
    "10 ** -400",
    "9" * 5000,
    "[0] * 10 ** 9",
    "'a' * 10 ** 9",
    "np.zeros(10 ** 9)",
    "np.ones((10 ** 9,))",
    "np.arange(10 ** 9)",
    "np.tile(state.force, 10 ** 9)",
    "np.repeat(state.force, 10 ** 9)",
    "np.broadcast_to(state.force, (10 ** 9,))",
    "np.outer(state.force, state.force)",
    "state.force[None, :] * state.force[:, None]",
    "state.position @ state.position.T",
    "np.einsum('i,j->ij', state.force, state.force)",
    "np.stack([" + "state.force, " * 300 + "], axis=-1)",
    "np.array([" + "1, " * 300 + "])",
    # numbers that are none
    "1j",
    "None",
    "...",
    "float('nan')",
    "1e400",
    "np.nan",
    "np.inf",
    "{}",
    "{'a': 1}",
    "[1]",
    "(1, 2)",
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda text: text[:40])
def test_expression_is_refused(expression):
    with pytest.raises(DialectError):
        parse(f"{HEAD}    x = {expression}{TAIL}", FIELDS, ACTION)


STATEMENTS = [
    "import os",
    "from os import system",
    "global os",
    "nonlocal os",
    "del state",
    "del np",
    "pass",
    "assert state.force",
    "raise SystemExit",
    "raise KeyboardInterrupt",
    "x: __import__('os') = 1",
    "state.force = 1",
    "state['force'] = 1",
    "state.position[:, 0] = 1",
    "state.force += 1",
    "state.position[:, 0] += 1",
    "action[:] = 0",
    "np.load = 1",
    "np = state",
    "reward = 1",
    "x = y = 1",
    "*x, y = state.position",
    "(x, y) = (1, 2)",
    "x += 1",
    "print('a')",
    "state.force",
    "x = 1\n    'a string in the middle'",
    "for x in state.force: y = x",
    "while True: x = 1",
    "if True: x = 1",
    "with open('a') as x: y = 1",
    "try:\n        x = 1\n    except* ValueError: x = 2",
    "try:\n        x = 1\n    except Exception as e: x = 2",
    "match state:\n        case int(): x = 1",
    "class A: x = 1",
    "class A(metaclass=print): x = 1",
    "def f(): return 1",
    "async def f(): return 1",
    "return state.force, {'a': state.force}",
    "x = 1; import os",
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statement_is_refused(statement):
    with pytest.raises(DialectError):
        parse(f"{HEAD}    {statement}{TAIL}", FIELDS, ACTION)


BODY = '    return state.force, {"force": state.force}\n'
WHOLE = {
    "empty": "",
    "not a function": "1",
    "import first": "import numpy as np\n" + HEAD + BODY,
    "code after": HEAD + BODY + "print(1)",
    "two functions": HEAD + BODY + HEAD + BODY,
    "class": "class reward:\n    x = 1",
    "async": "async " + HEAD + BODY,
    "decorator": "@print\n" + HEAD + BODY,
    "default": "def reward(state, action, next_state=print('a')):\n" + BODY,
    "annotation": "def reward(state: print('a'), action, next_state):\n" + BODY,
    "return annotation": "def reward(state, action, next_state) -> print('a'):\n" + BODY,
    "positional only": "def reward(state, action, next_state, /):\n" + BODY,
    "keyword only": "def reward(state, action, *, next_state):\n" + BODY,
    "starred": "def reward(state, action, next_state, *np):\n" + BODY,
    "double starred": "def reward(state, action, next_state, **np):\n" + BODY,
    "shadowed np": "def reward(state, action, np):\n" + BODY,
    "other name": "def award(state, action, next_state):\n" + BODY,
    "docstring alone": HEAD + '    """Nothing."""\n',
    "NUL": HEAD + "    x = 1\0" + TAIL,
    "form feed": HEAD + "    x = 1\f" + TAIL,
    "bidirectional override": HEAD + "    x = 1  # \u202e" + TAIL,
    "zero width": HEAD + "    x = 1  # \u200b" + TAIL,
    "lone surrogate": HEAD + "    x = 1  # \ud800" + TAIL,
    "byte order mark": "\ufeff" + HEAD + BODY,
    "full width letters": HEAD + "    x = \uff53tate.force" + TAIL,
    "mathematical letters": HEAD + "    x = np.\U0001d41a\U0001d41b\U0001d42c(state.force)" + TAIL,
    "cyrillic": HEAD + "    \u0430ction = 1" + TAIL,
    "underscore": HEAD + "    _ = 1" + TAIL,
    "dunder": HEAD + "    __builtins__ = 1" + TAIL,
    "tab mixture": HEAD + "\tx = 1\n        y = 2" + TAIL,
    "unfinished": HEAD + "    x = (",
    "unfinished string": HEAD + '    """',
    "many parentheses": HEAD + f"    x = {'(' * 500}1{')' * 500}" + TAIL,
    "many brackets": HEAD + f"    x = {'[' * 190}1{']' * 190}" + TAIL,
    "many minus signs": HEAD + f"    x = {'-' * 9000}1" + TAIL,
    "many nots": HEAD + f"    x = {'not ' * 2500}1" + TAIL,
    "many tildes": HEAD + f"    x = {'~' * 9000}1" + TAIL,
    "many powers": HEAD + f"    x = {'1**' * 3000}1" + TAIL,
    "many sums": HEAD + f"    x = {'1+' * 5000}1" + TAIL,
    "many attributes": HEAD + f"    x = np{'.a' * 4000}" + TAIL,
    "many calls": HEAD + f"    x = np.abs{'()' * 4000}" + TAIL,
    "many lambdas": HEAD + f"    x = {'lambda:' * 1500}1" + TAIL,
    "many conditions": HEAD + f"    x = {'1 if 1 else ' * 900}1" + TAIL,
    "many comparisons": HEAD + f"    x = 1{'<1' * 4000}" + TAIL,
    "many statements": HEAD + "    x = 1\n" * 1000 + TAIL,
    "wide values": HEAD
    + "    x = np.concatenate(["
    + "state.position, " * 31
    + "state.position], axis=-1)\n    y = x[:, :, None] * x[:, None, :]"
    + TAIL,
}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_source_is_refused(name):
    with pytest.raises(DialectError):
        parse(WHOLE[name], FIELDS, ACTION)


def test_the_harmless_body_is_accepted():
    # Otherwise every test above would pass for a wrong reason.
    assert parse(HEAD + "    x = 1" + TAIL, FIELDS, ACTION).fields_used == ("force",)
    assert parse(HEAD + BODY, FIELDS, ACTION).fields_used == ("force",)
    assert parse(HEAD + '    """Text."""\n' + BODY, FIELDS, ACTION).fields_used == ("force",)


def test_refusing_touches_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened: list[object] = []
    monkeypatch.setattr("builtins.open", lambda *given, **_: opened.append(given))
    monkeypatch.setattr(os, "open", lambda *given, **_: opened.append(given))
    monkeypatch.setattr(os, "system", lambda *given: opened.append(given))
    for expression in EXPRESSIONS:
        with pytest.raises(DialectError):
            parse(f"{HEAD}    x = {expression}{TAIL}", FIELDS, ACTION)
    assert opened == []
    assert list(tmp_path.iterdir()) == []
