"""MiniLM (Wang et al. 2020, arXiv:2002.10957), a BERT of 22 million weights (Devlin et al. 2019, arXiv:1810.04805), in
torch alone: `transformers` and `sentence_transformers`, which run it too, take five seconds to import."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm


class MiniLM:
    """Texts -> the mean over the last layer's tokens, scaled to unit length, as `sentence_transformers` gives it.

    Raises:
        OSError: a file of the model is missing.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: a model as `sentence_transformers` saves it."""
        config = json.loads((folder / "config.json").read_text())
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.eps = config["layer_norm_eps"]
        self.weights = load_file(folder / "model.safetensors")
        self.tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokens.enable_truncation(json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"])
        self.tokens.enable_padding(pad_id=config["pad_token_id"])

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch: int, progress: bool) -> np.ndarray:
        """(n,) -> float32 (n, D). Texts of like lengths share a batch, which is padded to its longest."""
        order = np.argsort([-len(text) for text in texts])
        vectors = np.empty((len(texts), self.weights["embeddings.LayerNorm.weight"].numel()), np.float32)
        for at in tqdm(range(0, len(texts), batch), "Batches", disable=not progress):
            rows = order[at : at + batch]
            found = self.tokens.encode_batch([texts[row] for row in rows])
            ids, mask = (torch.tensor([getattr(each, name) for each in found]) for name in ("ids", "attention_mask"))
            h, share = self._last_layer(ids, mask.bool()), mask.unsqueeze(2).float()
            vectors[rows] = F.normalize((h * share).sum(1) / share.sum(1).clamp(min=1e-9)).numpy()
        return vectors

    def _last_layer(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Numbers of tokens (N, L), of which those in the mask (N, L) count -> (N, L, D)."""
        tables = (f"embeddings.{name}_embeddings.weight" for name in ("word", "token_type", "position"))
        word, kind, place = (self.weights[name] for name in tables)
        h = self._norm(word[ids] + kind[0] + place[: ids.shape[1]], "embeddings")
        seen = None if mask.all() else mask[:, None, None].expand(-1, 1, ids.shape[1], -1)
        for number in range(self.layers):
            at = f"encoder.layer.{number}"
            q, k, v = (
                self._linear(h, f"{at}.attention.self.{name}").view(*ids.shape, self.heads, -1).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            attended = F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2)
            h = self._norm(self._linear(attended, f"{at}.attention.output.dense") + h, f"{at}.attention.output")
            inside = F.gelu(self._linear(h, f"{at}.intermediate.dense"))
            h = self._norm(self._linear(inside, f"{at}.output.dense") + h, f"{at}.output")
        return h

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self.weights[f"{name}.LayerNorm.{each}"] for each in ("weight", "bias"))
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)
