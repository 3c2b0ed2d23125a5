"""A G that writes symbol by symbol, for RelGAN (Nie et al. 2019, ICLR, "Relational generative adversarial networks for
text generation") and for maximum likelihood.

Symbols are drawn by the Gumbel-softmax (Jang et al. 2017, arXiv:1611.01144; Maddison et al. 2017, arXiv:1611.00712).
The largest of logits plus Gumbel noise is a draw from their softmax, exactly; a softmax of the sum, over a temperature,
is a relaxation of it with gradients. The noise is G's latents, V x L normal numbers: `model.z_dim` has no part in it.

In training mode each place has the relaxed shares, at the temperature `game.temperature`; in evaluation mode the drawn
symbol. What was drawn is the next step's input. Behind the end of a text there is only the end; where a text has ended
by half, half of the shares are the end's.

Unlike RelGAN's, G is a GRU (Cho et al. 2014, arXiv:1406.1078) instead of a relational memory.
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gandist.gan.networks.norms import at_least_float32
from gandist.gan.networks.shape import Shape, condition, options_of
from gandist.options import Options

END = 0
"""The symbol behind the last one of a text, and the input of the first step."""


class RecurrentOptions(Options):
    """Options of the recurrent pair."""

    beside_weights: ClassVar[tuple[str, ...]] = ("straight_through",)

    layers: int = Field(1, ge=1, le=4)
    """GRUs of G, one upon the other."""
    embedding: int = Field(32, ge=1)
    """Numbers that stand for a symbol in G, and in each of D's representations."""
    representations: int = Field(4, ge=1, le=64)
    """D's embeddings of the symbols, each of which is judged for itself."""
    kernels: tuple[int, ...] = Field((2, 3, 4, 5), min_length=1)
    """Widths of D's convolutions, in symbols."""
    straight_through: bool = False
    """In training give D the drawn symbols, through which gradients pass as if they were shares; else the shares."""


def latents(shape: Shape) -> int:
    """Normal numbers for a text: one for each symbol at each place."""
    symbols, length = shape.sample
    return symbols * length


def gumbel(z: Tensor) -> Tensor:
    """N(0, 1) to the Gumbel distribution: -log(-log Phi(z)), exact in both tails; in float32 or wider."""
    exponential: Tensor = -torch.special.log_ndtr(at_least_float32(z))
    return -exponential.log()


class Generator(nn.Module):
    """z: (N, V L), y: (N,) or (N, text_dim) -> (N, V, L), for each place the share of each symbol, in float32 or wider.

    In evaluation mode shares are 0 or 1.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        options = options_of(shape, RecurrentOptions)
        self.symbols, self.length = shape.sample
        self.straight_through = options.straight_through
        self.temperature = 1.0
        """Of the symbols drawn in evaluation mode: below 1 likely ones are drawn more often."""
        self.softness: Tensor
        self.register_buffer("softness", torch.ones(()), persistent=False)
        self.embed = condition(shape, options.layers * shape.width)
        self.embed_symbol = nn.Linear(self.symbols, options.embedding, bias=False)
        inputs = [options.embedding] + [shape.width] * (options.layers - 1)
        self.cells = nn.ModuleList(nn.GRUCell(size, shape.width) for size in inputs)
        self.out = nn.Linear(shape.width, self.symbols)
        nn.init.normal_(self.embed_symbol.weight)  # as an embedding's

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        noise, end = gumbel(z).view(z.shape[0], self.length, self.symbols), self._end(z)
        states, before = self._start(z, y), end.expand(z.shape[0], -1)
        goes_on, drawn = torch.ones_like(before[:, :1]), []
        for place in range(self.length):
            states = self._step(self.embed_symbol(before), states)
            shares = self._drawn(self._logits(states[-1]), noise[:, place])
            before = goes_on * shares + (1 - goes_on) * end
            goes_on = goes_on * (1 - shares[:, END : END + 1])
            drawn.append(before)
        return torch.stack(drawn, 2)

    def nll(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """-log p(x | y) in nats (N,), of texts x (N, V, L) in symbols of 0 or 1: of each symbol up to and including the
        first end, given those before it."""
        symbols = x.transpose(1, 2)
        before = torch.cat([self._end(x).expand(x.shape[0], 1, -1), symbols[:, :-1]], 1)
        embedded, states, hidden = self.embed_symbol(before), self._start(x, y), []
        for place in range(self.length):
            states = self._step(embedded[:, place], states)
            hidden.append(states[-1])
        of_symbols = self._logits(torch.stack(hidden, 1)).log_softmax(2).mul(symbols).sum(2)
        counts = (1 - before[:, 1:, END]).cumprod(1)
        return -(of_symbols[:, 0] + (of_symbols[:, 1:] * counts).sum(1))

    def _start(self, x: Tensor, y: Tensor | None) -> list[Tensor]:
        """The first states, (N, width) each."""
        if self.embed is None:
            return [x.new_zeros(x.shape[0], self.out.in_features)] * len(self.cells)
        return list(self.embed(y).tanh().chunk(len(self.cells), 1))

    def _step(self, h: Tensor, states: list[Tensor]) -> list[Tensor]:
        """The states after an embedded symbol (N, embedding)."""
        after = []
        for cell, state in zip(self.cells, states, strict=True):
            h = cell(h, state)
            after.append(h)
        return after

    def _logits(self, h: Tensor) -> Tensor:
        return at_least_float32(self.out(h))

    def _end(self, x: Tensor) -> Tensor:
        """The end as shares (1, V), in float32 or wider."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        return (torch.arange(self.symbols, device=x.device) == END).to(dtype)[None]

    def _drawn(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Shares (N, V) of symbols, drawn by Gumbel noise (N, V)."""
        if not self.training:
            return _largest(logits / self.temperature + noise)
        shares = ((logits + noise) / self.softness).softmax(1)
        return _largest(shares) + (shares - shares.detach()) if self.straight_through else shares


def _largest(values: Tensor) -> Tensor:
    """1 at the largest value of each row (N, V), else 0."""
    numbers = torch.arange(values.shape[1], device=values.device)
    return (numbers == values.argmax(1, keepdim=True)).to(values.dtype)
