"""Argument checks of SO(3) attention; each mistake is one ValueError, see :mod:`ditkernels.attention.checks`."""

from __future__ import annotations

from torch import Tensor

from ditkernels.attention import checks, cutoff, selection
from ditkernels.layout import Layout
from ditkernels.so3 import Irreps
from ditkernels.so3.radial import check_radial_basis
from ditkernels.so3_attention.descriptors import COMMON, FORMS, RadialDescriptor, tensors
from ditkernels.so3_attention.impl import BACKENDS
from ditkernels.so3_attention.spec import degrees_of, join, spec

RAGGED, PADDED = "(T, M, H, D)", "(B, N, M, H, D)"


def irreps(qk: Irreps | str, values: Irreps | str | None, outputs: Irreps | str | None) -> str:
    """The three irreps lists as the operators take them; values and outputs are those of the queries by default."""
    texts = (given if given is None or isinstance(given, str) else str(given) for given in (qk, values, outputs))
    return join(*texts)


def arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    positions: Tensor,
    path_weight: Tensor,
    radial: RadialDescriptor,
    irreps: str,
    cu_seqlens: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    weight: Tensor | None,
    impl: str,
) -> None:
    """Types, shapes, dtypes, devices and strides of all arguments; reads no tensor values. weight: the cutoff."""
    selection.known(impl, BACKENDS)
    checks.tokens("query", query, RAGGED, PADDED, axes=4)
    padded = query.dim() == 5
    sizes = checks.batch(query, padded, cu_seqlens, lengths, RAGGED, PADDED)
    lists = spec(irreps, 1)
    _components("query", query, "irreps_qk", lists.dims[0], query)
    _components("key", key, "irreps_qk", lists.dims[0], query)
    _components("value", value, "irreps_v", lists.dims[1], query)

    fields = FORMS[form(radial)]
    _basis(radial)
    sizes["A"] = len(lists.degrees[0])
    own = fields[len(COMMON) :]
    for field, x in zip(own, tensors(radial), strict=True):
        checks.field(field, x, query, padded, sizes)
    degrees = degrees_of(sizes["J"])
    if degrees == 0:
        name = "g" if radial.form == "dense" else "weight_g"
        raise ValueError(f"{name} must have 1, 2 or 3 filter degrees J, got J = {sizes['J']}")
    sizes["W"] = len(spec(irreps, degrees).steps)
    if sizes["W"] == 0:
        raise ValueError(f"irreps_out: no path leads from irreps_v by filters of degree < {degrees} ({irreps})")
    for field, x in zip(COMMON, (positions, path_weight), strict=True):
        checks.field(field, x, query, padded, sizes)
    checks.mask_and_bias(mask, bias, query, padded, sizes)
    cutoff.check(weight, query, padded, sizes)


def layout(
    query: Tensor,
    radial: RadialDescriptor,
    cu_seqlens: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    check: bool,
) -> Layout:
    """The layout of checked arguments; compares cu_seqlens, lengths and index with their ranges where it can."""
    fields = FORMS[radial.form][len(COMMON) :]
    per_pair = [x for field, x in zip(fields, tensors(radial), strict=True) if field.per_pair]
    result = checks.layout(query, query.dim() == 5, [*per_pair, mask, bias], cu_seqlens, lengths, check)
    if check:
        checks.index_range(getattr(radial, "index", None), getattr(radial, "scaling", None), "scaling")
    return result


def form(radial: RadialDescriptor) -> str:
    """The form of a descriptor; ValueError where it is none."""
    if not isinstance(radial, RadialDescriptor):
        raise ValueError(f"radial must be DenseRadial or RadialBasis, got {type(radial).__name__}")
    return radial.form


def _components(name: str, x: Tensor, irreps: str, components: int, query: Tensor) -> None:
    """Token tensors have the components of their irreps, and agree with query in everything else."""
    checks.is_tensor(name, x)
    expected = (*query.shape[:-3], components, *query.shape[-2:])
    if tuple(x.shape) != expected:
        raise ValueError(
            f"{name} must have shape {expected} ({components} components of {irreps}), got {checks.shape(x)}"
        )
    checks.has_dtype(name, x, (query.dtype,), "the dtype of query")
    checks.on_device(name, x, query)


def _basis(radial: RadialDescriptor) -> None:
    if radial.form != "basis":
        return
    try:
        check_radial_basis(radial.kind, 1, radial.cutoff)
    except ValueError as error:
        raise ValueError(f"RadialBasis: {error}") from error
    if (radial.index is None) != (radial.scaling is None):
        raise ValueError("index and scaling of RadialBasis must be given together or not at all")
