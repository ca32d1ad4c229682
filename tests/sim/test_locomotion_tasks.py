"""What counts as success in locomotion: known answers, and ways to cheat that do not count."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

import sim
from embodied.environments import require_robot_task
from embodied.episodes import concatenate
from embodied.errors import UserError
from embodied.rollout import rollout
from rewards.provenance import accept
from sim.behaviours import RandomBehaviour
from sim.locomotion import tasks

EXPERTS = Path(__file__).resolve().parents[2] / "rewards" / "experts"
NAMES = (
    *("hopper_forward", "hopper_front_flip", "hopper_back_flip", "ant_forward", "ant_lie_down"),
    *("ant_wave_leg", "halfcheetah_forward", "walker2d_forward"),
)


def follow(task, story):
    """Return success and failure [N] after each state of a story, and the first state's."""
    judge = task.judge
    progress = judge.begin(story[0])
    found = [(judge.success(progress, story[0]), judge.failed(story[0]))]
    for state in story[1:]:
        progress = judge.follow(progress, state)
        found.append((judge.success(progress, state), judge.failed(state)))
    return [(success.tolist(), failed.tolist()) for success, failed in found]


def planar(x=0.0, height=1.25, pitch=0.0):
    """Return a planar robot's torso, one row."""
    return {
        "torso_position": np.array([[x, 0.0, height]]),
        "torso_pitch": np.array([pitch]),
        "torso_up": np.cos([pitch]),
    }


@pytest.mark.parametrize(
    ("ends", "success", "failed"),
    [
        (planar(x=8.1), True, False),
        (planar(x=7.9), False, False),
        (planar(x=-8.1), False, False),
        (planar(x=9.0, height=0.69), False, True),
        (planar(x=9.0, pitch=1.1), False, True),
        (planar(x=9.0, pitch=-1.0), True, False),
    ],
)
def test_forward(ends, success, failed):
    # The way is counted from the start, wherever that was.
    start = planar(x=0.05)
    ends["torso_position"][0, 0] += 0.05
    assert follow(tasks.hopper_forward(), [start, ends])[1] == ([success], [failed])


def test_forward_means_straight_on():
    def at(x, y):
        return {"torso_position": np.array([[x, y, 0.6]]), "torso_up": np.ones(1)}

    task = tasks.ant_forward()
    assert follow(task, [at(0, 0), at(11, 5)])[1] == ([True], [False])
    assert follow(task, [at(0, 0), at(11, -6)])[1] == ([False], [False])


@pytest.mark.parametrize(
    ("turn", "front", "back"),
    [(2.01, True, False), (1.9, False, False), (-2.01, False, True), (4.0, True, False)],
)
def test_flips_count_whole_turns_in_their_direction(turn, front, back):
    story = [planar(pitch=0.1), planar(pitch=0.1 + turn * np.pi)]
    assert follow(tasks.hopper_front_flip(), story)[1] == ([front], [False])
    assert follow(tasks.hopper_back_flip(), story)[1] == ([back], [False])


@pytest.mark.parametrize(
    ("height", "pitch", "touches"),
    [
        (0.27, 0.0, False),
        (0.25, 0.0, True),
        (0.25, np.pi, True),
        (0.07, np.pi / 2, False),
        (0.05, np.pi / 2, True),
        (0.25, 2 * np.pi + np.pi / 2, False),
    ],
)
def test_a_torso_on_the_floor_is_no_flip(height, pitch, touches):
    down = planar(height=height, pitch=pitch)
    assert follow(tasks.hopper_front_flip(), [planar(), down])[1][1] == [touches]
    turned = planar(height=height, pitch=pitch + 2 * np.pi)
    assert follow(tasks.hopper_front_flip(), [planar(), turned])[1][0] == [not touches]


def test_a_touch_of_the_torso_is_seen_in_the_simulation():
    """The height at which the episode ends is where MuJoCo finds the first contact."""
    env = sim.make("hopper_front_flip", 1)
    env.reset(seed=0)
    for _ in range(env.max_steps):  # it falls over without torques
        _, _, terminated, _, info = env.step(np.zeros((1, 3), np.float32))
        if terminated[0]:
            break
    assert terminated[0]
    last = info["final_info"]["state"]
    lowest = last["torso_position"][0, 2] - 0.2 * abs(last["torso_up"][0]) - 0.05
    assert -0.02 < lowest < 0.01
    env.close()


def lying(height=0.4, up=1.0, speed=0.0, turning=0.0):
    return {
        "torso_position": np.array([[0.0, 0.0, height]]),
        "torso_up": np.array([up]),
        "torso_velocity": np.array([[speed, 0.0, 0.0]]),
        "torso_angular_velocity": np.array([[0.0, turning, 0.0]]),
    }


@pytest.mark.parametrize(
    "otherwise", [{"height": 0.45}, {"up": 0.9}, {"up": -1.0}, {"speed": 0.2}, {"turning": 0.4}]
)
def test_lying_down_takes_a_second_without_a_break(otherwise):
    task = tasks.ant_lie_down()
    assert round(task.control_hz) == 20
    start = lying(height=0.7)
    found = follow(task, [start] + [lying()] * 20)
    assert [success for success, _ in found] == [[False]] * 20 + [[True]]
    broken = [start] + [lying()] * 19 + [lying(**otherwise)] + [lying()] * 19
    assert not any(success[0] for success, _ in follow(task, broken))


