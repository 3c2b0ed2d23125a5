"""The kinds of conditions that are samples, by the names that `condition.kind` takes."""

from collections.abc import Mapping

from torch import Tensor

from gandist.conditions.degraded import Degradation
from gandist.conditions.making import Making
from gandist.conditions.masked import Masks
from gandist.conditions.mel import Mel
from gandist.gan.penalties import Noise

AUTO, MASKED, PAIRED = "auto", "masked", "paired"


class Itself(Making):
    """y is x: what an autoencoder gets."""

    def noise(self) -> Mapping[str, Noise]:
        return {}

    def shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return sample

    def make(self, x: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        return x

    def picture(self, y: Tensor, sample: tuple[int, ...]) -> Tensor:
        return y

    def floors(self, y: Tensor, sample: tuple[int, ...]) -> Mapping[str, Tensor]:
        return {}


class OtherPicture(Itself):
    """y is the other picture of a pair, which is stored."""

    def floors(self, y: Tensor, sample: tuple[int, ...]) -> Mapping[str, Tensor]:
        return {"input": y}


MAKERS: dict[str, type[Making]] = {
    "degraded": Degradation,
    MASKED: Masks,
    PAIRED: OtherPicture,
    "itself": Itself,
    "mel": Mel,
}
