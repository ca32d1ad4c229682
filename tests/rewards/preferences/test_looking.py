"""Preferences of a CLIP-like model: VLM-RM's formula, and what is asked and answered."""

import json

import numpy as np
import pytest

from embodied.errors import UserError
from rewards.label_records import canonical
from rewards.preferences.looking import ClipSource, GoalScore
from rewards.preferences.source import Comparison, Side

GOAL, BASELINE = "be red", "be dull"
WORDS = {"be", "red", "dull", "green"}
VECTORS = {GOAL: (1.0, 0.0, 0.0), BASELINE: (0.0, 0.6, 0.8), "be green": (0.0, 1.0, 0.0)}


class Colours:
    """A model with the methods of ``Clip``: a picture's vector is its mean colour."""

    def __init__(self, name="colours", sha256="0" * 64):
        self.name, self.sha256 = name, sha256

    def unknown_words(self, sentence):
        return [word for word in sentence.split() if word not in WORDS]

    def texts(self, sentences):
        return np.array([VECTORS[sentence] for sentence in sentences], np.float32)

    def images(self, pictures):
        colour = pictures.reshape(len(pictures), -1, 3).mean(1) + 1e-3
        return (colour / np.linalg.norm(colour, axis=1, keepdims=True)).astype(np.float32)


def side(*colours, name="a"):
    frames = np.empty((len(colours), 4, 6, 3), np.uint8)
    frames[:] = np.asarray(colours, np.uint8).reshape(-1, 1, 1, 3)
    return Side(name, frames)


RED, GREEN, BLUE = (250, 5, 5), (5, 250, 5), (5, 5, 250)
PINK = (250, 120, 120)


def source(**settings):
    return ClipSource(Colours(), GOAL, **settings)


def preference(of, first, second):
    (answer,) = of.answer([Comparison(GOAL, first, second)])
    return of.read(answer.raw)


def unit(count, seed):
    found = np.random.default_rng(seed).normal(size=(count, 16))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def vlm_rm(picture, goal, baseline, alpha):
    """The paper's definition, with the projection as a matrix, in float64."""
    line = np.outer(goal - baseline, goal - baseline) / np.sum((goal - baseline) ** 2)
    mixed = alpha * line + (1 - alpha) * np.eye(len(goal))
    return 1 - 0.5 * np.sum((mixed @ picture - mixed @ goal) ** 2)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_scores_are_those_of_vlm_rm(alpha):
    pictures, (goal, baseline) = unit(20, 0), unit(2, 1)
    found = GoalScore(goal.astype(np.float32), baseline.astype(np.float32), alpha)(
        pictures.astype(np.float32)
    )
    expected = [vlm_rm(picture, goal, baseline, alpha) for picture in pictures]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_without_a_baseline_the_score_is_the_cosine(alpha):
    pictures, (goal,) = unit(20, 0), unit(1, 1)
    np.testing.assert_allclose(GoalScore(goal, None, alpha)(pictures), pictures @ goal, atol=1e-6)


def test_an_alpha_of_zero_ignores_the_baseline():
    pictures, (goal, baseline) = unit(20, 0), unit(2, 1)
    np.testing.assert_allclose(GoalScore(goal, baseline, 0.0)(pictures), pictures @ goal, atol=1e-6)


def test_an_alpha_of_one_does_not_see_what_lies_across_the_line():
    pictures, (goal, baseline) = unit(5, 0), unit(2, 1)
    across = unit(1, 2)[0]
    line = (goal - baseline) / np.linalg.norm(goal - baseline)
    across -= (across @ line) * line
    moved = pictures + 0.3 * across
    np.testing.assert_allclose(
        GoalScore(goal, baseline, 1.0)(moved), GoalScore(goal, baseline, 1.0)(pictures), atol=1e-6
    )
    assert not np.allclose(
        GoalScore(goal, baseline, 0.5)(moved), GoalScore(goal, baseline, 0.5)(pictures), atol=1e-3
    )