def waving(height, others=0.1, up=1.0, x=0.0):
    feet = {
        f"{leg}_foot_position": np.array([[0.0, 0.0, others]])
        for leg in ("back_left", "back_right", "front_right")
    }
    return {
        "torso_position": np.array([[x, 0.0, 0.5]]),
        "torso_up": np.array([up]),
        "front_left_foot_position": np.array([[0.0, 0.0, height]]),
        **feet,
    }


def test_waves_are_counted_from_low_to_high():
    task = tasks.ant_wave_leg()
    swing = [waving(0.1), waving(0.2), waving(0.3), waving(0.2)]
    found = follow(task, swing * 4)
    assert [success for success, _ in found] == [[False]] * 14 + [[True]] * 2
    # Trembling near one height, or only half of the way, is no wave.
    assert not follow(task, [waving(0.1), *[waving(0.24), waving(0.26)] * 20])[-1][0][0]
    assert not follow(task, [waving(0.1), waving(0.24)] * 20)[-1][0][0]


@pytest.mark.parametrize(
    ("cheat", "counts"),
    [({"up": 0.8}, False), ({"x": 0.6}, False), ({"others": 0.2}, False), ({"x": 0.4}, True)],
)
def test_hopping_tilting_or_walking_off_is_no_waving(cheat, counts):
    swings = [waving(0.1), waving(0.3, **cheat)] * 4
    story = [waving(0.1), *swings, waving(0.1)]
    assert follow(tasks.ant_wave_leg(), story)[-1][0] == [counts]


def servo(name, targets):
    """Return the success of episodes in which servos drive each joint to ``targets(joint, t)``."""
    env = sim.make(name, 4, threads=1)
    _, info = env.reset(seed=0)
    for t in range(env.max_steps):
        wanted = np.array([targets(joint, t) for joint in env.task.robot.joints])
        state = info["state"]
        torque = wanted - state["joint_position"] - 0.1 * state["joint_velocity"]
        _, _, _, truncated, info = env.step(np.clip(torque, -1, 1).astype(np.float32))
    assert truncated.all()
    env.close()
    return info["final_info"]["success"]


def ankles(joint, bend):
    """Return the angle of an ankle that is bent so far down, and 0 for a hip."""
    return {"ankle_1": bend, "ankle_2": -bend, "ankle_3": -bend, "ankle_4": bend}.get(joint, 0.0)


def test_an_ant_that_stretches_its_legs_lies_down():
    assert servo("ant_lie_down", lambda joint, t: ankles(joint, 0.3)).all()
    assert not servo("ant_lie_down", lambda joint, t: ankles(joint, 0.9)).any()


def test_an_ant_that_lifts_a_leg_in_time_waves():
    def targets(joint, t, lifted="ankle_1"):
        # The hips beside the leg turn towards it, so that the ant stands on the other three.
        if joint in ("hip_2", "hip_4"):
            return {"hip_2": -0.5, "hip_4": 0.5}[joint]
        up = joint == lifted and t > 20 and (t // 15) % 2 == 1
        return ankles(joint, 0.45 if up else 1.2)

    assert servo("ant_wave_leg", targets).all()
    assert not servo("ant_wave_leg", lambda joint, t: targets(joint, t, lifted="ankle_3")).any()
    assert not servo("ant_wave_leg", lambda joint, t: ankles(joint, 1.2)).any()


@cache
def random_transitions(name):
    env = sim.make(name, 4, threads=1, max_steps=120)
    behaviour = RandomBehaviour(env.task, 4, 0)
    found = concatenate([episode for _, episode in rollout(env, behaviour.act, 1, 0)])
    env.close()
    return env.task, found


@pytest.mark.parametrize("name", NAMES)
def test_chance_does_not_succeed_and_the_expert_reward_is_accepted(name):
    task, sample = random_transitions(name)
    assert not sample.columns["success"].any()
    source = (EXPERTS / f"{name}.reward").read_text(encoding="utf-8")
    reward = accept(source, task, sample, {"kind": "expert"})
    assert reward.provenance()["task"] == name
    score = reward.score(sample)
    np.testing.assert_allclose(score.total, sum(score.terms.values()), atol=1e-4)


@pytest.mark.parametrize(("name", "better"), [("hopper_front_flip", 1), ("hopper_back_flip", -1)])
def test_flip_rewards_pay_for_the_right_direction(name, better):
    task, sample = random_transitions(name)
    source = (EXPERTS / f"{name}.reward").read_text(encoding="utf-8")
    spin = accept(source, task, sample, {"kind": "expert"}).score(sample).terms["spin"]
    turned = sample.next_state["torso_pitch"] - sample.state["torso_pitch"]
    moving = np.abs(turned) > 1e-3
    assert moving.sum() > 20
    assert (np.sign(spin[moving]) == better * np.sign(turned[moving])).all()


def test_a_reward_reader_is_told_how_an_episode_ends():
    told = tasks.hopper_front_flip().fields["torso_position"].meaning
    assert "ends early when any part of the torso touches" in told
    assert "ends early" not in tasks.ant_lie_down().fields["torso_position"].meaning


def test_no_robot_can_be_put_to_a_locomotion_task():
    with pytest.raises(UserError, match=r"tasks for robots: .*push"):
        require_robot_task("ant_forward")
