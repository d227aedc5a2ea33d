"""Drop-in use: a small transformer of one's own on `ditkernels.nn`, trained on random molecules in seconds.

    python examples/train_your_own.py

The task is to predict, for every atom of a random cloud, how crowded its surroundings are: sum_j exp(-|r_i - r_j|^2).
An atom does not know where the others are; only the displacement form of the pair attention tells it. Molecules of
different sizes lie in one ragged batch, and nothing of size pairs x channels is ever allocated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditkernels import DisplacementPair
from ditkernels.nn import AdaLNZero, PairAttention, modulate

WIDTH, HEADS, BLOCKS = 64, 4, 2
STEPS, MOLECULES = 150, 16


class Block(nn.Module):
    """Attention and MLP, both modulated and gated by a condition (adaLN-Zero)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.modulation = AdaLNZero(WIDTH, WIDTH, chunks=6)
        self.attention = PairAttention(WIDTH, HEADS)
        self.first = nn.Parameter(torch.randn(3, WIDTH))
        self.maps = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, WIDTH) / WIDTH**0.5) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor, condition: Tensor, positions: Tensor, cu_seqlens: Tensor) -> Tensor:
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(condition)
        pair = DisplacementPair(positions, self.first, *self.maps)
        x = x + gate1 * self.attention(modulate(self.norm(x), scale1, shift1), pair, cu_seqlens=cu_seqlens)
        return x + gate2 * self.mlp(modulate(self.norm(x), scale2, shift2))


class Network(nn.Module):
    """Positions (T, 3) of a ragged batch to one number per atom (T,)."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(WIDTH))
        self.condition = nn.Parameter(torch.randn(WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.readout = nn.Linear(WIDTH, 1)

    def forward(self, positions: Tensor, cu_seqlens: Tensor) -> Tensor:
        x = self.start.expand(len(positions), -1)
        condition = self.condition.expand(len(positions), -1)
        for block in self.blocks:
            x = block(x, condition, positions, cu_seqlens)
        return self.readout(x).squeeze(-1)


def random_batch(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (T, 3), cu_seqlens (B+1,) and targets (T,) of clouds of 5 to 20 atoms."""
    sizes = torch.randint(5, 21, (MOLECULES,), generator=generator)
    cu_seqlens = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)]).to(torch.int32)
    clouds = [1.5 * torch.randn(int(n), 3, generator=generator) for n in sizes]
    target = torch.cat([torch.exp(-(torch.cdist(r, r) ** 2)).sum(1) for r in clouds])
    return torch.cat(clouds), cu_seqlens, target


def main(steps: int = STEPS) -> list[float]:
    """Train and return the relative squared error (1 = predicting the mean) of every step."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    errors = []
    for step in range(steps):
        positions, cu_seqlens, target = random_batch(generator)
        error = (network(positions, cu_seqlens) - target).square().mean() / target.var()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
        if step % 25 == 0 or step == steps - 1:
            print(f"step {step:4d}  relative error {errors[-1]:.3f}")
    return errors


if __name__ == "__main__":
    main()
