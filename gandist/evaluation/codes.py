"""How an autoencoder uses its codebook: unused codes are lost capacity."""

import torch
from torch import Tensor


def code_use(counts: Tensor) -> dict[str, float]:
    """Measures of the use of codes, from how often each occurs, (codes,): at least one does.

    - `codebook_perplexity`: the exponential of the entropy of the codes' frequencies, from 1, if a single code is used,
      to the number of codes, if all are used equally (van den Oord et al. 2017, arXiv:1711.00937).
    - `codebook_used`: the share of codes that occur.
    """
    shares = counts.double() / counts.sum()
    entropy = -torch.special.xlogy(shares, shares).sum()
    return {"codebook_perplexity": float(entropy.exp()), "codebook_used": float((counts > 0).double().mean())}
