"""A mode in which no value may leave the device, as in a captured step."""

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode


class Blind(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails where a value is brought to the host, or one made there."""

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        name = str(func)
        assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "lift_fresh", "equal.default")), name
        return func(*args, **(kwargs or {}))
