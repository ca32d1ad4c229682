"""How an update is repeated: blocks, turns, the captured graph, the compiler."""

import functools
import shutil

import numpy as np
import pytest
import torch

from embodied.engine.data import Batch
from embodied.engine.learner import StackedLearner
from embodied.engine.networks import orthogonal_mlp
from embodied.engine.program import CPU_BLOCK, CUDA_BLOCK, Program
from embodied.registry import resolve


class Counting:
    """An update that adds its number and its minibatch to a running sum, in place."""

    def __init__(self, device="cpu"):
        self.sum = torch.zeros((), device=device)
        self.turns = []

    def once(self, batch, turn):
        self.turns.append(turn)
        self.sum.mul_(0.5).add_(batch.reward.sum() * (1.0 + turn))
        metrics = {"sum": self.sum.clone()}
        return metrics | ({"odd": self.sum.clone()} if turn else {})


def block_of(first, count, device="cpu"):
    """``count`` minibatches whose reward is their number."""
    number = torch.arange(first, first + count, dtype=torch.float32, device=device)
    wide = number.view(-1, 1, 1).expand(count, 1, 2)
    return Batch(wide[..., None], wide[..., None], wide, wide, wide[..., None])


def expected_sum(updates, period):
    found = 0.0
    for update in range(updates):
        found = 0.5 * found + 2.0 * update * (1.0 + update % period)
    return found


def run_in_blocks(program, sizes, device="cpu"):
    first, metrics = 0, {}
    for size in sizes:
        metrics = metrics | program.run(block_of(first, size, device), first)
        first += size
    return metrics


@pytest.fixture(name="recorded")
def _recorded(monkeypatch):
    """A stand-in for a CUDA graph on the CPU: what it records runs at every replay."""

    def capture(program, block, turn):
        if program._input is None:
            program._input = block.map(torch.clone)
        metrics = {}

        class Graph:
            def replay(self):
                for key, value in program._updates(program._input, turn).items():
                    metrics.setdefault(key, torch.zeros_like(value)).copy_(value)

        program._graphs[turn] = Graph(), metrics

    monkeypatch.setattr(Program, "_capture", capture)

    def make(once, **options):
        program = Program(once, torch.device("cpu"), **options)
        program.captured = True
        return program

    return make


SIZES = [3, 8, 8, 5, 8, 8, 1, 8, 8]


@pytest.mark.parametrize("period", [1, 2])
def test_every_update_gets_its_minibatch_and_its_turn(period):
    counting = Counting()
    program = Program(counting.once, torch.device("cpu"), period=period)
    metrics = run_in_blocks(program, SIZES)
    assert counting.turns == [update % period for update in range(sum(SIZES))]
    assert metrics["sum"].item() == pytest.approx(expected_sum(sum(SIZES), period), rel=1e-6)


@pytest.mark.parametrize("period", [1, 2])
def test_replayed_blocks_are_the_same_updates(recorded, period):
    """Whole blocks from even and from odd updates, and shorter ones in between."""
    counting = Counting()
    program = recorded(counting.once, period=period)
    metrics = run_in_blocks(program, SIZES)
    assert metrics["sum"].item() == pytest.approx(expected_sum(sum(SIZES), period), rel=1e-6)
    assert set(program._graphs) == ({0, 1} if period == 2 else {0})


def test_metrics_of_a_replay_are_not_overwritten_by_the_next(recorded):
    program = recorded(Counting().once)
    run_in_blocks(program, [CPU_BLOCK])
    first = program.run(block_of(8, 8), 8)["sum"]
    kept = first.clone()
    program.run(block_of(16, 8), 16)
    assert torch.equal(first, kept)


def test_the_first_whole_block_is_the_warm_up_and_short_ones_are_never_captured(recorded):
    program = recorded(Counting().once)
    run_in_blocks(program, [3, CPU_BLOCK, 3])
    assert program._graphs == {}
    run_in_blocks(program, [CPU_BLOCK])
    assert set(program._graphs) == {0}


