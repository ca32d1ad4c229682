"""The section on an improvement loop, on made-up rounds."""

from embodied.report.rounds import improvement
from embodied.rounds import Round

FIRST = Round(
    0,
    "first",
    "",
    "a = 1\nb = 2\n",
    terms={"near": 0.125},
    success={"mean": 0.03, "ci95": [0.01, 0.07], "per_seed": [0.02, 0.04]},
    returns={"mean": 1.5, "ci95": None, "per_seed": [1.5]},
)
SECOND = Round(1, "feedback", "not <that> way", "a = 1\nb = 3 < 4\n")
THIRD = Round(2, "reflection", "", SECOND.source, note="best so far: sample_1")


def test_without_rounds_there_is_no_section():
    assert improvement([]) == ""


def test_what_was_said_what_changed_and_how_it_did_stand_side_by_side():
    page = improvement([FIRST, SECOND, THIRD])
    assert "3% (1% to 7%)" in page
    assert "1.5" in page
    assert "near 0.125" in page
    assert "<blockquote>not &lt;that&gt; way</blockquote>" in page
    assert "<del>-b = 2</del>\n<ins>+b = 3 &lt; 4</ins>" in page
    assert " a = 1" in page
    assert "best so far: sample_1" in page
    assert "The program stayed the same." in page
    assert page.count("<tr>") == 4


def test_text_from_outside_stays_inert():
    hostile = Round(1, "feedback", "<script>x</script>", "</pre><script>y</script>")
    page = improvement([FIRST, hostile])
    assert "<script" not in page
