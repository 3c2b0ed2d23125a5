"""Check in one call that a network pair meets the requirements of training, for the tests of your own pair.

    from gandist.testing import check_pair

    def test_my_pair() -> None:
        check_pair("mine")

The check builds a small pair for each condition and normalisation that the pair declares, and runs `CHECKS` on each
build. An AssertionError names the check, the network and the shape.
"""

from collections.abc import Callable, Sequence

from gandist.gan.networks import NETWORKS, Pair, Shape
from gandist.testing.cases import Case, cases
from gandist.testing.checks import (
    check_autocast,
    check_channels_last,
    check_every_parameter_learns,
    check_export,
    check_heeds_condition,
    check_images_are_independent,
    check_known_pixels,
    check_nothing_random,
    check_other_sizes,
    check_shapes,
    check_slopes,
)

__all__ = [
    "CHECKS",
    "Case",
    "cases",
    "check_autocast",
    "check_channels_last",
    "check_every_parameter_learns",
    "check_export",
    "check_heeds_condition",
    "check_images_are_independent",
    "check_known_pixels",
    "check_nothing_random",
    "check_other_sizes",
    "check_pair",
    "check_shapes",
    "check_slopes",
]

CHECKS: tuple[Callable[[Case], None], ...] = (
    check_shapes,
    check_nothing_random,
    check_images_are_independent,
    check_heeds_condition,
    check_slopes,
    check_channels_last,
    check_autocast,
    check_every_parameter_learns,
    check_export,
    check_other_sizes,
    check_known_pixels,
)


def check_pair(pair: str | Pair, shape: Shape | None = None, checks: Sequence[Callable[[Case], None]] = CHECKS) -> None:
    """Run each check on the pair: small and in all its variants, or built with `shape` only.

    Args:
        pair: a name in `NETWORKS`, or the pair itself.
        checks: the checks to run; omit those that do not apply, such as `check_slopes` without slope penalties.

    Raises:
        AssertionError: a check failed; the message names the check and the shape.
    """
    for case in cases(NETWORKS[pair] if isinstance(pair, str) else pair, shape):
        for check in checks:
            try:
                check(case)
            except AssertionError as error:
                built = f"{case.shape}, D with norm {case.norm_D}"
                raise AssertionError(f"{check.__name__}: {error}\nbuilt to {built}") from error
