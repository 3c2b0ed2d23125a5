"""MoCoGAN: what z is made of, a GRU as torch's, frames made one by one, the team of critics."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gandist.gan.networks import NETWORKS, Shape
from gandist.gan.networks.mocogan import Discriminator, Generator, MoCoOptions, Recurrent, frame_of, latents, parts
from gandist.gan.penalties import uniforms_of

SMALL = Shape(32, 3, z_dim=6, width=4, norm="none", sample=(3, 4, 32, 32))


def with_options(shape: Shape = SMALL, **options: Any) -> Shape:
    return shape._replace(options=MoCoOptions(**options))


def test_z_is_content_and_motion() -> None:
    assert parts(SMALL) == {"content": slice(0, 6), "motion": slice(6, 46)}
    assert latents(SMALL) == NETWORKS["mocogan"].latents(SMALL) == 46
    published = with_options(SMALL._replace(sample=(3, 16, 64, 64)), content_dim=50)
    assert parts(published) == {"content": slice(0, 50), "motion": slice(50, 210)}
    told = NETWORKS["mocogan"].parts
    assert told is not None
    assert told(published) == parts(published)


def test_the_recurrence_is_torchs_gru() -> None:
    torch.manual_seed(0)
    ours, theirs = Recurrent(5, 3).double(), nn.GRU(5, 3, batch_first=True).double()
    for name, layer in (("ih", ours.inputs), ("hh", ours.states)):
        getattr(theirs, f"weight_{name}_l0").data.copy_(layer.weight)
        getattr(theirs, f"bias_{name}_l0").data.copy_(layer.bias)
    noise = torch.randn(4, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(noise), theirs(noise)[0])


def test_a_frame_is_made_of_content_and_of_the_motion_so_far() -> None:
    torch.manual_seed(0)
    G = Generator(SMALL._replace(classes=3))
    z, y = torch.randn(2, latents(SMALL)), torch.tensor([0, 2])
    made = G(z, y)
    later, other, same = z.clone(), z.clone(), z.clone()
    later[:, parts(SMALL)["motion"]][:, 20:30] += 1  # the noise of the third frame
    other[:, parts(SMALL)["content"]] += 1

    def changed(of: torch.Tensor) -> list[bool]:
        return [not torch.allclose(a, b, atol=1e-6) for a, b in zip(G(of, y).unbind(2), made.unbind(2), strict=True)]

    assert changed(same) == [False] * 4
    assert changed(later) == [False, False, True, True]
    assert changed(other) == [True] * 4
    torch.testing.assert_close(G(z[:, : latents(SMALL) - 10], y), made[:, :, :3])


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last_3d])
def test_every_frame_is_drawn_as_often(order: torch.memory_format) -> None:
    """Also at the ends of [0, 1), and at 1, which float32 may round to; and its gradient goes to it alone."""
    x = torch.randn(6, 3, 4, 2, 2).contiguous(memory_format=order).requires_grad_()
    u = torch.tensor([0.0, 0.2499, 0.25, 0.5, 1 - 2**-24, 1.0])
    found = frame_of(x, u)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for made, clip, place in zip(found, x, (0, 0, 1, 2, 3, 3), strict=True):
        assert torch.equal(made, clip[:, place])
    assert torch.equal(frame_of(x, None), x[:, :, 2])
    weigh = torch.randn_like(found)
    (gradient,) = torch.autograd.grad(found, x, weigh)
    assert torch.equal(gradient.sum(2), weigh)
    assert int(gradient.ne(0).flatten(3).any(3).any(1).sum()) == 6
    tangent = torch.func.jvp(lambda x: frame_of(x, u), (x.detach(),), (2 * x.detach(),))[1]
    assert torch.equal(tangent, 2 * found)


def test_the_team_is_of_the_critics_named() -> None:
    torch.manual_seed(0)
    x, y, u = torch.randn(2, 3, 4, 32, 32), torch.tensor([0, 1]), torch.tensor([[0.1], [0.9]])
    shape = SMALL._replace(classes=3)
    D = Discriminator(shape)
    assert D.image is not None
    assert D.video is not None
    of_image, of_video = D(x, y, u)
    torch.testing.assert_close(of_image, D.image(frame_of(x, u[:, 0]), y))
    torch.testing.assert_close(of_video, D.video(x, y))
    assert uniforms_of(D) == 1
    for name, count in (("image", 1), ("video", 0)):
        alone = Discriminator(with_options(shape, critics=[name]))
        assert uniforms_of(alone) == count
        assert len(alone(x, y)) == 1
        assert {of.split(".")[0] for of, _ in alone.named_parameters()} == {name}


def test_each_critic_is_there_once() -> None:
    with pytest.raises(ValidationError, match="a name stands twice; give each once"):
        MoCoOptions(critics=("image", "image"))
