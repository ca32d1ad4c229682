"""Minibatches of labelled pairs of segments, and of chosen transitions, of offline data.

Both turn the random bits of a minibatch into indices of transitions, which the data underneath
gathers, normalises and, where they do not fit on a GPU, streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from embodied.engine.data import Batch, OfflineData
from embodied.engine.stream import StreamedData
from embodied.errors import UserError

if TYPE_CHECKING:
    from embodied.preferences import PreferencePairs


class PairBatch(NamedTuple):
    """``B`` pairs of segments for every learner, or a block of ``K`` with a leading axis more.

    Segments shorter than the longest, ``L``, repeat their last transition where ``mask`` is 0.
    """

    observation: torch.Tensor  # [S, 2, B, L, O], normalised; the first segments, then the second
    action: torch.Tensor  # [S, 2, B, L, A] in (-1, 1)
    mask: torch.Tensor  # [S, B, L], 1 within the segments and 0 behind their end
    preference: torch.Tensor  # [S, B], the probability that the first is preferred

    def at(self, k: int) -> PairBatch:
        """Return minibatch ``k`` of a block."""
        return self.map(lambda item: item[k])

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> PairBatch:
        """Return the batch with ``function`` applied to every tensor."""
        return PairBatch(*map(function, self))


class Tables:
    """A table of rows for every learner, of different lengths, behind each other on a device.

    Args:
        tables: One per learner. Learners may share one, which is then kept once.
        columns: Gives the columns of a table, each [rows].
        device: Where to look up.
    """

    def __init__(
        self,
        tables: Sequence[Any],
        columns: Callable[[Any], Sequence[npt.NDArray[Any]]],
        device: torch.device,
    ) -> None:
        distinct = {id(item): columns(item) for item in tables}
        counts = {key: len(item[0]) for key, item in distinct.items()}
        ends = dict(zip(counts, np.cumsum(list(counts.values())), strict=True))
        rows = [(counts[id(item)], ends[id(item)] - counts[id(item)]) for item in tables]
        count, offset = torch.tensor(rows, device=device).T.unsqueeze(-1)  # [S, 1] each
        self._count, self._offset = count, offset
        self._columns = [
            torch.as_tensor(np.concatenate(item), device=device)
            for item in zip(*distinct.values(), strict=True)
        ]

    def look_up(self, bits: torch.Tensor) -> list[torch.Tensor]:
        """Return every column at the rows that random bits, int64 [K, S, B], point at."""
        place = bits % self._count + self._offset
        return [item[place] for item in self._columns]


class PairData:
    """Labelled pairs of segments of ``S`` learners' data.

    Attributes:
        device: Where the minibatches lie.
        indexed_on: Where the bits that it is given have to lie.

    Args:
        data: The learners' transitions.
        pairs: One table of pairs per learner, of the dataset that is the learner's in ``data``.
    """

    def __init__(self, data: OfflineData | StreamedData, pairs: Sequence[PreferencePairs]) -> None:
        self._data, self.device, self.indexed_on = data, data.device, data.indexed_on
        self._tables = Tables(
            pairs,
            lambda item: (item.first, item.second, item.length, item.preference),
            self.indexed_on,
        )
        longest = max(int(item.length.max()) for item in pairs)
        self._steps = torch.arange(longest, device=self.indexed_on)

    def blocks(self, bits: Iterable[torch.Tensor]) -> Iterator[PairBatch]:
        """Yield the block of pairs of every tensor of bits, int64 [K, S, B] from 0 up."""
        drawn: deque[tuple[torch.Tensor, torch.Tensor]] = deque()  # streams are read one ahead

        def indices() -> Iterator[torch.Tensor]:
            for item in bits:
                index, mask, preference = self._draw(item)
                drawn.append((mask, preference))
                yield index

        for batch in self._data.blocks(indices()):
            mask, preference = (item.to(self.device) for item in drawn.popleft())
            steps, learners, size, longest = mask.shape
            sides = (steps, learners, 2, size, longest, -1)
            yield PairBatch(
                batch.observation.view(sides), batch.action.view(sides), mask, preference
            )

    def block(self, bits: torch.Tensor) -> PairBatch:
        """Return the block of one tensor of bits."""
        return next(self.blocks([bits]))

    def _draw(self, bits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return indices of transitions [K, S, 2 B L], the mask [K, S, B, L], preferences."""
        first, second, length, preference = self._tables.look_up(bits)
        end = length.unsqueeze(-1)
        within = torch.minimum(self._steps, end - 1).unsqueeze(2)
        index = torch.stack([first, second], 2).unsqueeze(-1) + within
        return index.flatten(2), (self._steps < end).float(), preference


class ChosenData:
    """Offline data of which every learner sees the transitions at certain indices alone.

    Args:
        data: The learners' transitions.
        chosen: Per learner, indices into its dataset, int64 [n]; one that comes twice is drawn
            twice as often.

    Raises:
        UserError: A learner has no transition at all.
    """

    def __init__(
        self, data: OfflineData | StreamedData, chosen: Sequence[npt.NDArray[np.int64]]
    ) -> None:
        if not all(len(item) for item in chosen):
            raise UserError("a learner has no transition to learn from; choose at least one")
        self._data, self.device, self.indexed_on = data, data.device, data.indexed_on
        self._tables = Tables(chosen, lambda item: (item,), self.indexed_on)

    def blocks(self, bits: Iterable[torch.Tensor]) -> Iterator[Batch]:
        """Yield the block of every tensor of bits, int64 [K, S, B] from 0 up."""
        return self._data.blocks(self._tables.look_up(item)[0] for item in bits)
