"""The MoCoGAN pair (Tulyakov, Liu, Yang, Kautz 2018, arXiv:1707.04993): content and motion apart.

A clip has one content code, from N(0, I). Its motion codes, one a frame, are the states of a recurrent network with
gates (GRU, Cho et al. 2014, arXiv:1406.1078), which takes noise from N(0, I) in each frame and begins at 0
(section 3.1). A generator of pictures, DCGAN's, makes each frame of both (section 3.2). So z is the content code, then
the noise of the first frame, of the second, ...

D is a team: DCGAN's discriminator sees one frame of each clip, drawn evenly and outside of the step, VGAN's the whole
clip. The paper's sees all of its clip at once, too; its convolutions do not stride in time.

Conditioned, the recurrent network takes an embedding of y beside the noise of each frame, as the paper's takes the
class of a motion (section 3.3), and the generator of frames the same embedding, for a class or a caption may say as
well what is seen. Each critic adds the projection of its features on an embedding of y (Miyato & Koyama 2018,
arXiv:1802.05637), where the paper has a classifier.
"""

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from gandist.gan.networks import dcgan, vgan
from gandist.gan.networks.norms import at_least_float32
from gandist.gan.networks.shape import Shape, condition, options_of
from gandist.options import Options


class MoCoOptions(Options):
    """Options of MoCoGAN."""

    content_dim: int = Field(0, ge=0)
    """Numbers of a clip's content code, 50 as published; 0 for model.z_dim."""
    motion_dim: int = Field(10, ge=1)
    """Numbers of a frame's motion code, and of its noise."""
    critics: tuple[Literal["image", "video"], ...] = Field(("image", "video"), min_length=1)
    """What D is made of: a critic of single frames, a critic of clips."""

    @field_validator("critics")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len({*names}) < len(names):
            raise ValueError("a name stands twice; give each once")
        return names


def content_of(shape: Shape) -> int:
    """Numbers of a clip's content code."""
    return options_of(shape, MoCoOptions).content_dim or shape.z_dim


def latents(shape: Shape) -> int:
    """Random numbers that G takes for each clip: its content code, and noise for each of its frames."""
    return content_of(shape) + shape.sample[1] * options_of(shape, MoCoOptions).motion_dim


def parts(shape: Shape) -> dict[str, slice]:
    """Which columns of z are the content code, and which the noise of the motion."""
    content = content_of(shape)
    return {"content": slice(0, content), "motion": slice(content, latents(shape))}


class Recurrent(nn.Module):
    """Noise (N, F, before) -> states (N, F, after) in (-1, 1), in float32 or wider: a GRU of one layer."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(before, 3 * after)
        self.states = nn.Linear(after, 3 * after)

    def forward(self, noise: Tensor) -> Tensor:
        told = at_least_float32(self.inputs(noise))  # of all frames at once
        state = torch.zeros_like(told[:, 0, : self.states.in_features])
        found = []
        for now in told.unbind(1):
            reset, update, new = now.chunk(3, dim=1)
            of_reset, of_update, of_new = at_least_float32(self.states(state)).chunk(3, dim=1)
            kept = torch.sigmoid(update + of_update)
            new = torch.tanh(new + torch.sigmoid(reset + of_reset) * of_new)
            state = new + kept * (state - new)
            found.append(state)
        return torch.stack(found, dim=1)


class Generator(nn.Module):
    """z: (N, latents), y: (N,) or (N, text_dim) -> clips (N, C, F, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.content, self.motion = content_of(shape), options_of(shape, MoCoOptions).motion_dim
        self.embed = condition(shape, self.content)
        told = self.content if self.embed else 0
        self.recurrent = Recurrent(self.motion + told, self.motion)
        self.pictures = dcgan.Generator(_of_pictures(shape, self.content + told + self.motion))
        if isinstance(self.embed, nn.Embedding | nn.Linear):
            nn.init.normal_(self.embed.weight)  # on z's scale: a smaller condition would drown in the noise

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        content, noise = z[:, : self.content], z[:, self.content :].reshape(z.shape[0], -1, self.motion)
        n, frames, _ = noise.shape
        if self.embed is not None:
            told = self.embed(y)
            content = torch.cat([content, told], dim=1)
            noise = torch.cat([noise, told[:, None].expand(-1, frames, -1)], dim=2)
        codes = torch.cat([content[:, None].expand(-1, frames, -1), self.recurrent(noise)], dim=2)
        pictures: Tensor = self.pictures(codes.flatten(0, 1)).permute(0, 2, 3, 1)
        # Made in channels_last order, which becomes channels_last_3d
        return pictures.view(n, frames, *pictures.shape[1:]).permute(0, 4, 1, 2, 3)


def _of_pictures(shape: Shape, codes: int) -> Shape:
    """The shape of DCGAN's generator for frames of so many numbers, in which the condition already is."""
    return _of_frames(shape)._replace(z_dim=codes, classes=0, text_dim=0)


def _of_frames(shape: Shape) -> Shape:
    channels, _, resolution, _ = shape.sample
    return shape._replace(resolution=resolution, channels=channels, sample=(), options=None)


class Discriminator(nn.Module):
    """x: (N, C, F, H, W), y: (N,) or (N, text_dim), u: (N, uniforms) or None -> scores (N,) of each critic, that of
    frames first.

    u are numbers in [0, 1) that choose a frame of each clip; without them it is the middle one.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        critics = options_of(shape, MoCoOptions).critics
        self.image = dcgan.Discriminator(_of_frames(shape)) if "image" in critics else None
        self.video = vgan.Discriminator(shape._replace(options=None)) if "video" in critics else None
        self.uniforms = int(self.image is not None)

    def forward(self, x: Tensor, y: Tensor | None = None, u: Tensor | None = None) -> tuple[Tensor, ...]:
        scores: list[Tensor] = []
        if self.image is not None:
            scores.append(self.image(frame_of(x, None if u is None else u[:, 0]), y))
        if self.video is not None:
            scores.append(self.video(x, y))
        return tuple(scores)


def frame_of(x: Tensor, u: Tensor | None) -> Tensor:
    """One frame (N, C, H, W) of each clip x (N, C, F, H, W): the one at u (N,) in [0, 1), or the middle one.

    Its gradient adds nothing up, so that it does not depend on the order in which a GPU adds.
    """
    n, _, frames, _, _ = x.shape
    if u is None:
        return x[:, :, frames // 2]
    place = (u.double() * frames).long().clamp(max=frames - 1) + frames * torch.arange(n, device=x.device)
    # In channels_last_3d, rows of memory
    taken = x.permute(0, 2, 3, 4, 1).flatten(0, 1).index_select(0, place)
    return taken.permute(0, 3, 1, 2)