def test_nothing_is_captured_on_a_cpu():
    program = Program(Counting().once, torch.device("cpu"))
    run_in_blocks(program, [8, 8, 8])
    assert program._graphs == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("period", [1, 2])
def test_a_captured_graph_is_the_same_updates(period):
    sizes = [3, CUDA_BLOCK, CUDA_BLOCK, 5, CUDA_BLOCK, CUDA_BLOCK, 1]
    counting = Counting("cuda")
    program = Program(counting.once, torch.device("cuda"), period=period)
    metrics = run_in_blocks(program, sizes, "cuda")
    assert metrics["sum"].item() == pytest.approx(expected_sum(sum(sizes), period), rel=1e-5)
    assert len(program._graphs) == period


class Regression(StackedLearner):
    """The smallest learner: a linear map onto the action, with a target copy and noise."""

    def __init__(self, seeds, compiled=False):
        super().__init__(seeds, batch_size=8, total_steps=40, compiled=compiled)
        weights = orthogonal_mlp("actor", [2, 2], self.generators())
        self.actor = self.network("actor", weights, tuple(0.01 * (1 + s) for s in seeds))
        self.follower = self.target("actor")

    def update_once(self, batch, turn):
        found = torch.baddbmm(
            self.actor.views["actor.0.bias"], batch.observation, self.actor.views["actor.0.weight"]
        )
        error = found - batch.action - 0.1 * self.normal(8, 2)
        loss = error.square().mean((1, 2))
        self.actor.step(loss.sum(), self.cosine())
        self.follower.follow(self.actor, 0.1)
        return {"loss": loss.detach()}


class Noise:
    """Data without a dataset: minibatches made of the bits that would index them."""

    indexed_on = torch.device("cpu")

    def blocks(self, bits):
        for item in bits:
            wide = ((item % 1000).float() / 500.0 - 1.0).unsqueeze(-1).expand(*item.shape, 2)
            yield Batch(wide, wide.flip(-2), wide[..., 0], wide[..., 0], wide)


def assert_compiled_is_eager(make):
    """Gradients, Adam, schedule, noise, target copies and the count of updates are compiled."""
    eager, compiled = make(False), make(True)
    for steps in (3, 7):
        expected, found = (item.update(Noise(), steps) for item in (eager, compiled))
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    state = compiled.state_dict()
    assert state["actor.step"] == eager.state_dict()["actor.step"] > 0
    for key, value in eager.state_dict().items():
        if value.is_floating_point():
            assert (state[key] - value).norm() <= 1e-4 * value.norm(), key


@pytest.mark.parametrize("name", ["iql", "td3bc"])
def test_a_traced_update_is_the_eager_one(name, monkeypatch):
    """What the compiler makes of an algorithm before it writes code for it."""
    maker = resolve("policy", name)
    config = maker.Config(hidden=(8,), batch_size=8, learning_rate=(1e-3, 3e-3))
    traced = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", traced)
    assert_compiled_is_eager(lambda compiled: maker(config, 2, 2, [0, 1], 40, compiled=compiled))


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_update_is_the_eager_one(tmp_path, monkeypatch):
    """The smallest learner: what is compiled is the engine, and every kernel takes seconds."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert_compiled_is_eager(lambda compiled: Regression([0, 1], compiled))


def test_a_learner_of_ones_own_needs_its_networks_and_one_update():
    learner = Regression([0, 1, 2])
    begin = learner.state_dict()["actor.flat"]
    assert learner.update(Noise(), 40)["loss"].shape == (3,)
    state = learner.state_dict()
    moved = (state["actor.flat"] - begin).norm(dim=1)
    assert 0 < moved[0] < moved[1] < moved[2], "each seed at its own learning rate"
    assert {"actor.flat", "target.actor", "seeds", "steps"} <= state.keys()
    assert not torch.equal(state["target.actor"], state["actor.flat"])
    np.testing.assert_array_equal(state["seeds"], [0, 1, 2])
