"""Worker in JAX's environment: IQL with ``lax.scan`` over many updates, from the paper's formulas.

    python -m benchmarks.peers.jax_iql TASK

In the order of the authors' code (arXiv 2110.06169): V, actor, critics, target. One compiled call
draws the minibatches of ``BLOCK`` updates on the device and scans over them, as the fastest public
JAX implementations do; the state is donated. The two critics are separate products, which XLA hands
to its fast matrix kernels on a CPU and does not do for a batched one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.peers.protocol import Array, Task, named, serve

BLOCK = 64  # updates per call
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0

Layers = list[tuple[jax.Array, jax.Array]]
State = dict[str, Any]


def mlp(layers: Layers, x: jax.Array) -> jax.Array:
    """Return ``[B, out]`` of an MLP with ReLU between its layers."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def twins(critics: list[Layers], pair: jax.Array) -> jax.Array:
    """Return Q(s, a) of both critics, ``[2, B]``."""
    return jnp.stack([mlp(layers, pair)[:, 0] for layers in critics])


class JaxIQL:
    """Implements ``protocol.Trainer``."""

    def __init__(self, task: Task) -> None:
        settings = self.settings = task.settings
        rate = settings["learning_rate"]
        schedule = optax.cosine_decay_schedule(rate, settings["total_steps"])
        self.optimisers = {
            "value": optax.adam(rate),
            "actor": optax.adam(schedule),
            "critic": optax.adam(rate),
        }
        critics = [task.layers("critic", member) for member in (0, 1)]
        parameters = {
            "value": task.layers("value"),
            "actor": (task.layers("actor"), task.arrays["actor.log_std"].ravel()),
            "critic": critics,
            "target": critics,
        }
        # Copies, since a donated buffer must not be two parameters at once.
        state: State = jax.tree.map(lambda item: jnp.array(item, copy=True), parameters)
        adam = {name: item.init(state[name]) for name, item in self.optimisers.items()}
        self.state = {**state, "adam": adam}
        self.data = [jnp.asarray(item) for item in task.fields("data")]
        self.batch = [jnp.asarray(item) for item in task.fields("batch")]
        self.key = jax.random.key(0)
        self.block = jax.jit(self._block, donate_argnums=0)

    def train(self, updates: int) -> int:
        """See ``protocol.Trainer``."""
        calls = -(-updates // BLOCK)
        for _ in range(calls):
            self.key, key = jax.random.split(self.key)
            self.state, losses = self.block(self.state, self.data, key)
        jax.block_until_ready((self.state, losses))
        return calls * BLOCK

    def after_one_update(self) -> Mapping[str, Array]:
        """See ``protocol.Trainer``."""
        state, _ = jax.jit(self._update)(self.state, self.batch)
        actor, log_std = state["actor"]
        return {
            **named("actor", [actor]),
            **named("value", [state["value"]]),
            **named("critic", state["critic"]),
            **named("target", state["target"]),
            "actor.log_std": jnp.reshape(log_std, (1, 1, -1)),
        }

    def _block(
        self, state: State, data: list[jax.Array], key: jax.Array
    ) -> tuple[State, jax.Array]:
        shape = (BLOCK, self.settings["batch_size"])
        index = jax.random.randint(key, shape, 0, len(data[0]))

        def once(state: State, chosen: jax.Array) -> tuple[State, jax.Array]:
            return self._update(state, [item[chosen] for item in data])

        return jax.lax.scan(once, state, index)

    def _update(self, state: State, batch: list[jax.Array]) -> tuple[State, jax.Array]:
        """Take one update; return the state and the losses of V, actor and critics, ``[3]``."""
        settings = self.settings
        observation, action, reward, mask, next_observation = batch
        pair = jnp.concatenate([observation, action], 1)
        state, adam, losses = dict(state), dict(state["adam"]), []

        def descend(name: str, loss: Any) -> None:
            value, gradient = jax.value_and_grad(loss)(state[name])
            change, adam[name] = self.optimisers[name].update(gradient, adam[name])
            state[name] = optax.apply_updates(state[name], change)
            losses.append(value)

        target_q = twins(state["target"], pair).min(0)

        def value_loss(layers: Layers) -> jax.Array:
            difference = target_q - mlp(layers, observation)[:, 0]
            weight = jnp.where(difference < 0, 1 - settings["expectile"], settings["expectile"])
            return (weight * difference**2).mean()

        descend("value", value_loss)
        advantage = target_q - mlp(state["value"], observation)[:, 0]
        weight = jnp.minimum(jnp.exp(settings["temperature"] * advantage), settings["weight_clip"])
        descend("actor", partial(actor_loss, weight, observation, action))
        next_value = mlp(state["value"], next_observation)[:, 0]
        y = reward + settings["discount"] * mask * next_value
        descend("critic", lambda critics: ((twins(critics, pair) - y) ** 2).mean(1).sum())
        state["target"] = optax.incremental_update(
            state["critic"], state["target"], settings["polyak"]
        )
        return {**state, "adam": adam}, jnp.stack(losses)


def actor_loss(
    weight: jax.Array, observation: jax.Array, action: jax.Array, actor: tuple[Layers, jax.Array]
) -> jax.Array:
    """Return the weighted negative log-likelihood under the Gaussian around a tanh mean."""
    layers, log_std = actor
    log_std = jnp.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)
    z = (action - jnp.tanh(mlp(layers, observation))) * jnp.exp(-log_std)
    log_probability = -(0.5 * z**2 + log_std + 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
    return -(weight * log_probability).mean()


if __name__ == "__main__":
    serve(JaxIQL, ("jax", "jaxlib", "optax", "numpy"))