def test_the_side_that_is_more_like_the_goal_is_preferred():
    assert preference(source(), side(RED), side(BLUE)) == "first"
    assert preference(source(), side(BLUE), side(RED)) == "second"
    assert preference(source(baseline=BASELINE), side(RED), side(GREEN)) == "first"


def test_a_side_of_several_frames_has_their_mean_score():
    clips = [side(RED), side(RED, BLUE, GREEN), side(BLUE, PINK)]
    of = source(baseline=BASELINE)
    alone = [of.score(of.model.images(clip.frames)) for clip in clips]
    np.testing.assert_allclose(
        of.scores([clip.frames for clip in clips]), [one.mean() for one in alone], rtol=1e-6
    )


def test_the_answers_keep_the_order_of_the_comparisons():
    pairs = [(side(RED), side(RED, BLUE)), (side(BLUE, BLUE), side(PINK)), (side(PINK), side(RED))]
    of = source()
    answers = of.answer([Comparison(GOAL, *pair) for pair in pairs])
    assert [of.read(answer.raw) for answer in answers] == ["first", "second", "second"]
    for answer, pair in zip(answers, pairs, strict=True):
        expected = of.scores([one.frames for one in pair])
        np.testing.assert_allclose(json.loads(answer.raw)["scores"], expected, atol=1e-6)
        assert answer.model == "colours"


def test_scores_closer_than_the_band_tell_nothing():
    high, low = source().scores([side(RED).frames, side(PINK).frames])
    gap = float(high - low)
    for order in ((RED, PINK), (PINK, RED)):
        sides = [side(colour) for colour in order]
        told = "first" if order[0] == RED else "second"
        assert preference(source(unsure=gap * 0.9), *sides) == told
        assert preference(source(unsure=gap * 1.1), *sides) == "unsure"
    assert preference(source(), side(RED), side(RED)) == "unsure"


CHANGED = {
    "a picture": (source(), side(PINK), GOAL),
    "no baseline": (source(), side(RED), GOAL),
    "the baseline": (source(baseline="be green"), side(RED), GOAL),
    "alpha": (source(baseline=BASELINE, alpha=0.4), side(RED), GOAL),
    "the band": (source(baseline=BASELINE, unsure=0.1), side(RED), GOAL),
    "the weights": (ClipSource(Colours(sha256="1" * 64), GOAL, baseline=BASELINE), side(RED), GOAL),
    "the model": (ClipSource(Colours(name="b"), GOAL, baseline=BASELINE), side(RED), GOAL),
    "the instruction": (source(baseline=BASELINE), side(RED), "be green"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_the_request_changes_with_all_that_the_answer_depends_on(what):
    usual = source(baseline=BASELINE).request(Comparison(GOAL, side(RED), side(BLUE)))
    same = source(baseline=BASELINE).request(Comparison(GOAL, side(RED, name="z"), side(BLUE)))
    of, first, instruction = CHANGED[what]
    changed = of.request(Comparison(instruction, first, side(BLUE)))
    assert canonical(usual) == canonical(same)
    assert canonical(usual) != canonical(changed)


@pytest.mark.parametrize("sides", [(side(), side(RED)), (side(RED), side()), (side(), side())])
def test_without_pictures_there_is_nothing_to_compare(sides):
    with pytest.raises(UserError, match="no pictures"):
        source().answer([Comparison(GOAL, *sides)])


@pytest.mark.parametrize(
    "sentences", [("be purple", None), (GOAL, "be purple"), ("be purple", BASELINE)]
)
def test_a_word_that_the_model_never_read_is_named(sentences):
    instruction, baseline = sentences
    with pytest.raises(UserError, match="never read 'purple'") as told:
        ClipSource(Colours(), instruction, baseline=baseline)
    assert "\n" not in str(told.value)
    assert "colours" in str(told.value)
