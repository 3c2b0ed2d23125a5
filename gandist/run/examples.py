"""Real samples of a set, each with the condition that G gets for it: the same one at every call, in any batch."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gandist.conditions.sample import OfSample
from gandist.config.run import RunConfig
from gandist.config.sample import condition_of, medium_of, rows_of
from gandist.data import dataset
from gandist.data.sets import SampleSet
from gandist.distributed.randomness import drawn_for
from gandist.gan.penalties import Noise

Groups = dict[tuple[str, str], np.ndarray]
"""Whether each sample belongs to a group (N,), by what groups differ in and the group's name: `("mask", "box")`."""


class Examples:
    """A set's samples by number, as networks see them. Degradations and masks are drawn by the sample's number."""

    def __init__(
        self, config: RunConfig, samples: SampleSet, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        """`dtype`: that of samples and conditions; the run's own where its players in training take them."""
        self.samples, self.device = samples, device
        self.medium, self.rows, self.condition = medium_of(config), rows_of(config), condition_of(config)
        self.dtype = dtype

    @property
    def n(self) -> int:
        return self.samples.n

    def of(self, numbers: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """The samples of these numbers (N,) as D sees them (N, *network_shape), and their y."""
        rows, stored = self.samples.gather(numbers)
        x = self.rows.to_network(torch.from_numpy(rows).to(self.device), dtype=self.dtype)
        drawn = self._drawn(numbers, self.condition.noise())
        return self.condition.of_reals(x, torch.from_numpy(stored).to(self.device), drawn, self.dtype)

    def groups(self, numbers: np.ndarray) -> Groups:
        """The groups of these samples (N,) by how their conditions are made."""
        found: Groups = {}
        if isinstance(self.condition, OfSample):
            uniform = {name: noise for name, noise in self.condition.noise().items() if noise.kind == "uniform"}
            for by, name, members in self.condition.maker.groups(self._drawn(numbers, uniform)):
                found[by, name] = members.cpu().numpy() | found.get((by, name), False)
        return found

    def _drawn(self, numbers: np.ndarray, noises: Mapping[str, Noise]) -> dict[str, Tensor]:
        # Independent of the run's seed, so that runs are measured on the same conditions
        drawn = {
            name: drawn_for(noise.kind, 0, f"examples/{name}", numbers.tolist(), noise.shape(self.medium.network_shape))
            for name, noise in noises.items()
        }
        return {name: each.to(self.device, self.dtype) for name, each in drawn.items()}


class ExampleConditions:
    """The conditions of samples that are made only when they are used, since they may be as large as the samples."""

    def __init__(self, examples: Examples, numbers: np.ndarray) -> None:
        self.examples, self.numbers = examples, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: slice | Sequence[int] | np.ndarray) -> Tensor:
        """The conditions at these positions (N, ...)."""
        _, y = self.examples.of(self.numbers[at])
        assert y is not None, "only conditions that are samples are made so"
        return y


def open_examples(config: RunConfig, device: torch.device, dtype: torch.dtype = torch.float32) -> Examples:
    """The samples of `data.path`.

    Raises:
        DataError: the set cannot be read, or does not fit the configuration.
    """
    return Examples(config, dataset.open_set(config, dataset.open_index(config)), device, dtype)
