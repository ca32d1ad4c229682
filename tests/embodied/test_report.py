"""The report, on made-up numbers: nothing here was measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embodied.report import ReportContent, build_report
from embodied.report.page import render
from embodied.report.text import number, percent, visible
from embodied.video import write_video

CODE = '''def reward(state, action, next_state):
    """Bring the cube to the target, then rest."""
    gap = next_state["cube_position"] - next_state["target_position"]
    distance = np.sqrt(np.sum(gap[:, :2] ** 2, axis=-1))
    reach = np.linalg.norm(next_state["gripper_position"] - next_state["cube_position"], axis=-1)
    near = 1.0 - np.tanh(10.0 * distance)  # 1 at the target
    calm = -0.01 * np.sum(action**2, axis=-1)
    close = np.where(distance < 0.03, 1.0, 0.0)
    return 2.0 * near - 0.5 * reach + calm + close, {
        "near": 2.0 * near, "reach": -0.5 * reach, "calm": calm, "close": close,
    }
'''


def outcome(mean: float, spread: float = 0.05, *, scale: float = 60.0) -> dict[str, Any]:
    per_seed = [round(mean + spread * offset, 4) for offset in (-1, 0.25, 0.75)]
    low, high = round(mean - 1.3 * spread, 4), round(mean + 1.2 * spread, 4)
    values = [round(scale * item, 3) for item in (mean, low, high, *per_seed)]
    return {
        "success": {"mean": mean, "ci95": [low, high], "per_seed": per_seed},
        "return": {
            "mean": values[0],
            "iqm": round(values[0] + 1.7, 3),
            "ci95": values[1:3],
            "per_seed": values[3:],
        },
    }


def metric_lines(arms: tuple[str, ...], lines: int = 60) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    ends = {"policy": 0.85, "true_reward": 0.9, "bc": 0.6, "constant_reward": 0.55}
    found = []
    for index in range(1, lines + 1):
        line: dict[str, Any] = {"step": 500 * index, "wall_s": 1.5 * index}
        for arm in arms:
            noise = rng.normal(size=(4, 3))
            line[f"{arm}/actor/loss"] = list(-1 - 0.02 * index + 0.1 * noise[0])
            if arm != "bc":
                line[f"{arm}/value/loss"] = list(np.exp(-index / 15) + 0.02 * noise[1] ** 2)
                line[f"{arm}/critic/q"] = list(30 * (1 - np.exp(-index / 20)) + noise[2])
            if index % 6 == 0:
                rate = ends[arm] * (1 - np.exp(-index / 15)) + 0.03 * noise[3]
                line[f"{arm}/evaluation/success"] = list(np.clip(rate, 0, 1))
                line[f"{arm}/evaluation/return"] = list(60 * rate)
        found.append(line)
    return found


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    paths = {}
    for name, colour in {"success": (30, 140, 90), "failure": (170, 70, 50)}.items():
        images = np.full((40, 120, 160, 3), 235, np.uint8)
        for time, image in enumerate(images):
            image[50:74, 8 + 3 * time : 32 + 3 * time] = colour
        paths[name] = folder / f"{name}.mp4"
        write_video(paths[name], images, fps=20)
    return paths


@pytest.fixture(scope="session")
def content(videos: dict[str, Path]) -> ReportContent:
    time = np.arange(90)
    terms = {
        "near": list(2 - 2 * np.tanh(np.maximum(60 - time, 0) / 25)),
        "reach": list(-0.5 * np.exp(-time / 20)),
        "calm": list(-0.05 - 0.03 * np.sin(time / 4)),
        "close": [float(item > 62) for item in time],
    }
    return ReportContent(
        result={
            "schema_version": 1,
            "task": "push",
            "instruction": "push the cube onto the target",
            "policy": "iql",
            "reward": {"kind": "text2reward", "model": "recorded-1", "sha256": "9f2c" * 16},
            "seeds": [11, 12, 13],
            "episodes": 100,
            "steps": 30_000,
            "wall_s": 754.2,
            **outcome(0.842),
            "controls": {
                "behaviour": outcome(0.315, 0.03),
                "bc": outcome(0.587),
                "constant_reward": outcome(0.561),
                "true_reward": outcome(0.873, 0.04),
            },
            "notes": ["test data: made-up numbers", "each training seed has its own dataset"],
        },
        metrics=metric_lines(("policy", "true_reward", "bc", "constant_reward")),
        manifest={
            "created": "2026-01-02T03:04:05+0000",
            "git_commit": "0123abc",
            "cores": 2,
            "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
        },
        reward_source=CODE,
        terms=terms,
        total=list(np.sum(list(terms.values()), axis=0)),
        terms_caption="The first evaluation episode of seed 11.",
        videos=videos,
        deployment={
            "robot": "mujoco_so101",
            "steps": 412,
            "success": True,
            "guard": {"speed_limited": 7, "stopped": 0},
            "latency_ms": {"p50": 3.21, "p99": 9.87},
        },
    )


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text between them."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def test_every_fact_of_the_result_is_on_the_page(content: ReportContent) -> None:
    text = Page(render(content)).text
    for fact in ("push the cube onto the target", "iql", "text2reward", "recorded-1", "9f2c" * 16):
        assert fact in text
    for fact in ("11, 12, 13", "100 episodes per seed", "30,000", "12 min 34 s", "made-up numbers"):
        assert fact in text
    result = content.result
    for arm in (result, *result["controls"].values()):
        success, returns = arm["success"], arm["return"]
        for rate in (success["mean"], *success["ci95"], *success["per_seed"]):
            assert percent(rate) in text
        for value in (returns["mean"], returns["iqm"], *returns["ci95"], *returns["per_seed"]):
            assert number(value) in text
    for fact in ("mujoco_so101", "412", "3.21", "9.87", "0123abc", "2.13.0", "2026-01-02"):
        assert fact in text
    for fact in (CODE, "near", "reach", "calm", "close", "schema version 1"):
        assert fact in text


def test_page_is_self_contained_and_runs_nothing(content: ReportContent) -> None:
    source = render(content)
    page = Page(source)
    assert page.open == []
    assert "http://" not in source
    assert "https://" not in source
    assert page.names().isdisjoint({"script", "link", "iframe", "img", "object", "embed", "a"})
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("src", "data:video/mp4;base64,").startswith("data:video/mp4;base64,")
        assert (attributes.get("href") or "#").startswith("#")
        assert "url(" not in (attributes.get("style") or "")
    sizes = [len(attributes["src"] or "") for tag, attributes in page.elements if tag == "video"]
    assert [size > 1000 for size in sizes] == [True, True]
    assert len(source) < 1_000_000


def test_page_is_accessible(content: ReportContent) -> None:
    elements = Page(render(content)).elements
    assert ("html", {"lang": "en"}) in elements
    assert [tag for tag, _ in elements].count("h1") == 1
    charts = [attributes for tag, attributes in elements if tag == "svg" and "role" in attributes]
    assert len(charts) == 2 + 5 + 2
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    spoken = " ".join(chart["aria-label"] or "" for chart in charts)
    assert "Behaviour cloning 58.7% (52.2% to 64.7%)" in spoken
    videos = [attributes for tag, attributes in elements if tag == "video"]
    assert all("controls" in video and video["aria-label"] for video in videos)


def test_ids_are_unique_and_references_resolve(content: ReportContent) -> None:
    elements = Page(render(content)).elements
    ids = [found["id"] for _, found in elements if found.get("id")]
    assert len(ids) == len(set(ids))
    used = {found["href"] for tag, found in elements if tag == "use"}
    used |= {(found.get("clip-path") or "url()")[4:-1] for _, found in elements} - {""}
    assert set() < used <= {f"#{name}" for name in ids}


def test_same_content_gives_the_same_bytes(content: ReportContent, tmp_path: Path) -> None:
    paths = [tmp_path / "a.html", tmp_path / "b.html"]
    for path in paths:
        build_report(path, content)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> ' onload='alert(1)",
    "$\\frac{1}{$ _hidden",
    "-->]]></svg></code></pre><script>alert(1)</script>",
    "\ud800 \x00 \x1b[31m \u202e reversed",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_stays_text(content: ReportContent, text: str, tmp_path: Path) -> None:
    result = dict(content.result)
    for key in ("task", "instruction", "policy"):
        result[key] = text
    result |= {"reward": {"kind": text, text: {text: text}}, "notes": [text], "seeds": [text]}
    result["controls"] = {text: outcome(0.4), "bc": None}
    hostile = replace(
        content,
        result=result,
        metrics=[{"step": 1, f"{text}/{text}": [1.0]}, {"step": 2, f"bc/{text}": [2.0]}],
        manifest={text: text, "list": [text, {text: text}]},
        reward_source=f"{text}\n# {text}\ns = '{text}'\n",
        terms={text: [0.0, 1.0]},
        terms_caption=text,
        videos={text: content.videos["success"]} if content.videos else None,
        missing_videos=text,
        deployment={text: text},
    )
    build_report(tmp_path / "report.html", hostile)
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.names() <= Page(render(content)).names()
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    assert page.text.count(visible(text)) > 10
    assert "\u202e" not in source
    assert "\x00" not in source


def test_missing_parts_are_left_out_or_explained(content: ReportContent, tmp_path: Path) -> None:
    videos = dict(content.videos or {})
    text = Page(render(replace(content, videos={}, missing_videos="No episode failed."))).text
    assert "No episode failed." in text
    text = Page(render(replace(content, videos={"success": tmp_path / "gone.mp4"}))).text
    assert "The video of the success was not found" in text
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(4_000_001))
    source = render(replace(content, videos={**videos, "failure": large}))
    assert "The video of the failure is too large" in source
    assert source.count("<video") == 1

    result = {"task": "reach", "success": None, "return": None}
    page = Page(render(ReportContent(result=result, metrics=[], manifest={})))
    assert "has no evaluation yet" in page.text
    assert page.names().isdisjoint({"table", "video", "pre"})
    assert page.open == []


def test_a_task_without_a_success_test_is_told_by_its_return(content: ReportContent) -> None:
    result = {**content.result, "success": None, "controls": {"bc": None, "true_reward": None}}
    text = Page(render(replace(content, result=result))).text
    assert "Return 50.52 (95% interval 46.62 to 54.12). No control was run" in text
    assert "Not run, or without numbers: True reward, Behaviour cloning." in text
    assert "84.2%" not in text


def test_without_matplotlib_the_page_has_its_tables(
    content: ReportContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(render(content))
    assert "pip install 'embodied-stack[report]'" in page.text
    assert "svg" not in page.names()
    assert "77.7% to 90.2%" in page.text
