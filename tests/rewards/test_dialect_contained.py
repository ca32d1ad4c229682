"""What the attack list does to the process that reads it: nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.dialect import DialectError, parser, text
from rewards.dialect.rules import MAX_WIDTH
from tests.rewards.battery.bombs import LARGE, PAGE, ROW, TOTAL
from tests.rewards.battery.idea import HEAD, expression, read, returning

ROOT = Path(__file__).resolve().parent.parent.parent
PATH = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
WATCH = f"{PATH}import tests.rewards.battery.watch as w\n"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", f"{WATCH}w.main()"],
        cwd=tmp_path_factory.mktemp("scratch"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_is_opened_imported_run_or_sent(report):
    assert report["heard"] == []


def test_nothing_is_left_behind(report):
    assert report["changed"] == {}


def test_every_attack_was_tried(report):
    assert report["outcomes"]["refused"] > 600
    assert report["outcomes"]["contained"] >= len(LARGE) + 15


def test_memory_stays_within_a_few_buffers(report):
    # The largest programs keep about ten values of 256 numbers for a chunk of 4096 transitions.
    assert report["grown_kb"] < 200_000


def test_the_audit_hook_hears_what_it_is_there_for(tmp_path):
    code = (
        f"{WATCH}"
        "sys.addaudithook(w.hook); w.listening = True\n"
        "open('a', 'w').close(); import colorsys, socket; socket.socket().close(); exec('1')\n"
        "w.listening = False; print([line.split()[0] for line in w.heard])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for event in ("open", "import", "socket.__new__", "exec"):
        assert f"'{event}'" in done.stdout


def test_work_is_counted_before_anything_is_computed():
    # 256 numbers, a sine costs 4: one line of 1024, twenty of them are too many.
    def sines(lines):
        return returning(TOTAL, ROW, PAGE, *["y = np.sin(y)"] * lines)

    per_line = read(sines(2)).plan.work - read(sines(1)).plan.work
    assert per_line == 4 * MAX_WIDTH
    fits = (parser.MAX_WORK - read(sines(0)).plan.work) // per_line
    assert read(sines(fits)).plan.work <= parser.MAX_WORK
    with pytest.raises(DialectError, match="computes too much"):
        read(sines(fits + 1))


def test_using_a_value_twice_costs_nothing_more():
    # 190 lines of x = x + x are 2**190 additions to a reader who writes them out.
    doubled = read(returning("x", "x = state.force", *["x = x + x"] * 190))
    assert doubled.plan.work < 200
    same = read(returning("a + b", "a = np.exp(action[:, 0])", "b = np.exp(action[:, 0])"))
    once = read(returning("a + a", "a = np.exp(action[:, 0])"))
    assert same.plan == once.plan


def test_what_is_kept_does_not_grow_with_the_program():
    short, long = (read(returning(TOTAL, ROW, PAGE, *["y = y * y + 1"] * n)) for n in (2, 30))
    assert short.width == long.width


def test_python_s_parser_is_not_asked_about_deep_or_long_texts(monkeypatch):
    asked = []
    monkeypatch.setattr(text.ast, "parse", lambda source: asked.append(source))
    deep = [
        "(" * 200,
        "-" * 5000,
        "(" * 41 + "1" + ")" * 41,
        "[" * 900,
        "not " * 2000,
        "(" + "-\n" * 2000,
        "f'" + "{" * 990,
    ]
    for number in (*map(expression, deep[:6]), HEAD + "#" * 13_000, HEAD + "#" * 1001):
        with pytest.raises(DialectError):
            read(number)
    assert asked == []
