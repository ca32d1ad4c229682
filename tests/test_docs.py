"""What the README and the guides say is true: their code runs, their figures were measured."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embodied.files import sha256_file
from embodied.results import table
from embodied.types import Task
from rewards import dialect
from sim.tasks.push import PushTask

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RECORDINGS = """
def my_recordings():
    for _ in range(3):
        state = {name: np.zeros((6, *field.shape)) for name, field in task.fields.items()}
        yield state, np.zeros((5, 6)), [False] * 5

"""


def blocks(name, language="python"):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(code, folder):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_dataset_guide_writes_a_dataset(tmp_path):
    (code,) = blocks("docs/your-own-dataset.md")
    code = code.replace("task = PushTask()\n", f"task = PushTask()\n{RECORDINGS}")
    read = "from embodied.dataset import Dataset\nprint(len(Dataset('data/mine')))\n"
    assert run(code + read, tmp_path).split() == ["15"]


def test_the_task_guide_defines_a_task(tmp_path):
    (code,) = blocks("docs/your-own-task.md")
    check = "from embodied.types import Task\nprint(isinstance(PushToTheLeft(), Task))\n"
    assert run(code + check, tmp_path).split() == ["True"]
    assert isinstance(PushTask(), Task)


def test_the_reward_guide_is_in_the_dialect():
    (code,) = blocks("docs/your-own-reward.md")
    task = PushTask()
    program = dialect.parse(code, task.fields, task.action)
    assert "cube_position" in program.fields_used


def test_the_comparison_guide_compares_and_shows_the_simulated_level(tmp_path):
    (code,) = blocks("docs/comparing.md")
    decided = run(code, tmp_path).splitlines()
    assert len(decided) == 3
    assert "('iql', 'bc') Decision(verdict='larger'" in decided[1]
    page = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    measured = json.loads((RESULTS / "null_level.json").read_text(encoding="utf-8"))
    for row in measured["rows"].values():
        assert row["false_rate"] <= measured["limit"]
        power = "" if row["power"] is None else f"{row['power']:.1%}"
        assert f"| {row['false_rate']:.2%} | {power} | {row['mean_interims']:.2f} |" in page
    assert f"{measured['limit']:.2%}" in page


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_readme_shows_the_measured_demo():
    measured = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table(measured["result"]) in readme
    assert f"{measured['seconds']['total'] / 60:.1f} minutes" in readme


def test_the_readme_shows_the_measured_speed():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sim, label, iql = (
        json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("sim", "label", "iql")
    )
    assert f"{sim['ratio_to_floor']:.0%} of the same physics alone" in readme
    assert f"{sim['ratio_to_best_peer']:.2f} times the best of" in readme
    assert f"{label['seconds']['median']:.2f} s, " in readme
    rows = {row["name"]: row for row in iql["rows"]}
    ours = rows["ours float32 1"]
    assert f"{ours['updates_per_s']['median']:.0f} updates/s" in readme
    assert f"{ours['share_of_float32_floor']:.0%} of its matrix products alone" in readme
    for peer in ("d3rlpy", "torchrl", "jax"):
        assert f"{rows[peer]['ratio_of_ours_to_it']:.2f} times" in readme


def test_the_reward_guide_shows_what_walking_robots_reached():
    page = (ROOT / "docs" / "your-own-reward.md").read_text(encoding="utf-8")
    found = sorted(RESULTS.glob("locomotion_*.json"))
    assert len(found) == 6
    for path in found:
        measured = json.loads(path.read_text(encoding="utf-8"))
        given = dict(item.split("=", 1) for item in measured["settings"])
        reached = " ".join(f"{seed['success']:.2f}" for seed in measured["seeds"])
        row = (measured["task"], given["policy"], f"{int(given['steps']) / 1e6:g} M", reached)
        minutes = f"{measured['cpu_s_per_seed'] / 60:.0f}"
        assert "| `{}` | `{}` | {} | {} |".format(*row) + f" {minutes} |" in page


def test_the_reward_guide_shows_what_a_sentence_changed():
    page = (ROOT / "docs" / "your-own-reward.md").read_text(encoding="utf-8")
    measured = json.loads((RESULTS / "feedback.json").read_text(encoding="utf-8"))
    wrong, mended = (item["success"] for item in measured["rounds"])
    low, high = mended["ci95"]
    shown = f"from {wrong['mean']:.2f} to {mended['mean']:.2f} [{low:.2f}, {high:.2f}]"
    assert shown in page
    assert mended["mean"] >= measured["wanted"]


def measured_table(measured):
    """Return the rows of docs/preferences.md for the table of CartPole."""
    rows = []
    for arm in measured["table"]["random"]:
        cells = []
        for kind in ("random", "expert"):
            item = measured["table"][kind][arm]
            each = " ".join(f"{seed['return']:.0f}" for seed in item["seeds"])
            cells.append(f"{item['return']:.1f} ({each})")
        seeds = measured["table"]["random"][arm]["seeds"]
        for key in ("label_accuracy", "true_pair_accuracy", "true_rank_correlation"):
            known = [seed[key] for seed in seeds if key in seed]
            cells.append(f"{sum(known) / len(known):.2f}" if known else "")
        rows.append(f"| {arm} | {' | '.join(cells)} |")
    return rows


def test_the_preference_guide_shows_the_measured_table():
    page = (ROOT / "docs" / "preferences.md").read_text(encoding="utf-8")
    measured = json.loads((RESULTS / "cartpole_preferences.json").read_text(encoding="utf-8"))
    for row in measured_table(measured):
        assert row in page
    random, expert = (measured["table"][kind] for kind in ("random", "expert"))
    assert random["true"]["return"] >= -150
    assert random["constant"]["return"] <= -1500
    assert random["oracle"]["return"] >= -300
    assert random["oracle, CartPole's noise"]["return"] >= -300
    assert abs(expert["oracle"]["return"] - expert["true"]["return"]) <= 15


def test_the_preference_guide_shows_what_the_embedded_clip_sees():
    page = (ROOT / "docs" / "preferences.md").read_text(encoding="utf-8")
    measured = json.loads((RESULTS / "small_clip.json").read_text(encoding="utf-8"))
    for task, item in measured["scenes"].items():
        deciles = " ".join(f"{value:.2f}" for value in item["pair_accuracy_by_decile"])
        cells = f"{item['best_caption_true']:.2f} | {item['rank_correlation']:.3f} | {deciles}"
        assert f"| `{task}` | {cells} |" in page
    folder = ROOT / "rewards" / "embedding" / "small_clip"
    assert sha256_file(folder / "open_clip_model.safetensors") == measured["sha256"]
    assert measured["bytes"] <= 12_000_000
