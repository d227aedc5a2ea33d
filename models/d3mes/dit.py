"""The diffusion transformer on tokens (arXiv 2212.09748), with the conditioning of D3MES."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.nn import layer_norm, modulate

FREQUENCIES = 128
EMBEDDING_STD = 0.02


class TimeEmbedding(nn.Module):
    r""":math:`W_2\,\mathrm{silu}(W_1 f + b_1) + b_2`, :math:`f = (\cos t w_k, \sin t w_k)`,
    :math:`w_k = 10000^{-k/128}`, k < 128.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * FREQUENCIES, width), nn.Linear(width, width)
        rates = 10000.0 ** (-torch.arange(FREQUENCIES, dtype=torch.float64) / FREQUENCIES)
        self.register_buffer("rates", rates.float(), persistent=False)

    def reset_parameters(self) -> None:
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, std=EMBEDDING_STD)
            nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor) -> Tensor:
        """Steps (B,), 0 to 999, to vectors (B, D)."""
        phase = t.to(self.rates.dtype).unsqueeze(-1) * self.rates
        return self.second(F.silu(self.first(torch.cat((phase.cos(), phase.sin()), dim=-1))))


class Conditioning(nn.Module):
    """c = time embedding + row of the label table, whose last row is the null label.

    width: D. labels: rows of the table beside the null label.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.label = nn.Embedding(labels + 1, width)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.label.weight, std=EMBEDDING_STD)

    def forward(self, t: Tensor, label: Tensor) -> Tensor:
        """t (B,), label (B,) to (B, D)."""
        return self.time(t) + self.label(label)


class DiTBlock(nn.Module):
    r"""With six chunks of :math:`W\,\mathrm{silu}(c) + b`, which start at 0:

    .. math::
        h &\leftarrow h + g_1 \odot \mathrm{MHA}(\mathrm{LN}(h)(1 + s_1) + b_1) \\
        h &\leftarrow h + g_2 \odot \mathrm{MLP}(\mathrm{LN}(h)(1 + s_2) + b_2)
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(width, 6 * width)
        self.norm = layer_norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, state: Tensor, condition: Tensor) -> Tensor:
        """Tokens (B, T, D) and silu(c) (B, 1, D) to tokens."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition).chunk(6, dim=-1)
        state = state + gate1 * self._attend(modulate(self.norm(state), scale1, shift1))
        hidden = F.gelu(self.up(modulate(self.norm(state), scale2, shift2)), approximate="tanh")
        return state + gate2 * self.down(hidden)

    def _attend(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).flatten(-2))


class DiT(nn.Module):
    r"""Tokens to tokens: embedding, position codes, blocks, and
    :math:`W_o(\mathrm{LN}(h)(1 + s) + b)` with :math:`(b, s) = W_f\,\mathrm{silu}(c) + b_f`.

    The modulations and the last layer start at 0, so that a new network returns 0; all other matrices start Xavier
    uniform, their biases at 0.

    inputs, outputs: numbers per token. positions: (T, D), added once and not trained.
    """

    def __init__(self, inputs: int, outputs: int, positions: Tensor, blocks: int, heads: int) -> None:
        super().__init__()
        width = positions.shape[-1]
        self.register_buffer("positions", positions, persistent=False)
        self.embed = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(blocks))
        self.modulation = nn.Linear(width, 2 * width)
        self.norm = layer_norm(width)
        self.out = nn.Linear(width, outputs)

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for layer in (*(block.modulation for block in self.blocks), self.modulation, self.out):
            nn.init.zeros_(layer.weight)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Tokens (B, T, inputs) and c (B, D) to (B, T, outputs)."""
        condition = F.silu(condition).unsqueeze(1)
        state = self.embed(tokens) + self.positions.to(tokens.dtype)
        for block in self.blocks:
            state = block(state, condition)
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return self.out(modulate(self.norm(state), scale, shift))
