"""The rules that keep the folders apart, small, and free of anything that runs foreign code."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOUR = {"rewards", "policies", "sim", "real_robot"}
# What a folder may import of ours, besides itself.
ALLOWED = {"embodied": set(), **{folder: {"embodied"} for folder in FOUR}}
# Where nothing but these may be needed: the machine with the GPU has little else.
LEAN = {"torch", "numpy", "safetensors"}
# Online learning is stable-baselines3's, in an environment.
ONLINE = {
    "policies/online.py",
    "policies/ppo.py",
    "policies/sac.py",
    "policies/replay_behaviour.py",
    "policies/vec_env.py",
}
SOURCES = sorted(path for folder in ALLOWED for path in (ROOT / folder).rglob("*.py"))
EVERY_SOURCE = sorted(
    path
    for folder in (*ALLOWED, "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever the import stands."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import; write the full name"
            yield node.module or ""


def forbidden(folder: str, module: str) -> bool:
    top = module.partition(".")[0]
    return top in ALLOWED and top != folder and top not in ALLOWED[folder]


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_embodied_at_most(folder):
    found = [
        f"{name_of(path)} imports {module}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] == folder
        for module in imports(path)
        if forbidden(folder, module)
    ]
    assert found == []


def test_the_rule_knows_a_forbidden_edge():
    assert forbidden("rewards", "sim.tasks")
    assert forbidden("embodied", "policies")
    assert not forbidden("sim", "embodied.types")
    assert not forbidden("sim", "numpy")


def test_only_the_registry_imports_by_name():
    """A module that is chosen at run time is chosen from the table, or is one of MuJoCo's GLs."""
    callers = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.Name)
        and getattr(node, "attr", getattr(node, "id", "")) in ("import_module", "__import__")
    }
    assert callers == {"embodied/registry.py", "embodied/render.py"}


def more_of(path: Path) -> set[str]:
    return {"stable_baselines3", "gymnasium"} if name_of(path) in ONLINE else set()


def test_engine_and_policies_import_torch_numpy_and_safetensors_alone():
    known = LEAN | set(sys.stdlib_module_names) | {"embodied", "policies"}
    lean = [p for p in SOURCES if name_of(p).startswith(("policies/", "embodied/engine/"))]
    assert len(lean) > 5
    found = [
        f"{name_of(path)} imports {module}"
        for path in lean
        for module in imports(path)
        if module.partition(".")[0] not in known | more_of(path)
    ]
    assert found == []


def python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_embodied_and_its_command_line_brings_in_nothing_heavy():
    heavy = "('torch', 'mujoco', 'hydra', 'omegaconf', 'gymnasium', 'pyarrow', 'matplotlib')"
    code = f"import sys, embodied, embodied.cli; print([m for m in {heavy} if m in sys.modules])"
    assert python(code) == "[]"


def test_policies_work_where_only_torch_numpy_and_safetensors_are_installed():
    absent = "('mujoco', 'hydra', 'omegaconf', 'gymnasium', 'pyarrow', 'yaml', 'tqdm', 'av')"
    code = f"""
import sys
sys.modules.update(dict.fromkeys({absent}))  # importing any of them raises ImportError
import policies.iql, policies.bc, policies.package, embodied.engine.data, embodied.engine.flat
import embodied.engine.networks, embodied.engine.precision, embodied.checkpoints
print("fine")
"""
    assert python(code) == "fine"


def test_files_stay_small():
    def budget(path: Path) -> int:
        return 250 if name_of(path).startswith("policies/") else 300

    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in EVERY_SOURCE}
    over = [f"{name_of(path)}: {n}" for path, n in lines.items() if n > budget(path)]
    assert over == []


def test_functions_stay_short():
    """At most 50 lines, without the docstring."""
    over = []
    for path in EVERY_SOURCE:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            if lines > 50:
                over.append(f"{name_of(path)}: {node.name} has {lines}")
    assert over == []


# Modules and calls that run or rebuild objects from bytes or text.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "code"}
UNSAFE_NAMES = {"eval", "exec", "compile", "__import__"}


def unsafe(node: ast.AST) -> str | None:
    """Return what is unsafe about a node, or None."""
    if not isinstance(node, ast.Call):
        return None
    keywords = {item.arg: item.value for item in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_NAMES:
        return node.func.id
    if not isinstance(node.func, ast.Attribute):
        return None
    called = f"{ast.unparse(node.func.value)}.{node.func.attr}"
    if called in ("torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"):
        return called
    if called == "np.load" and ast.unparse(keywords.get("allow_pickle", node)) != "False":
        return "np.load without allow_pickle=False"
    return "shell=True" if "shell" in keywords else None


@pytest.mark.parametrize(
    "text",
    [
        "eval('1')",
        "torch.load(path)",
        "np.load(path)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_the_search_finds_unsafe_calls(text):
    assert any(unsafe(node) for node in ast.walk(ast.parse(text)))


def test_nothing_unpickles_or_evaluates():
    found = [
        f"{name_of(path)}:{node.lineno}: {reason}"  # type: ignore[attr-defined]
        for path in SOURCES
        for node in ast.walk(tree(path))
        if (reason := unsafe(node))
    ]
    found += [
        f"{name_of(path)} imports {module}"
        for path in SOURCES
        for module in imports(path)
        if module.partition(".")[0] in UNSAFE_MODULES
    ]
    assert found == []


def tracked() -> list[Path]:
    """Return the files of the repository, or every text file where there is no git."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        return EVERY_SOURCE
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_machine_of_ours_or_a_package_mirror():
    # Put together here, so that this file does not hold them itself.
    homes = [f"/{name}/" for name in ("home", "root", "Users", "work")]
    words = re.compile("|".join([*homes, "index-" + "url", "find-" + "links", "python" + "hosted"]))
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), 1)
            if words.search(line)
        ]
    assert found == []
