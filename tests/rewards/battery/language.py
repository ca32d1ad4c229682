"""Ideas 1 to 12: attributes, strings, frames, exceptions, patterns."""

from tests.rewards.battery.idea import (
    ATTRIBUTE,
    CALL,
    FORM,
    HARMLESS,
    NAME,
    SYNTAX,
    TEXT,
    UNKNOWN,
    Idea,
)

IDEAS = {
    1: Idea(
        "from a literal to its class, base and subclasses",
        {
            NAME: [
                "state['force'].__class__",
                "np.linalg.norm.__globals__",
                "(lambda: 0).__globals__",
                "().__class__.__base__.__subclasses__()",
                "''.__class__.__mro__[1].__subclasses__()",
                "[].__class__.__base__",
                "np.array([1.0]).__class__",
                "state.force.__class__",
                "state.__class__.__init__.__globals__",
                "(1.0).__class__",
                "np.pi.__class__",
                "next_state['force'].__class__.__mro__",
            ],
            ATTRIBUTE: [
                "state.position.T",
                "state.position.dtype.type",
                "action.base",
                "(1.0).real",
            ],
            CALL: ["(1.0).fromhex('0x1p3')", "type(state)", "state.force.astype(float)"],
        },
    ),
    2: Idea(
        "a dunder name put together at run time",
        {
            NAME: ["state['force']['__cl' 'ass__'].__x__", "__getattr__(state, 'force')"],
            CALL: ["getattr(state, '__cl' + 'ass__')", "setattr(state, 'force', 1)", "vars(state)"],
            "known fields": ["state['__class__']", "state['__cl' 'ass__']", "state['_' '_dict__']"],
            "plain string": [
                "state['force' + '']",
                "state[state.force]",
                "state[0]",
                "state[b'force']",
            ],
        },
    ),
    3: Idea(
        "a field path of str.format",
        {
            CALL: ["'{0.__class__}'.format(state)", "'{0[0]}'.format(state)", "'{}'.format(np)"],
            TEXT: ["'{0.__class__}'", "'{}' + state.force", "'%s' % state"],
        },
    ),
    4: Idea(
        "str.format unbound, and format_map",
        {
            CALL: [
                "str.format('{0.__class__}', state)",
                "'{a.__class__}'.format_map(state)",
                "str.format_map('{a}', state)",
                "format(state, '')",
                "np.format_float_positional(1.0)",
                "np.char.format('{0}', state)",
            ]
        },
    ),
    5: Idea(
        "attributes inside f-strings",
        {
            FORM: [
                "f'{state.__class__}'",
                "f'{f\"{state.__class__}\"}'",
                "f'{state!r:{action}}'",
                "f''",
                "f'{(lambda: 1)()}'",
            ]
        },
    ),
    6: Idea(
        "t-strings",
        {f"{SYNTAX}|{FORM}": ["t'{state.__class__}'", "t''", "rt'{np}'"]},
    ),
    7: Idea(
        "frames of generators",
        {
            FORM: [
                "{x for x in state.force}",
                "{x: x for x in state.force}",
                "[x for x in state.force]",
                "{x for x in action}",
                "{x: x for x in action}",
            ],
            ATTRIBUTE: ["(x for x in state.force).gi_frame", "(x for x in action).gi_code"],
            CALL: ["next(x for x in action)", "list(map(print, action))"],
        },
        {FORM: ["yield", "yield from action"]},
    ),
    8: Idea(
        "frames of coroutines",
        {SYNTAX + "|" + FORM: ["(await state)", "(yield state)", "[x async for x in state]"]},
        {FORM: ["async def f(): return 1"]},
        {"exactly one function": ["async " + HARMLESS]},
    ),
    9: Idea(
        "frames of tracebacks",
        {ATTRIBUTE: ["state.force.tb_frame", "np.tb_frame"], CALL: ["sys.exc_info()"]},
        {
            FORM: [
                "try:\n        x = 1 / 0\n    except Exception as e: x = e.tb_frame",
                "raise ValueError",
                "raise ValueError from None",
            ]
        },
    ),
    10: Idea(
        "the object behind an AttributeError",
        {UNKNOWN: ["AttributeError", "e"], ATTRIBUTE: ["AttributeError.obj", "state.force.obj"]},
        {FORM: ["try:\n        x = state.missing\n    except AttributeError as e: x = e.obj"]},
    ),
    11: Idea(
        "except* with a made-up group",
        {CALL: ["ExceptionGroup('a', [])", "BaseExceptionGroup('a', [])"]},
        {
            FORM: [
                "try:\n        x = 1\n    except Exception as e: x = 2",
                "try:\n        x = 1\n    except* ValueError: x = 2",
                "try:\n        x = 1\n    finally: x = 2",
            ]
        },
    ),
    12: Idea(
        "class patterns of match",
        statements={
            FORM: [
                "match state:\n        case int(): x = 1",
                "match state:\n        case object(force=x): x = 1",
                "match state:\n        case {'force': x}: x = 1",
                "match action:\n        case [x, *y]: x = 1",
                "match state:\n        case x: x = 1",
            ]
        },
    ),
}
