"""The whole set in the memory of the training device, where the step gathers its batches."""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from gandist.data.sets import MappedSet, SampleSet
from gandist.distributed import memory
from gandist.errors import ConfigError

SHARE = 0.25
"""Share of the device's free memory that a set may take by default, measured with the networks loaded: activations,
optimiser state and evaluations need memory later."""
STEP_BYTES = 64 << 20


class RawBatch(NamedTuple):
    """Rows (n, ...) of the set's medium and their conditions (n, ...), in the stored format, on the device."""

    rows: Tensor
    conditions: Tensor

    def select(self, numbers: Tensor) -> Self:
        """The samples of these numbers (N,) int64, which are on the device as well."""
        return type(self)(*(tensor.index_select(0, numbers) for tensor in self))


class ResidentSet:
    """A copy of another set on the device, as the one batch `whole`."""

    def __init__(self, samples: SampleSet, device: torch.device) -> None:
        """Read all samples.

        Raises:
            DataError: a sample is damaged, unless damage is skipped.
        """
        self.samples, self.medium, self.n = samples, samples.medium, samples.n
        row = self.medium.row
        copies = torch.empty((self.n, *row.shape), dtype=row.tensor_dtype, device=device)
        step, conditions = max(1, STEP_BYTES // row.n_bytes), []
        for numbers in np.array_split(np.arange(self.n), -(-self.n // step)):
            rows, found = samples.gather(numbers)
            copies[int(numbers[0]) : int(numbers[-1]) + 1] = torch.from_numpy(rows)
            conditions.append(found)
        self.whole = RawBatch(copies, torch.from_numpy(np.concatenate(conditions)).to(device))
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # other streams read the copies

    @property
    def damaged(self) -> int:
        return self.samples.damaged

    @property
    def fitted(self) -> Mapping[str, int]:
        return self.samples.fitted

    def gather(self, numbers: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        return self.samples.gather(numbers, out)


def place(samples: SampleSet, resident: str, device: torch.device) -> tuple[SampleSet, str]:
    """The set that a feed should use, and a line that says where it is, and why.

    Args:
        resident: `data.resident`.

    Raises:
        ConfigError: the set must be resident, and the device has too little memory.
    """
    kind, why = "streamed", "they do not fit half of data.cache_gib"
    if isinstance(samples, MappedSet):
        kind, why = "mapped", "they fit half of data.cache_gib"
    n, row, fitted = samples.n, samples.medium.row, samples.fitted
    n_bytes = n * row.n_bytes
    if isinstance(samples, ResidentSet):
        kind, why = "resident", "they are there already"
    elif resident == "always" or (resident == "auto" and device.type == "cuda" and kind == "mapped"):
        free = memory.limit_bytes(device) - memory.used_bytes(device)
        room = f"of {free / 2**30:.3g} GiB free on {device}"
        if resident == "always" and n_bytes > free:
            raise ConfigError(
                f"data.resident: always, but the samples take {n_bytes / 2**30:.3g} GiB {room}; set data.resident=auto"
            )
        if resident == "always" or n_bytes <= SHARE * free:
            samples, kind, why = ResidentSet(samples, device), "resident", f"they take {n_bytes / free:.1%} {room}"
        else:
            why += f", and take {n_bytes / free:.0%} {room}"
    shape = "x".join(map(str, row.shape))
    made = "".join(f"; {count:,} of {n:,} samples are {how}" for how, count in sorted(fitted.items()))
    return samples, f"data={kind} n={n} shape={shape} bytes={n_bytes}: {why}{made}"
