"""Weights of a task into and out of torch's linear layers, for the workers that are torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from benchmarks.peers.protocol import Array, named

Layers = Sequence[tuple[Array | torch.Tensor, Array | torch.Tensor]]


def load_layers(linears: Iterable[nn.Linear], layers: Layers) -> None:
    """Put weights ``[in, out]`` and biases, ``out`` numbers each, into layers, first to last."""
    for linear, (weight, bias) in zip(linears, layers, strict=True):
        linear.weight.data.copy_(torch.as_tensor(weight).T)
        linear.bias.data.copy_(torch.as_tensor(bias).flatten())


def sequential(layers: Layers) -> nn.Sequential:
    """Return an MLP with ReLU between its layers that starts from the given weights."""
    linears = [nn.Linear(*weight.shape) for weight, _ in layers]
    load_layers(linears, layers)
    return nn.Sequential(*[item for linear in linears for item in (linear, nn.ReLU())][:-1])


def read_layers(name: str, networks: Iterable[nn.Module]) -> dict[str, Array]:
    """Return the linear layers of equal networks under the task's names."""
    return named(
        name,
        [
            [
                (item.weight.detach().numpy().T, item.bias.detach().numpy())
                for item in network.modules()
                if isinstance(item, nn.Linear)
            ]
            for network in networks
        ],
    )
