"""The recurrent G of texts: draws by their probabilities, the relaxation, the end, and the likelihood."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from gandist.gan.networks import Shape
from gandist.gan.networks.recurrent import Generator, RecurrentOptions, gumbel
from gandist.gan.networks.text_d import Discriminator

V, L = 3, 3
SMALL = Shape(32, 3, z_dim=0, width=4, norm="none", sample=(V, L))


def built_G(shape: Shape = SMALL, **options: Any) -> Generator:
    torch.manual_seed(0)
    G = Generator(shape._replace(options=RecurrentOptions(embedding=4, **options))).double()
    for weight in G.parameters():
        weight.data *= 2  # so that symbols' probabilities differ
    return G


def every_text() -> Tensor:
    """All texts of up to L symbols, one-hot (N, V, L): behind an end there is only the end."""
    rows = [row for row in itertools.product(range(V), repeat=L) if 0 not in row or not any(row[row.index(0) :])]
    return torch.nn.functional.one_hot(torch.tensor(rows), V).double().transpose(1, 2)


def test_noise_is_gumbels_in_both_tails() -> None:
    """-log(-log Phi(z)): its inverse gives Phi back, and its tails are finite as far as normal numbers reach."""
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    torch.testing.assert_close((-(-gumbel(z)).exp()).exp(), torch.special.ndtr(z), rtol=1e-12, atol=0)
    far = gumbel(torch.tensor([-12.0, 12.0]))
    torch.testing.assert_close(far, torch.tensor([-4.3229, 75.4107]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_likelihoods_of_all_texts_add_up_to_one(layers: int) -> None:
    """Also those of a class, which differ from another's."""
    G, x = built_G(layers=layers), every_text()
    assert len(x) == 1 + 2 + 4 + 8
    told = built_G(SMALL._replace(classes=2), layers=layers)
    of_classes = [(-told.nll(x, torch.full((len(x),), k))).exp() for k in (0, 1)]
    assert float((of_classes[0] - of_classes[1]).detach().abs().max()) > 0.01
    for p in ((-G.nll(x)).exp(), *of_classes):
        torch.testing.assert_close(p.sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-12)
    behind = x.clone()
    behind[0, :, 1:] = torch.tensor([0.0, 1.0, 0.0])[:, None]  # the empty text: what is behind its end does not count
    assert torch.equal(G.nll(behind), G.nll(x))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_texts_are_drawn_as_often_as_they_are_likely(temperature: float) -> None:
    """In evaluation mode: of 20,000 draws each text has its share, to five deviations; at a temperature, that of the
    G whose logits are divided by it."""
    G, n = built_G().eval(), 20_000
    G.temperature = temperature
    with torch.no_grad():
        drawn = G(torch.randn(n, V * L, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
        G.out.weight.data /= temperature
        G.out.bias.data /= temperature
        expected = (-G.nll(every_text())).exp()
    found = torch.einsum("nvl,mvl->nm", drawn, every_text()).eq(L).double()
    assert bool((found.sum(1) == 1).all()), "each is a text, whole symbols and nothing behind the end"
    deviations = (found.mean(0) - expected) / (expected * (1 - expected) / n).sqrt()
    assert float(deviations.abs().max()) < 5


def test_shares_become_the_drawn_symbols_as_the_temperature_falls() -> None:
    G = built_G()
    z = torch.randn(64, V * L, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    drawn = G.eval()(z)
    G.train()
    apart = []
    for softness in (1.0, 0.1, 1e-3):
        G.softness.fill_(softness)
        shares = G(z)
        torch.testing.assert_close(shares.sum(1), torch.ones(64, L, dtype=torch.float64))
        apart.append(float((shares - drawn).detach().abs().mean()))
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.01


def test_straight_through_draws_symbols_and_has_gradients() -> None:
    G = built_G(straight_through=True)
    z = torch.randn(16, V * L, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    made = G(z)
    assert torch.equal(made, G.eval()(z))
    (made * torch.randn(V, L, dtype=torch.float64)).sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in G.parameters())


def test_each_representation_judges_with_the_same_convolutions() -> None:
    """A text has a score for each; two that embed symbols alike give the same score."""
    torch.manual_seed(0)
    shape = SMALL._replace(options=RecurrentOptions(embedding=4, representations=2, kernels=(2, 3)))
    D = Discriminator(shape)
    x = torch.rand(5, V, L).softmax(1)
    scores = D(x)
    assert scores.shape == (5, 2)
    assert not torch.allclose(scores[:, 0], scores[:, 1])
    D.embed_symbol.weight.data[4:] = D.embed_symbol.weight.data[:4]
    torch.testing.assert_close(D(x)[:, 1], scores[:, 0])
    with pytest.raises(ValueError, match=r"options\.kernels: .* not 5"):
        Discriminator(shape._replace(options=RecurrentOptions()))
