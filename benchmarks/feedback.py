"""A person's word turns a wrong reward into a right one: the recorded dialogue, at full size.

    python -m benchmarks.feedback [--seeds 3] [--steps 12000] [--episodes 3000] [--threads 2]
                                  [--folder DIR] [--out FILE]

The commands are those of ``docs/your-own-reward.md``. The first recorded reply pays for the
gripper's own tip at the target, wrong on purpose; the person says so after the first training, and
every further sentence of ``SAID`` asks for one more round. All rounds train IQL on the same data
with the same settings, and the last policies are judged on the same starts.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, command, machine, write_result
from embodied.files import read_json, sha256_file

SENTENCE = "bring the cube to the target"
SAID = (
    "The gripper moves its own tip onto the target and the cube stays behind. I want the cube on "
    "the target, lying still.",
)
WANTED = 0.8  # of the episodes, as for the demo's generated reward


def outcome(path: Path, said: str) -> dict[str, Any]:
    """Return what the policies of one round reached."""
    found = read_json(path / "result.json")
    return {
        "said": said,
        "reward_sha256": sha256_file(path / "reward" / "reward.py"),
        **{key: found[key] for key in ("success", "return", "wall_s")},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--episodes", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep data and runs here")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    about = machine(("torch", "numpy", "mujoco"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        data, threads = folder / "push", options.threads

        def embodied(name: str, *values: str) -> Path:
            return command(name, values, folder / name, threads)

        embodied("collect", "env=push", f"output={data}", f"episodes={options.episodes}")
        reward = embodied("reward", SENTENCE, "env=push")
        embodied("label", str(data), "reward=saved", f"path={reward}", "label=dialogue")
        run = embodied(
            *("train", f"data={data}", "data.label=dialogue", f"steps={options.steps}"),
            *(f"seeds={list(range(options.seeds))}".replace(" ", ""), f"threads={threads}"),
            *("controls=false", "curve_every=0"),
        )
        rounds = [outcome(run, "")]
        for number, said in enumerate(SAID, 1):
            embodied("improve", str(run), said)
            rounds.append(outcome(run / "rounds" / str(number), said))
    for number, item in enumerate(rounds):
        low, high = item["success"]["ci95"]
        print(f"round {number}: success {item['success']['mean']:.2f} [{low:.2f}, {high:.2f}]")
    settings = {key: getattr(options, key) for key in ("seeds", "steps", "episodes", "threads")}
    result = {"instruction": SENTENCE, **settings, "rounds": rounds, "wanted": WANTED}
    write_result(
        options.out or ROOT / "benchmarks/results/feedback.json", "feedback", about, result
    )


if __name__ == "__main__":
    main()
