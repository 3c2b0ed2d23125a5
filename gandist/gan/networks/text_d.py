"""The critic of texts of RelGAN (Nie et al. 2019, ICLR, section 3.3): several representations, each judged for itself.

Each representation is an embedding of the symbols. The same convolutions of several widths look at each, after Kim
(2014, arXiv:1408.5882), keep each feature's maximum over the text, and a hidden layer gives a score; a text has a score
for each representation, over which losses are means.

Conditioned, the projection of the hidden features on an embedding of y is added (Miyato & Koyama 2018,
arXiv:1802.05637).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32, spectral
from gandist.gan.networks.recurrent import RecurrentOptions
from gandist.gan.networks.shape import Shape, condition, options_of


class Discriminator(nn.Module):
    """x: (N, V, L), y: (N,) or (N, text_dim) -> scores (N, representations), in float32 under autocast too."""

    def __init__(self, shape: Shape) -> None:
        """
        Raises:
            ValueError: a kernel is wider than the texts.
        """
        super().__init__()
        options = options_of(shape, RecurrentOptions)
        symbols, length = shape.sample
        if (widest := max(options.kernels)) > length or min(options.kernels) < 1:
            raise ValueError(f"options.kernels: are from 1 to {length} symbols wide, as texts are, not {widest}")
        self.representations = options.representations
        self.embed_symbol = nn.Conv2d(symbols, options.representations * options.embedding, 1, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(options.embedding, shape.width, (1, kernel)) for kernel in options.kernels
        )
        features = shape.width * len(options.kernels)
        self.hidden = nn.Linear(features, features)
        self.score = nn.Linear(features, 1, bias=False)
        self.embed = condition(shape, features)
        nn.init.normal_(self.embed_symbol.weight)  # as an embedding's
        spectral(self, shape.norm)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        # Each representation of a text as a sample of its own, (N R, embedding, 1, L)
        h = self.embed_symbol(x[:, :, None].contiguous(memory_format=torch.channels_last))
        h = h.permute(0, 2, 3, 1).unflatten(3, (self.representations, -1)).permute(0, 3, 4, 1, 2).flatten(0, 1)
        h = h.contiguous(memory_format=torch.channels_last)
        # The largest of each feature over the text
        h = torch.cat([F.leaky_relu(convolution(h), 0.2).amax((2, 3)) for convolution in self.convolutions], 1)
        h = F.leaky_relu(self.hidden(h), 0.2)
        scores = at_least_float32(self.score(h)).view(len(x), self.representations)
        if self.embed is None:
            return scores
        of_y = self.embed(y)[:, None] * h.view(len(x), self.representations, -1)
        return scores + at_least_float32(of_y.sum(2))
