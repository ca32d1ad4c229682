"""One update of any algorithm beside a plain float64 one: a seed, a member, a tensor at a time.

Only the random numbers are the engine's. Minibatches are looked up row by row, networks are loops
over layers, and Adam is written as its paper has it (Kingma and Ba 2015, arXiv 1412.6980, alg. 1).
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from embodied.engine import random
from embodied.engine.data import ACTION_MARGIN, Normaliser, OfflineData, RewardColumn

BATCH, RETURN_DISCOUNT = 24, 0.9
LENGTHS = ((6, 9, 5, 12), (7, 3, 8))  # episodes of the two datasets that seeds take in turn


class PlainNetwork:
    """One network of one seed as separate float64 tensors, with its own Adam."""

    def __init__(self, tensors, first=None, second=None, count=0):
        self.tensors = {key: item.clone().requires_grad_() for key, item in tensors.items()}
        self.first, self.second, self.count = first, second, count

    def __call__(self, x):
        layers = sum(key.endswith(".weight") for key in self.tensors)
        (name,) = {key.split(".")[0] for key in self.tensors}
        for layer in range(layers):
            x = torch.clamp(x, min=0.0) if layer else x
            x = x @ self.tensors[f"{name}.{layer}.weight"] + self.tensors[f"{name}.{layer}.bias"]
        return x

    def step(self, loss, rate):
        """Adam with the default betas and epsilon."""
        gradients = torch.autograd.grad(loss, list(self.tensors.values()), retain_graph=True)
        self.count += 1
        with torch.no_grad():
            for (key, value), g in zip(self.tensors.items(), gradients, strict=True):
                self.first[key] = 0.9 * self.first[key] + 0.1 * g
                self.second[key] = 0.999 * self.second[key] + 0.001 * g * g
                m_hat = self.first[key] / (1.0 - 0.9**self.count)
                v_hat = self.second[key] / (1.0 - 0.999**self.count)
                value -= rate * m_hat / (v_hat.sqrt() + 1e-8)

    def follow(self, source, rate):
        with torch.no_grad():
            for key, value in self.tensors.items():
                value.copy_((1.0 - rate) * value + rate * source.tensors[key])


def networks_of(learner):
    """Names of a learner's networks and of their target copies."""
    state = learner.state_dict()
    names = [key.removesuffix(".flat") for key in state if key.endswith(".flat")]
    return names, [key for key in state if key.startswith("target.")]


def randomise(learner, start):
    """Give every tensor of a learner random numbers, as if ``start`` updates lay behind it."""
    generator, state = torch.Generator().manual_seed(0), learner.state_dict()
    for key, value in state.items():
        if key == "seeds":
            continue
        if key.endswith(("step", "steps")):
            state[key] = torch.full_like(value, start)
        elif key.endswith("exp_avg_sq"):
            state[key] = 0.001 + 0.01 * torch.rand(value.shape, generator=generator)
        else:
            scale = 0.02 if key.endswith("exp_avg") else 0.4
            state[key] = scale * torch.randn(value.shape, generator=generator)
    learner.load_state_dict(state)


def row_tensors(learner, key, row):
    """Row ``row`` of a buffer of the state, cut into the tensors of its network, in float64."""
    name = key.removeprefix("target.").split(".")[0]
    flat, found, offset = learner.state_dict()[key][row].double().cpu(), {}, 0
    for part, view in getattr(learner, name).views.items():
        shape = view.shape[1:]
        found[part] = flat[offset : offset + shape.numel()].view(shape).clone()
        offset += shape.numel()
    assert offset == len(flat)
    return found


def plain_networks(learner, place):
    """All networks of the seed at ``place``: name -> its members."""
    names, targets = networks_of(learner)
    found, state = {}, learner.state_dict()
    for key in (*names, *targets):
        buffer = key if key in targets else f"{key}.flat"
        members = len(state[buffer]) // len(learner.seeds)
        rows = range(place * members, (place + 1) * members)
        tensors = [row_tensors(learner, buffer, row) for row in rows]
        if key in targets:
            found[key] = [PlainNetwork(item) for item in tensors]
            continue
        count = int(state[f"{key}.step"])
        moments = [
            [row_tensors(learner, f"{key}.{kind}", row) for kind in ("exp_avg", "exp_avg_sq")]
            for row in rows
        ]
        pairs = zip(tensors, moments, strict=True)
        found[key] = [PlainNetwork(item, *kept, count) for item, kept in pairs]
    return found


def returns_by_loop(reward, starts, discount):
    found, following = np.zeros(len(reward)), 0.0
    for i in reversed(range(len(reward))):
        following = reward[i] + discount * (0.0 if i + 1 in starts else following)
        found[i] = following
    return found.astype(np.float32)


