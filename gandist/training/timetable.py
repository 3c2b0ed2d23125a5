"""Tables on the device with a row for each of the next steps: the inputs of a step that the host knows ahead."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gandist.distributed.background import to_device

STEPS = 128
"""Rows of the tables. The host fills them again when they end, and does nothing for a step in between."""


class Now(NamedTuple):
    """The current row."""

    images_seen: Tensor
    """(), int64."""
    scheduled: Tensor
    """The scheduled numbers (K,), float64."""
    samples: Tensor
    """Numbers (n,) int64 of this rank's real samples, if the set is resident; else (0,)."""


Page = tuple[np.ndarray, np.ndarray]


class Timetable:
    """The tables, and a counter on the device, which each step reads and advances: so a captured step goes on by
    itself."""

    def __init__(
        self,
        device: torch.device,
        images: int,
        scheduled: Callable[[int], list[float]],
        samples: Callable[[int, int], np.ndarray],
    ) -> None:
        """
        Args:
            images: images of a step.
            scheduled: images seen -> the scheduled numbers (K,) of the step that begins there.
            samples: (images seen, n steps) -> numbers (n, ...) of this rank's real samples; (n, 0) without them.
        """
        self._device, self._images = device, images
        self._scheduled_at, self._samples_at = scheduled, samples
        self._thread = ThreadPoolExecutor(1, "timetable")
        self._next: tuple[int, Future[Page]] | None = None
        self._position, self.left = -1, 0
        """Images seen at the next step, and the number of steps that the tables still hold."""
        self._whole, self._scheduled = (torch.empty(0, device=device) for _ in range(2))
        self.row = torch.zeros(1, dtype=torch.int64, device=device)

    def reach(self, images_seen: int) -> None:
        """Let the tables hold the step that begins at `images_seen`: fill them if they do not."""
        if self.left and images_seen == self._position:
            return
        if self._next is not None and self._next[0] == images_seen:
            page = self._next[1].result()
        else:
            page = self._page(images_seen)
        whole, scheduled = (to_device(torch.from_numpy(table), self._device) for table in page)
        if whole.shape == self._whole.shape:
            # Captured steps read these very tensors.
            self._whole.copy_(whole)
            self._scheduled.copy_(scheduled)
        else:
            self._whole, self._scheduled = whole, scheduled
        self.row.zero_()
        self._position, self.left = images_seen, STEPS
        following = images_seen + STEPS * self._images
        self._next = following, self._thread.submit(self._page, following)

    def _page(self, images_seen: int) -> Page:
        """The tables from `images_seen` on: (STEPS, 1 + n) int64 and (STEPS, K) float64."""
        begins = [images_seen + step * self._images for step in range(STEPS)]
        samples = self._samples_at(images_seen, STEPS).reshape(STEPS, -1)
        whole = np.concatenate([np.array(begins, np.int64)[:, None], samples], axis=1)
        return whole, np.array([self._scheduled_at(seen) for seen in begins], np.float64).reshape(STEPS, -1)

    def take(self, steps: int) -> None:
        """Count `steps` steps as played; there must be as many left."""
        self._position, self.left = self._position + steps * self._images, self.left - steps

    def now(self) -> Now:
        """The row of the step that is being played, on the device."""
        whole, scheduled = (table.index_select(0, self.row)[0] for table in (self._whole, self._scheduled))
        return Now(whole[0], scheduled, whole[1:])

    def advance(self) -> None:
        """End the step on the device."""
        self.row += 1

    def restart(self) -> None:
        """Forget the rows: the schedules or the position have changed."""
        self._next, self.left = None, 0

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
