"""Ideas 24 to 36: NumPy, torch and Python's modules."""

from tests.rewards.battery.idea import ATTRIBUTE, CALL, FORM, NAME, TEXT, UNKNOWN, Idea, returning

IDEAS = {
    24: Idea(
        "pickles in np.load",
        {
            CALL: [
                "np.load('a.npy', allow_pickle=True)",
                "np.load('a.npy')",
                "np.lib.npyio.load('a')",
                "np.lib.format.read_array('a')",
            ],
            ATTRIBUTE: ["np.load"],
            "plain string|cannot be indexed|is unknown": ["np['load']"],
            NAME: ["np.__dict__['load']"],
        },
    ),
    25: Idea(
        "files read by NumPy",
        {
            CALL: [
                "np.fromfile('/etc/passwd')",
                "np.memmap('/etc/passwd')",
                "np.loadtxt('/etc/passwd')",
                "np.genfromtxt('/etc/passwd')",
                "np.fromregex('/etc/passwd', '.', float)",
                "np.DataSource().open('http://localhost/')",
                "open('/etc/passwd').read()",
                "np.lib.npyio.DataSource('.')",
            ]
        },
    ),
    26: Idea(
        "files written by NumPy",
        {
            CALL: [
                "np.save('a.npy', state.force)",
                "np.savez('a', state.force)",
                "np.savetxt('a.txt', state.force)",
                "state.force.tofile('a')",
                "state.force.dump('a')",
                "action.tofile('/dev/stdout')",
            ]
        },
    ),
    27: Idea(
        "foreign memory through ctypes",
        {
            CALL: [
                "np.frombuffer(b'abc')",
                "np.ctypeslib.load_library('c', '.')",
                "ctypes.CDLL(None)",
                "np.frombuffer(b'a')",
            ],
            ATTRIBUTE: ["state.force.ctypes.data", "action.data", "np.ctypeslib", "action.strides"],
            NAME: ["action.__array_interface__", "action.__array_struct__"],
        },
    ),
    28: Idea(
        "modules inside NumPy that hold os and sys",
        {
            CALL: [
                "np.f2py.os.system('true')",
                "np.f2py.compile('', 'a')",
                "np.distutils.exec_command('a')",
            ],
            ATTRIBUTE: [
                "np.linalg.norm",
                "np.testing.os",
                "np.lib.os.environ",
                "np.f2py",
                "np.linalg",
                "np.core",
                "np.random",
            ],
        },
    ),
    29: Idea(
        "as_strided beyond the end of an array",
        {
            CALL: [
                "np.lib.stride_tricks.as_strided(state.force, (10**9,))",
                "np.lib.stride_tricks.sliding_window_view(action, 2)",
                "np.ndarray((9,), buffer=action)",
                "np.resize(action, 9)",
            ],
            "outside an axis": ["action[:, 4]", "action[:, -5]", "state.position[..., 3]"],
            "small whole number": [
                "action[:, 10 ** 9]",
                "action[:, 99999999999999999999]",
                "action[:, 1.0]",
            ],
            "too many indices": ["action[:, 0, 0]", "state.force[:, 0]"],
        },
    ),
    30: Idea(
        "writing into the input arrays",
        {
            "is not available here": [
                "np.sum(state.position, axis=-1, out=action)",
                "np.abs(state.force, out=state.force)",
                "np.abs(action, where=action > 0)",
            ],
            CALL: [
                "np.add(state.force, state.force, action)",
                "np.copyto(action, 0)",
                "np.put(action, 0, 1)",
                "action.fill(0)",
                "action.sort()",
            ],
            "has other arguments": ["np.abs(action, action)", "np.minimum(action, 1, action)"],
        },
        {"plain name": ["action[:] = 0", "state.position[:, 0] = 1"]},
        contained=[
            (
                returning("x + 0 * action[:, 0]", "x = state.force", "x += 1", "x *= 2"),
                returning("(state.force + 1) * 2 + 0 * action[:, 0]"),
            ),
            (
                returning("y[:, 0]", "y = state.position", "y -= y", "y += 3"),
                returning("3 + 0 * state.position[:, 0]"),
            ),
        ],
    ),
    31: Idea(
        "callbacks that NumPy calls later",
        {
            CALL: [
                "np.seterrcall(print)",
                "np.set_printoptions(formatter={'all': print})",
                "np.vectorize(print)(state.force)",
                "np.frompyfunc(print, 1, 1)(state.force)",
                "np.apply_along_axis(print, 0, action)",
                "np.fromfunction(print, (3,))",
                "np.piecewise(action, [action > 0], [print])",
                "np.errstate(call=print)",
            ]
        },
    ),
    32: Idea(
        "object and structured types",
        {
            "is not available here": [
                "np.sum(state.position, axis=-1, dtype=object)",
                "np.abs(action, dtype='O')",
            ],
            "np.array": [
                "np.array(['a'], dtype=object)",
                "np.array([state])",
                "np.array([1.0], object)",
                "np.array([(1, 2)], dtype='i4,i4')",
                "np.array([[1.0]])",
                "np.array([])",
                "np.array([True])",
                "np.array(state)",
            ],
            CALL: [
                "np.dtype('O')",
                "np.rec.array(action)",
                "action.view('O')",
                "np.asarray(action, object)",
            ],
        },
    ),
    33: Idea(
        "loaders of torch",
        {
            CALL: [
                "torch.load('a')",
                "torch.save(action, 'a')",
                "torch.hub.load('a', 'b')",
                "torch.ops.load_library('a')",
                "torch.utils.cpp_extension.load('a', ['a'])",
                "torch.classes.load_library('a')",
                "torch.compile(action)",
                "torch.from_file('a')",
            ],
            ATTRIBUTE: ["torch.hub", "torch.ops"],
        },
    ),
    34: Idea(
        "hooks of tensors",
        {
            CALL: [
                "state.force.register_hook(print)",
                "state.force.requires_grad_(True)",
                "action.backward()",
                "torch.autograd.graph.saved_tensors_hooks(print, print)",
            ],
            ATTRIBUTE: ["action.grad_fn", "action.grad"],
            NAME: ["action.__torch_function__"],
        },
    ),
    35: Idea(
        "sys.modules through a module object",
        {
            ATTRIBUTE: ["sys.modules", "np.sys.modules", "np.lib.sys", "np.version", "np.os"],
            CALL: ["sys.modules['os'].system('true')", "np.sys.exit()"],
            UNKNOWN: ["np", "os", "sys", "builtins"],
        },
    ),
    36: Idea(
        "imports through builtins, importlib and codecs",
        {
            NAME: [
                "__import__('os').system('true')",
                "__builtins__['eval']('1')",
                "np.__builtins__",
            ],
            CALL: [
                "print(state.force)",
                "eval('1')",
                "exec('1')",
                "compile('1', '', 'eval')",
                "importlib.import_module('os')",
                "codecs.open('a')",
                "globals()",
                "locals()",
                "breakpoint()",
                "help()",
                "np.importlib.reload(np)",
            ],
            TEXT: ["'import os'", "b'import os'"],
        },
        {
            FORM: [
                "print('a')",
                "state.force",
                "pass",
                "x = 1\n    'a string in the middle'",
                "with open('a') as x: y = 1",
                "import os",
                "from os import system",
                "from . import a",
                "from os import *",
                "x = 1; import os",
            ]
        },
        {"exactly one function": ["import numpy as np\n" + returning("state.force")]},
    ),
}
