"""The page in a real browser: a whole sitting by keys, broken off and gone on with."""

import io
import shutil

import numpy as np
import pytest

from rewards.label_store import LabelStore
from rewards.preferences.person import read_answer
from rewards.preferences.sitting import plan
from tests.rewards.preferences.browser import Browser
from tests.rewards.preferences.paging import WAIT_S, labels, pages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAIRS = [(f"d:{2 * i}:4", f"d:{2 * i + 1}:4") for i in range(50)]
KEYS = {"left": "1", "right": "2", "tie": "0", "skip": "s"}
READY = "document.body.dataset.state === {!r}"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt install chromium")


@pytest.fixture(name="store_path")
def _store_path(tmp_path):
    return tmp_path / "runs" / "labels.sqlite"


@pytest.fixture(name="start")
def _start(store_path):
    with pages(store_path) as start:
        yield lambda **more: start(pairs=PAIRS, attention_every=10, seed=7, **more)


@pytest.fixture(name="browser")
def _browser(tmp_path):
    made = Browser(CHROMIUM, tmp_path / "profile")
    yield made
    made.close()


def at(browser, position, state="ask"):
    """Wait until the page asks for the pair at a position."""
    browser.wait(f"typeof now !== 'undefined' && now?.position === {position}")
    browser.wait(READY.format(state))


def chosen(item):
    """Return what is pressed at a position of the plan: the first clip, and now and then not."""
    if item.pair % 9 == 4:
        return "tie"
    if item.pair % 9 == 7:
        return "skip"
    return "left" if item.left == "first" else "right"


def test_fifty_pairs_by_keys_with_the_page_closed_in_between(start, browser, store_path, tmp_path):
    items = plan(50, 10, seed=7)
    page = start()
    hosts = {page.host}
    browser.open(page.url)
    for position, item in enumerate(items):
        at(browser, position)
        if position == 20:  # closed in the middle of a pair, and opened again
            browser.open("about:blank")
            browser.wait("location.href === 'about:blank'")
            browser.open(page.url)
            at(browser, position)
        if position == 30:  # the last answer was a mistake
            browser.press("u")
            at(browser, 29)
            browser.press(KEYS[chosen(items[29])])
            at(browser, 30)
        if position == 35:  # the command is stopped and started again
            page = start()
            hosts.add(page.host)
            browser.open(page.url)
            at(browser, position)
        browser.press(KEYS[chosen(item)])
    at(browser, 50, "done")
    assert "All 50 pairs are answered" in browser.value("document.body.innerText")
    checks = sum(item.repeats is not None and chosen(item) != "skip" for item in items)
    assert 2 < checks < 5, "one that is skipped does not count"
    told = browser.value("document.getElementById('agree').textContent")
    assert told == f"{checks} of {checks}"
    browser.screenshot(tmp_path / "end.png")
    browser.press("Enter")
    browser.wait(READY.format("finished"))
    page.thread.join(WAIT_S)
    wanted = ["tie" if i % 9 == 4 else "unsure" if i % 9 == 7 else "first" for i in range(45)]
    assert labels(store_path, PAIRS)[:45] == wanted
    assert (page.result["checks"], page.result["agree"]) == (checks, checks)
    assert browser.complaints == []
    served = {url.split("/")[2] for url in browser.requests if url != "about:blank"}
    assert served == hosts, "nothing is loaded from elsewhere"
    store = LabelStore(store_path)
    keys = {item.key for item in store.labels("person 1")}
    answers = [read_answer(item.raw) for key in keys for item in store.answers(key)]
    assert len(answers) == 52, "50, and one taken back and given again"
    assert all(item.seconds > 0 for item in answers if item.choice != "undone")
    store.close()


def test_the_page_looks_as_it_should(start, browser, tmp_path):
    import av

    browser.open(start().url)
    at(browser, 0)
    video = "document.querySelectorAll('video')[{}]"
    for number in range(2):  # both run, begin again together, and say nothing
        browser.wait(f"{video.format(number)}.currentTime > 0")
        assert browser.value(f"{video.format(number)}.muted")
    browser.wait("videos.every((item) => item.ended)")
    browser.wait("videos.every((item) => !item.ended)")
    assert browser.value("Math.abs(videos[0].currentTime - videos[1].currentTime)") < 0.2
    shots = {}
    for look in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": look}]
        browser.call("Emulation.setEmulatedMedia", features=features)
        browser.screenshot(tmp_path / f"{look}.png")
        with av.open(io.BytesIO((tmp_path / f"{look}.png").read_bytes())) as picture:
            shots[look] = next(picture.decode(video=0)).to_ndarray(format="rgb24")
    assert shots["light"][-5:].mean() > 200 > 60 > shots["dark"][-5:].mean()
    left, right = (np.unique(half.reshape(-1, 3), axis=0) for half in np.split(shots["dark"], 2, 1))
    assert len(left) > 50
    assert len(right) > 50
    # Everything is within the window, in a narrow one too.
    for width, height in ((1280, 860), (390, 800)):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **size)
        browser.wait(f"innerWidth === {width}")
        root = "document.documentElement"
        assert browser.value(f"{root}.scrollWidth <= innerWidth")
        assert browser.value(f"{root}.scrollHeight <= innerHeight")
    assert browser.complaints == []


def test_a_held_key_answers_once_and_others_do_nothing(start, browser):
    page = start()
    browser.open(page.url)
    at(browser, 0)
    for key in ("3", "x", "Enter", "u"):
        browser.press(key)
    told = {"type": "keyDown", "key": "1", "text": "1"}
    browser.call("Input.dispatchKeyEvent", **told, modifiers=2)  # with Ctrl it is the browser's
    assert page.state()["position"] == 0
    browser.call("Input.dispatchKeyEvent", **told)
    at(browser, 1)
    browser.call("Input.dispatchKeyEvent", **told, autoRepeat=True)
    assert browser.value("document.body.dataset.state") == "ask"
    browser.value("document.querySelector('[data-press=tie]').click()")
    at(browser, 2)
    browser.value("document.getElementById('undo').click()")
    at(browser, 1)
    assert browser.complaints == []


def test_the_page_says_when_the_command_has_ended(start, browser):
    browser.open(start().url)
    at(browser, 0)
    none = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.call("Network.emulateNetworkConditions", offline=True, **none)
    browser.press("1")
    browser.wait("document.getElementById('message').textContent.includes('run it again')")
    assert browser.value("document.body.dataset.state") == "ask"
