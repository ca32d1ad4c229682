"""What is read in the last reply of a chat model, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.files import sha256_bytes
from rewards.preferences import two_stages
from rewards.preferences.source import PREFERENCES
from rewards.preferences.two_stages import decision

READ = {
    "first": ["0", " 0 \n", "0.", '"0"', "'0'", "`0`", "**0**", "(0)", "[0]", "Answer: 0", "0!"],
    "second": [
        *("1", "answer: 1", "ANSWER: 1.", "**Answer:** 1", "Final answer: **1**", "Answer = 1"),
        *("Both stand still.\nThe second is nearer.\n\n1", "1\n\nIt is nearer.", "0\nNo, wait:\n1"),
        *("\u201c1\u201d", "1\r\n", "<think>\n0\n</think>\n1", "- 0\n1"),
    ],
    "unsure": ["-1", "-1.", "\u22121", "Answer: -1", "`-1`", "*-1*", "I see no difference.\n-1\n"],
}
NOT_READ = [
    *(
        "",
        " \n\n",
        "The second image is better.",
        "I cannot help with that.",
        "1 or 0",
        "0/1",
        "01",
    ),
    *("- 1", "-0", "--1", "+1", "1?", "1:", "1.5", "2", "10", "-", "\u20131", "Image 1", "one"),
    *('{"answer": 1}', '{"answer": 1', "0 the first image", "The answer is 1", "Answer:", "1 %"),
    *("01", "\u0661", "\uff11", "1" + " " * 100 + ".", "\ud800"),
]


@pytest.mark.parametrize(("text", "wanted"), [(t, p) for p, texts in READ.items() for t in texts])
def test_a_line_that_is_the_number_is_read(text, wanted):
    assert decision(text) == wanted
    assert decision(f"The first shows\ntwo things.\n{text}", "stop") == wanted


@pytest.mark.parametrize("text", NOT_READ)
def test_anything_else_is_refused_with_the_reason(text):
    with pytest.raises(ValueError, match=r"no line is 0, 1 or -1") as refused:
        decision(text)
    assert str(refused.value).isascii()


@pytest.mark.parametrize("stop", ["length", "max_tokens"])
def test_a_reply_that_was_cut_off_decides_nothing(stop):
    with pytest.raises(ValueError, match=f"cut off .{stop}"):
        decision("What speaks for it:\n1.", stop)


NUMBERS = {"0": "first", "1": "second", "-1": "unsure"}
NOISE = st.text(st.characters(exclude_characters="01\u2212")).filter(lambda text: len(text) < 200)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    try:
        assert decision(text) in PREFERENCES
    except ValueError:
        assert text.strip() not in NUMBERS


@given(NOISE, NOISE, st.sampled_from(sorted(NUMBERS)))
def test_lines_before_and_after_without_a_number_make_no_difference(before, after, number):
    assert decision(f"{before}\n{number}\n{after}") == NUMBERS[number]


@given(NOISE, st.sampled_from(sorted(NUMBERS)), st.sampled_from("abz#%&|/~@-+0123456789?:"))
def test_a_number_with_anything_beside_it_is_no_answer(before, number, beside):
    for line in (number + beside, f"{number} {beside}", f"{beside} {number}"):
        with pytest.raises(ValueError, match="no line"):
            decision(f"{before}\n{line}")


def test_other_words_need_another_number():
    """Whoever changes a prompt changes PROMPT with it, and then this line."""
    words = (two_stages.LOOK, two_stages.SHEET, two_stages.QUESTIONS, two_stages.DECIDE)
    assert (two_stages.PROMPT, sha256_bytes("\0".join(words).encode())[:12]) == (
        "two stages 1",
        "2da27015602c",
    )
