"""What clips are augmented with, all frames alike; the promises of all augmentations are in test_augment.py."""

import torch
from torch import Tensor

from gandist.gan.augment import AUGMENTATIONS
from gandist.gan.augment_clip import mirror
from gandist.gan.augment_image import brightness, contrast, cutout, saturation, translation
from gandist.gan.augmentation import Transform

ONE = torch.tensor(1.0, dtype=torch.float64)
CLIP = AUGMENTATIONS["clip"]


def clips(n: int, channels: int = 3, frames: int = 4, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, frames, size, size, generator=generator, dtype=torch.float64)


def drawn(n: int, count: int = 9) -> Tensor:
    return torch.rand(n, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_each_frame_is_changed_as_a_picture_by_its_clips_numbers() -> None:
    """But for the contrast, which is of the whole clip."""
    x, u = clips(16), drawn(16)
    assert CLIP.count((3, 4, 8, 8)) == 9

    def each_frame(transform: Transform, x: Tensor, u: Tensor) -> Tensor:
        return torch.stack([transform(frame, u) for frame in x.unbind(2)], dim=2)

    expected = each_frame(saturation, each_frame(brightness, x, u[:, 1:2]), u[:, 2:3])
    mean = expected.mean((1, 2, 3, 4), keepdim=True)
    expected = mean + (expected - mean) * (u[:, 3] + 0.5).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(contrast(x, u[:, 3:4]).mean((1, 2, 3, 4)), x.mean((1, 2, 3, 4)))
    expected = torch.stack([clip.flip(3) if now < 0.25 else clip for clip, now in zip(expected, u[:, 4], strict=True)])
    expected = each_frame(cutout, each_frame(translation, expected, u[:, 5:7]), u[:, 7:9])
    for order in (torch.contiguous_format, torch.channels_last_3d):
        torch.testing.assert_close(CLIP.apply(x.contiguous(memory_format=order), u, ONE), expected)


def test_a_still_clip_stays_still() -> None:
    x = clips(8, frames=1).expand(-1, -1, 4, -1, -1)
    found = CLIP.apply(x, drawn(8), ONE)
    assert torch.equal(found, found[:, :, :1].expand_as(found))
    assert not torch.equal(found, x)


def test_a_quarter_is_mirrored() -> None:
    x, u = clips(400, 1, 2, 2), drawn(400, 1)
    mirrored = (mirror(x, u) != x).flatten(1).any(1)
    assert torch.equal(mirrored, u[:, 0] < 0.25)
    assert 70 < int(mirrored.sum()) < 130
