"""What sounds are augmented with, against its definition; the promises of all augmentations are in test_augment.py."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gandist.config.sample import check_axes
from gandist.config.sections import Tree
from gandist.errors import ConfigError
from gandist.gan.adversarial import CriticLoss, Rules
from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.augment_sound import gain, polarity, shift, uniforms_of_noise
from gandist.gan.augment_sound import noise as with_noise
from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.objectives import OBJECTIVES
from gandist.gan.penalties import Way, uniforms_of

ONE = torch.tensor(1.0, dtype=torch.float64)
SOUND = AUGMENTATIONS["sound"]


def sounds(n: int, channels: int = 2, length: int = 80) -> Tensor:
    return torch.randn(n, channels, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def drawn(n: int, count: int) -> Tensor:
    return torch.rand(n, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_gain_and_polarity() -> None:
    x, u = sounds(64), drawn(64, 1)
    factors = (gain(x, u) / x).flatten(1)
    torch.testing.assert_close(factors, (2 ** (2 * u - 1)).expand_as(factors))
    signs = (polarity(x, u) / x).flatten(1)
    torch.testing.assert_close(signs, torch.where(u < 0.5, 1.0, -1.0).double().expand_as(signs))
    assert 20 < int((signs[:, 0] < 0).sum()) < 44


@pytest.mark.parametrize("length", [80, 81, 7])
def test_shifts_are_numpys(length: int) -> None:
    """By up to an eighth each way, all of them equally often, both channels together, silence outside."""
    n, reach = 2000, int(length / 8 + 0.5)
    x, u = sounds(n, length=length), drawn(n, 1)
    found, by = shift(x, u).numpy(), np.floor(u[:, 0].numpy() * (2 * reach + 1)).astype(int) - reach
    for ours, sound, places in zip(found, x.numpy(), by, strict=True):
        expected = np.zeros_like(sound)
        expected[:, max(0, places) : length + min(0, places)] = sound[:, max(0, -places) : length - max(0, places)]
        np.testing.assert_array_equal(ours, expected)
    counts = np.bincount(by + reach, minlength=2 * reach + 1)
    assert len(counts) == 2 * reach + 1
    assert counts.min() > 0.5 * n / len(counts)


def test_what_a_shift_reads_twice_has_one_gradient() -> None:
    """The others are 0, so that the order of a GPU's sum does not matter."""
    x = sounds(4).requires_grad_()
    weight = torch.randn_like(x)
    u = torch.tensor([[0.0], [0.3], [0.7], [1 - 2**-30]], dtype=torch.float64)
    (found,) = torch.autograd.grad((shift(x, u) * weight).sum(), x)
    for sound, w, number in zip(found, weight, u, strict=True):
        by = int(number * 21) - 10
        torch.testing.assert_close(sound, shift(w[None], (10 - by + 0.5) * ONE.view(1, 1) / 21)[0])


def test_noise_is_white_and_of_its_deviation() -> None:
    length, n = 20_000, 8
    u = drawn(n, uniforms_of_noise((1, length)))
    added = with_noise(torch.zeros(n, 1, length, dtype=torch.float64), u)[:, 0]
    torch.testing.assert_close(added.std(1), 0.01 * 100 ** (u[:, 0] - 1), rtol=0.03, atol=0)
    scaled = added / added.std(1, keepdim=True)
    assert float((scaled[:, 1:] * scaled[:, :-1]).mean(1).abs().max()) < 0.05
    assert float(scaled.mean(1).abs().max()) < 0.05
    assert float((scaled.abs() < 1).double().mean()) == pytest.approx(math.erf(0.5**0.5), abs=0.01)


def test_they_are_applied_in_turn_to_all_or_none() -> None:
    x = sounds(400)
    assert SOUND.count((2, 80)) == 1 + 1 + 1 + 1 + 1 + 160
    u = drawn(400, SOUND.count((2, 80)))
    expected = x
    for transform, columns in ((gain, u[:, 1:2]), (polarity, u[:, 2:3]), (shift, u[:, 3:4]), (with_noise, u[:, 4:])):
        expected = transform(expected, columns)
    torch.testing.assert_close(SOUND.apply(x, u, ONE), expected)
    some = SOUND.apply(x, u, 0.3 * ONE)
    changed = (some != x).flatten(1).any(1)
    assert torch.equal(changed, u[:, 0] < 0.3)
    torch.testing.assert_close(some[changed], expected[changed])


def test_what_does_not_fit_a_medium_is_refused() -> None:
    image, audio, video = (Tree.model_validate({"data": {"medium": each}}) for each in ("image", "audio", "video"))
    for kind, row in AUGMENTATIONS.items():
        fits = {"sound": audio, "clip": video}.get(kind, image)
        check_axes(f"augment.kind: {kind}", row.axes, fits, AUGMENTATIONS)
        for other in (image, audio, video):
            if other is not fits:
                with pytest.raises(
                    ConfigError, match=rf"^augment\.kind: {kind} takes .* which samples of data\.medium="
                ):
                    check_axes(f"augment.kind: {kind}", row.axes, other, AUGMENTATIONS)
    with pytest.raises(ConfigError, match=r"these fit: sound$"):
        check_axes("augment.kind: ada", 3, audio, AUGMENTATIONS)
    with pytest.raises(ConfigError, match=r"these fit: clip$"):
        check_axes("augment.kind: ada", 3, video, AUGMENTATIONS)


def test_a_penalty_behind_it_has_one_gradient_in_every_way() -> None:
    """Of D with phase shuffle, at sounds between augmented real and fake ones."""
    torch.manual_seed(0)
    shape = Shape(32, 1, 4, 4, sample=(1, 256), norm="none")
    D = NETWORKS["wavegan"].discriminator(shape).double()
    x, x_fake = (0.3 * sounds(6, 1, 256) for _ in range(2))
    names = {f"augment_{name}": drawn(6, SOUND.count((1, 256))) for name in ("real", "fake")}
    noise = names | {f"D_{name}": drawn(6, uniforms_of(D)) for name in ("real", "fake")}
    noise["mix"] = drawn(6, 1)[:, :, None]
    found = []
    ways: tuple[Way, ...] = ("double", "jvp", "linear")
    for way in ways:
        rules = Rules(OBJECTIVES["wasserstein"], penalties=("gp",), differentiate=way, augmentation=SOUND)
        loss = CriticLoss(D, rules, {"augment": 0.7 * ONE.view(1)})
        value, _ = loss(x, None, -x_fake, None, noise, {"gp": 10.0})
        found.append((value, torch.autograd.grad(value, list(D.parameters()))))
    (expected, slopes), *others = found
    for value, ours in others:
        torch.testing.assert_close(value, expected)
        for mine, theirs in zip(ours, slopes, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-12)
    assert max(float(each.abs().max()) for each in slopes) > 1e-3
