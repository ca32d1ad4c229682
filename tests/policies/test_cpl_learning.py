"""What contrastive preference learning learns: a point mass whose regret is known exactly.

``figures`` gives the numbers for other settings, for example in a shell

    PYTHONPATH=.:tests/policies python -c "import test_cpl_learning as t; print(t.figures())"
"""

import numpy as np
import pytest

from embodied.engine.data import Normaliser, OfflineData, RewardColumn, Source
from embodied.engine.pairs import ChosenData, PairData
from embodied.preferences import PreferencePairs
from policies.bc import BC, BCConfig
from policies.cpl import CPL, CPLConfig

# A point mass in the plane, pushed back to the middle at a cost: linear dynamics, quadratic cost.
# There the advantage of an action is exactly -|a - a*(s)|^2 up to a factor, so regret is known.
STEP, LENGTH, COUNT = 0.25, 10, 1000
DYNAMICS = np.kron([[1.0, STEP], [0.0, 1.0]], np.eye(2))  # of (x, y, vx, vy)
INPUT = np.kron([[STEP**2], [2 * STEP]], np.eye(2))
COST = np.diag([1.0, 1.0, 0.2, 0.2]), 0.5 * np.eye(2)


def best_gain():
    """The optimal feedback by value iteration (the Riccati equation), and its action's weight."""
    value = COST[0]
    for _ in range(500):
        weight = COST[1] + INPUT.T @ value @ INPUT
        gain = np.linalg.solve(weight, INPUT.T @ value @ DYNAMICS)
        value = COST[0] + DYNAMICS.T @ value @ (DYNAMICS - INPUT @ gain)
    return gain, weight


def point_mass_data(flipped=0.0, by="regret", seed=0):
    """Segments of many behaviours, few of them good, and 1000 pairs labelled by regret or return.

    A behaviour takes from -0.5 to 1 times the best action, plus an offset and noise.
    """
    rng, (gain, weight) = np.random.default_rng(seed), best_gain()
    episodes = 2 * COUNT
    state = rng.uniform(-0.5, 0.5, (episodes, 4))
    share, offset = rng.uniform(-0.5, 1.0, (episodes, 1)), rng.normal(0, 0.2, (episodes, 2))
    states, actions, score = [state], [], np.zeros(episodes)
    for _ in range(LENGTH):
        best = -state @ gain.T
        action = np.clip(share * best + offset + rng.normal(0, 0.2, best.shape), -1, 1)
        if by == "regret":
            score -= np.einsum("ni,ij,nj->n", action - best, weight, action - best)
        else:
            score -= np.einsum("ni,ij,nj->n", state, COST[0], state)
            score -= np.einsum("ni,ij,nj->n", action, COST[1], action)
        state = state @ DYNAMICS.T + action @ INPUT.T
        states.append(state)
        actions.append(action)
    count = episodes * LENGTH
    source = Source(
        np.stack(states, 1).reshape(-1, 4).astype(np.float32),
        np.stack(actions, 1).reshape(-1, 2).astype(np.float32),
        np.zeros(count, bool),
        np.arange(0, count, LENGTH),
    )
    first, second = np.arange(COUNT), np.arange(COUNT, episodes)
    preference = (score[first] > score[second]) != (rng.random(COUNT) < flipped)
    lengths = np.full(COUNT, LENGTH)
    pairs = (first * LENGTH, second * LENGTH, lengths, preference.astype(np.float32))
    return source, PreferencePairs(*pairs)


def excess_cost(weights, normaliser, seeds):
    """Cost of rolling out every seed's actor, over that of the best policy: 0 is the best."""
    start = np.random.default_rng(1).uniform(-0.5, 0.5, (200, 4))
    gain, _ = best_gain()

    def cost(act):
        state, total = start, 0.0
        for _ in range(20):
            action = np.clip(act(state), -1, 1)
            total += np.einsum("ni,ij,nj->", state, COST[0], state)
            total += np.einsum("ni,ij,nj->", action, COST[1], action)
            state = np.clip(state @ DYNAMICS.T + action @ INPUT.T, -10, 10)
        return total

    def actor(place):
        def act(state):
            x = (state - normaliser.mean) / normaliser.std
            for layer in range(3):
                x = np.maximum(x, 0.0) if layer else x
                x = x @ weights[f"actor.{layer}.weight"][place].numpy()
                x = x + weights[f"actor.{layer}.bias"][place].numpy()
            return np.tanh(x)

        return act

    best = cost(lambda state: -state @ gain.T)
    return [cost(actor(place)) / best - 1.0 for place in range(seeds)]


def figures(steps=400, seeds=(0, 1, 2), rate=1e-3, by="regret", flipped=0.0, **changes):
    """Excess cost of CPL, of cloning everything and of cloning the preferred segments, per seed."""
    source, pairs = point_mass_data(flipped, by)
    normaliser = Normaliser.fit(source, [-1.0] * 2, [1.0] * 2)
    count, reward = len(seeds), RewardColumn(np.zeros(len(source)))
    shared = {"hidden": (32, 32), "learning_rate": rate}

    def offline(learners):
        return OfflineData([source], [normaliser], [(0, reward)] * learners)

    cpl = CPL(CPLConfig(**shared, **changes), 4, 2, seeds, steps)
    metrics = cpl.update(PairData(offline(count), [pairs] * count), steps)
    # As many transitions in a minibatch as CPL's 96 pairs of segments have.
    bc = BC(BCConfig(**shared, batch_size=2 * 96 * LENGTH), 4, 2, [*seeds, *seeds], steps)
    chosen = [np.arange(len(source))] * count + [pairs.preferred()] * count
    bc.update(ChosenData(offline(2 * count), chosen), steps)
    cloned = excess_cost(bc.actor_weights(), normaliser, 2 * count)
    return {
        "cpl": excess_cost(cpl.actor_weights(), normaliser, count),
        "bc": cloned[:count],
        "sft": cloned[count:],
        "accuracy": metrics["actor/accuracy"].tolist(),
    }


@pytest.mark.parametrize("flipped", [0.0, 0.2], ids=["regret", "a fifth of them wrong"])
def test_it_learns_more_from_preferences_than_cloning_what_was_preferred(flipped):
    """All seeds of the one beside all seeds of the other; the policy is far nearer to the best."""
    found = figures(400, (0, 1), flipped=flipped)
    assert max(found["cpl"]) < 0.5 * min(found["sft"])
    assert max(found["sft"]) < 0.5 * min(found["bc"])
    assert max(found["cpl"]) < (5.0 if flipped else 1.0), "at most twice the best policy's cost"