class PlainData:
    """Two datasets, normalisers and a reward per seed, and their minibatches looked up by rows."""

    def __init__(self, random_source, count):
        self.sources = [random_source(item, seed=i) for i, item in enumerate(LENGTHS)]
        bounds = ([-1.5, -1.0], [1.0, 2.0])
        self.normalisers = [Normaliser.fit(item, *bounds) for item in self.sources]
        self.learners = []
        for s in range(count):
            source, rng = self.sources[s % 2], np.random.default_rng(s)
            values = rng.normal(size=len(source)).astype(np.float32)
            self.learners.append((s % 2, RewardColumn(values, 0.25, 1.5)))
        # The bound that Cal-QL takes, about in the middle of the values that it is to bound.
        self.learners = [(i, self.with_returns(i, column)) for i, column in self.learners]

    def with_returns(self, i, column):
        reward = (np.asarray(column.values, np.float64) - column.shift) / column.scale
        found = returns_by_loop(reward, set(self.sources[i].episode_starts), RETURN_DISCOUNT)
        return RewardColumn(column.values, column.shift, column.scale, found)

    def on(self, device):
        return OfflineData(self.sources, self.normalisers, self.learners, device)

    def batch(self, place, seed, update):
        """The minibatch of one seed, float64."""
        which, column = self.learners[place]
        source, norm = self.sources[which], self.normalisers[which]
        index = random.bits(random.keys([seed]), update, BATCH)[0].numpy() % len(source)
        rows = [i + sum(i >= start for start in source.episode_starts) - 1 for i in index]
        edge = np.float32(1.0 - ACTION_MARGIN)
        scaled = np.float32(2) * (source.action[index] - norm.low) / (norm.high - norm.low) - 1
        reward = (column.values[index] - np.float32(column.shift)) / np.float32(column.scale)
        s, s2 = ((source.observation[at] - norm.mean) / norm.std for at in (rows, np.add(rows, 1)))
        found = {
            **{"s": s, "a": np.clip(scaled, -edge, edge), "r": reward, "s2": s2},
            **{"m": ~source.terminated[index], "returns": column.return_to_go[index]},
        }
        return SimpleNamespace(**{key: torch.tensor(v).double() for key, v in found.items()})


def assert_close(found, expected, tolerance, what):
    error = (found - expected).norm()
    assert error <= tolerance * expected.norm(), f"{what}: {error / expected.norm():.1e}"


def compare(learner, place, plain, before, tolerance):
    """Hold every tensor of one seed to the plain one: parameters, moments, target copies."""
    for key, members in plain.items():
        for e, member in enumerate(members):
            row, target = place * len(members) + e, key.startswith("target.")
            expected = {"flat": member.tensors, "exp_avg": member.first}
            expected["exp_avg_sq"] = member.second
            for kind, tensors in expected.items():
                if target and kind != "flat":
                    continue
                buffer = key if target else f"{key}.{kind}"
                for part, value in row_tensors(learner, buffer, row).items():
                    what = f"{buffer} of seed {place}, member {e}: {part}"
                    assert_close(value, tensors[part].detach(), tolerance, what)
                    if kind == "flat":  # how far it moved, which is far less than what it is
                        start = before[key][e].tensors[part].detach()
                        moved = tensors[part].detach() - start
                        assert_close(value - start, moved, 100 * tolerance, f"the step of {what}")


@pytest.fixture
def check_update(random_source, device):
    """Take one update of a learner from random numbers and hold it to a plain reference.

    ``make(seeds, dtype, device)`` makes the learner; ``reference(networks, batch, noise, place,
    update)`` changes the networks of one seed in place and returns some of the update's metrics.
    """

    def check(make, reference, *, count, start, dtype, tolerance):
        seeds = [3 + 2 * s for s in range(count)]
        data, learner = PlainData(random_source, count), make(seeds, dtype, device)
        randomise(learner, start)
        before, plain = ([plain_networks(learner, s) for s in range(count)] for _ in range(2))
        metrics = learner.update(data.on(device), 1)
        assert {len(value) for value in metrics.values()} == {count}
        for place, seed in enumerate(seeds):

            def drawn(kind, *shape, seed=seed):
                found = getattr(random, kind)(random.keys([seed], device), start, shape)
                return found[0].double().cpu()

            batch = data.batch(place, seed, start)
            measured = reference(plain[place], batch, drawn, place, start)
            compare(learner, place, plain[place], before[place], tolerance)
            for key, value in measured.items():
                assert_close(metrics[key][place].double().cpu(), value.detach(), tolerance, key)

    return check


# Updates 4 and 5: the two turns of TD3+BC. float32 is held to what the project promises.
PRECISIONS = {"float32": (torch.float32, 1e-4), "float64": (torch.float64, 1e-9)}


@pytest.fixture(params=PRECISIONS.values(), ids=PRECISIONS)
def update_case(request):
    """The dtype and the tolerance of a comparison."""
    return dict(zip(("dtype", "tolerance"), request.param, strict=True))
