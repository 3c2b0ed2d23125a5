"""Rows of metrics between their beginning on the device and what follows from them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from gandist.monitoring.health import Action


class Unread(NamedTuple):
    """A row whose numbers are on their way to the host."""

    images_seen: int
    facts: dict[str, Any]
    """The part of the row that the host knows."""
    read: Callable[[], dict[str, Any]]
    """Waits for the other part."""
    due: int
    """Images seen at which it is read, unless a decision waits for it: then the device has long passed it."""


class News(NamedTuple):
    """What the rows say that were read after a step."""

    rows: tuple[dict[str, Any], ...] = ()
    action: Action = Action()
    """The action on the run's health."""
    best: bool = False
    """Whether an evaluation is the best so far, as the main rank knows."""

    def then(self, later: Self) -> Self:
        """Both, read one after the other: the first action that ends a run or rolls it back counts."""
        action = later.action if self.action.kind in ("ignore", "warn") else self.action
        return type(self)((*self.rows, *later.rows), action, self.best or later.best)
