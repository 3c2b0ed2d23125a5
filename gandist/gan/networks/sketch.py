"""Networks on the meta device, which have layers and shapes but no weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@contextmanager
def sketched() -> Iterator[None]:
    """Within, networks are built on the meta device, and draw no weights."""
    with torch.device("meta"), Undrawn():
        yield


class Undrawn(TorchFunctionMode):
    """Leaves what pairs draw undrawn: for its type and shape torch would import its compiler, for over a second."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        match getattr(function, "__name__", ""):
            case "normal_" | "div_":  # of a tensor, or of torch.nn.init
                return kwargs["tensor"] if "tensor" in kwargs else args[0]
            case "randn":
                return torch.empty(*args, **{name: value for name, value in kwargs.items() if name != "generator"})
            case "randn_like":
                return args[0].new_empty(args[0].shape)
        return function(*args, **kwargs)
