"""Comparison of our network, sampler and loss with recorded outputs of the original program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.ditmc.equivariance import available_impls
from ditkernels.models.ditmc.flow import flow_matching_loss, training_pair
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.ditmc.original import config_of_tree, load_original
from ditkernels.models.ditmc.prior import harmonic_factor
from ditkernels.models.ditmc.sampler import sample
from ditkernels.models.molecule.graph import GraphBatch

FLOAT64_TOLERANCE = 1e-10
"""Largest relative error in float64, where the file stores float64."""

FLOAT32_TOLERANCE = 1e-5
"""Largest relative error in float32, and in float64 against a file that stores float32."""


@dataclass(frozen=True)
class Comparison:
    """One quantity of one run: ``error`` is max |ours - original| / max |original|."""

    quantity: str
    impl: str
    dtype: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number and within the tolerance."""
        return self.error <= self.tolerance


class Oracle:
    """A file of random weights, inputs and outputs of the original program.

    Arrays: ``param/<path>``, ``in_*``, ``out_drift``, ``out_sample_eulerN``, ``out_loss``, ``meta_heads``.

    Raises:
        ValueError: the file is no such archive; the sentence names what is missing.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as archive:
                self.arrays = {name: archive[name] for name in archive.files}
        except (ValueError, EOFError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"oracle {path}: not a readable .npz archive ({error})") from error
        self.path = path
        self.tree = {name.removeprefix("param/"): a for name, a in self.arrays.items() if name.startswith("param/")}
        if not self.tree:
            raise ValueError(f"oracle {path}: no arrays called param/...")

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.arrays:
            raise ValueError(f"oracle {self.path}: array {name} is missing")
        return self.arrays[name]

    def impls(self) -> list[str]:
        """The back-ends of the network's attention operator that run on this machine's CPU."""
        return available_impls(config_of_tree(self.tree, int(self["meta_heads"])))

    def model(self, dtype: torch.dtype) -> DiTMC:
        """The network with the recorded weights."""
        return load_original(self.tree, int(self["meta_heads"])).to(dtype).eval()

    def tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        """A recorded array as a tensor."""
        return torch.from_numpy(np.array(self[name])).to(dtype)

    def graph(self) -> GraphBatch:
        """The recorded molecule as a batch of one."""
        hops = self["in_hops"].astype(np.int64)
        n = len(hops)
        values, index = np.unique(hops, return_inverse=True)
        return GraphBatch(
            atomic_numbers=self.tensor("in_atomic_numbers", torch.int64),
            atom_features=self.tensor("in_node_attr", torch.float32),
            bond_senders=self.tensor("in_bond_send", torch.int64),
            bond_receivers=self.tensor("in_bond_recv", torch.int64),
            bond_features=self.tensor("in_bond_attr", torch.float32),
            hop_index=torch.from_numpy(index.astype(np.int32).reshape(-1)),
            hop_values=torch.from_numpy(values),
            cu_seqlens=torch.tensor([0, n], dtype=torch.int32),
            molecule=torch.zeros(n, dtype=torch.int64),
        )

    def prior_covariances(self) -> tuple[Tensor, np.ndarray]:
        """Covariance (n, n) in Å² of our harmonic prior, and of the recorded one."""
        bonds = np.stack((self["in_bond_send"], self["in_bond_recv"]), axis=1)
        factor = harmonic_factor(len(self["in_hops"]), bonds[bonds[:, 0] < bonds[:, 1]])
        recorded = self["in_prior_eigvec"].astype(np.float64) * self["in_prior_scale"].astype(np.float64)
        return torch.from_numpy(factor.astype(np.float64) @ factor.T.astype(np.float64)), recorded @ recorded.T

    def steps(self) -> tuple[str, int]:
        """Name of the recorded sample and its number of Euler steps."""
        for name in self.arrays:
            count = name.removeprefix("out_sample_euler")
            if count != name and count.isdigit():
                return name, int(count)
        raise ValueError(f"oracle {self.path}: array out_sample_euler<steps> is missing")


def _relative(ours: Tensor, original: np.ndarray) -> float:
    recorded = original.astype(np.float64)
    scale = max(float(np.abs(recorded).max()), np.finfo(np.float32).tiny)
    return float(np.abs(ours.double().numpy() - recorded).max()) / scale


def compare(oracle: Oracle, impls: Sequence[str], dtypes: Sequence[torch.dtype]) -> list[Comparison]:
    """Run every quantity with every back-end and dtype.

    ``drift`` is the network output before centering, ``sample`` the result of Euler sampling from the recorded prior
    sample, ``loss`` the training loss at the recorded time and noise, ``prior covariance`` that of the harmonic prior.
    """
    graph = oracle.graph()
    sample_name, steps = oracle.steps()
    covariance = _relative(*oracle.prior_covariances())
    results = [Comparison("prior covariance", "numpy", "float32", covariance, FLOAT32_TOLERANCE)]
    for dtype in dtypes:
        model = oracle.model(dtype)
        stored64 = oracle["out_drift"].dtype == np.float64
        tolerance = FLOAT64_TOLERANCE if dtype == torch.float64 and stored64 else FLOAT32_TOLERANCE
        positions, x0 = oracle.tensor("in_positions", dtype), oracle.tensor("in_x0", dtype)
        t = oracle.tensor("in_t", dtype)[:1]
        for impl in impls:
            with torch.no_grad():
                drift = model.predict(positions, t, model.encode(graph), impl=impl)
                loss = flow_matching_loss(
                    model,
                    graph,
                    *training_pair(positions, x0, torch.eye(3, dtype=dtype).unsqueeze(0), graph),
                    oracle.tensor("in_loss_tau", dtype).reshape(1),
                    oracle.tensor("in_loss_z", dtype),
                    impl=impl,
                )
            drawn = sample(model, graph, x0, steps=steps, impl=impl)
            for quantity, ours, name in (
                ("drift", drift, "out_drift"),
                (f"sample ({steps} Euler steps)", drawn, sample_name),
                ("loss", loss, "out_loss"),
            ):
                label = str(dtype).removeprefix("torch.")
                results.append(Comparison(quantity, impl, label, _relative(ours, oracle[name]), tolerance))
    return results
