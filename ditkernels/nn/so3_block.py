"""The transformer block of features that rotate: adaLN-Zero around attention and MLP."""

from __future__ import annotations

from torch import Tensor, nn

from ditkernels.nn.components import modulate_irreps, scale_irreps, select_irreps
from ditkernels.nn.equivariant_ada_ln_zero import EquivariantAdaLNZero
from ditkernels.nn.equivariant_gated_mlp import EquivariantGatedMLP
from ditkernels.nn.equivariant_layer_norm import EquivariantLayerNorm
from ditkernels.nn.so3_attention import SO3Attention
from ditkernels.so3 import Irreps


class SO3Block(nn.Module):
    r"""Features h of irreps, and modulations per irrep from an invariant condition, :class:`EquivariantAdaLNZero`:

    .. math::
        h &\leftarrow h + \alpha_1 \odot \mathrm{SO3Attention}(\mathrm{ELN}(h)(1+\gamma_1) + \beta_1) \\
        h &\leftarrow h + \alpha_2 \odot \mathrm{EMLP}(\mathrm{ELN}(h)(1+\gamma_2) + \beta_2)

    (arXiv 2506.15378). In the first sum irreps that h lacks are 0, and those that ``irreps`` lacks are dropped. At the
    start a block passes its input through.

    irreps_in, irreps: of h before and after, both with a true scalar
    dim: channels of h
    condition_dim: channels of the condition
    hidden_dim: channels between the two layers of the MLP
    heads, attention: arguments of :class:`SO3Attention`
    attended: irreps of its output, by default ``irreps``
    norm: "rms" or "variance", see :class:`EquivariantLayerNorm`
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps: Irreps | str,
        dim: int,
        condition_dim: int,
        hidden_dim: int,
        heads: int,
        *,
        attended: Irreps | str | None = None,
        norm: str = "rms",
        **attention,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps = Irreps(irreps_in), Irreps(irreps)
        self.modulation = EquivariantAdaLNZero(irreps_in, irreps, dim, condition_dim)
        self.attention_norm = EquivariantLayerNorm(irreps_in, scale=norm)
        self.attention = SO3Attention(irreps_in, attended or irreps, dim, heads, **attention)
        self.mlp_norm = EquivariantLayerNorm(irreps, scale=norm)
        self.mlp = EquivariantGatedMLP(irreps, dim, hidden_dim)

    def forward(
        self, state: Tensor, condition: Tensor, positions: Tensor, *, rows: Tensor | None = None, **attention
    ) -> Tensor:
        """State (T, M_in, dim) to the new state (T, M, dim); likewise (B, N, M_in, dim).

        condition: (T, condition_dim), or less rows, of which ``rows`` (T,) says which is whose
        positions, attention: arguments of :meth:`SO3Attention.forward`
        """
        modulations = self.modulation(condition)
        if rows is not None:
            modulations = (x[rows] for x in modulations)
        scale1, shift1, gate1, scale2, shift2, gate2 = modulations
        x = modulate_irreps(self.attention_norm(state), scale1, shift1, self.irreps_in)
        update = self.attend(x, positions, **attention)
        state = select_irreps(state, self.irreps_in, self.irreps) + scale_irreps(update, gate1, self.irreps)
        update = self.mlp(modulate_irreps(self.mlp_norm(state), scale2, shift2, self.irreps))
        return state + scale_irreps(update, gate2, self.irreps)

    def attend(self, x: Tensor, positions: Tensor, **attention) -> Tensor:
        """The attention's update (T, M, dim); a block of its own may do more."""
        return self.attention(x, positions, **attention)
