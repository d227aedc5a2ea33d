"""torch.library operators of one form of an attention operator, generated from its fields.

An operator NAME with the form F becomes three torch operators, all on the flat layout of :mod:`ditkernels.layout`:

    NAME_F                  out and lse from (query, key, value, <fields>, <layout>, mask, bias, <statics>, impl)
    NAME_F_backward         the gradients of query, key, value, every field, and the bias
    NAME_F_double_backward  the derivatives of that, by PyTorch's autograd on the reference

Statics are arguments that are no tensors: the scale and what the operator adds. A gradient that is not needed (or
belongs to no tensor) is an empty tensor of shape (0,): operator returns cannot be optional. The third derivative
raises. The kernels of the first two are those of the back-end that the argument ``impl`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from ditkernels.attention import batching
from ditkernels.attention.checks import cast
from ditkernels.attention.fields import Field

LIBRARY = torch.library.Library("ditkernels", "FRAGMENT")

TOKENS = "Tensor query, Tensor key, Tensor value"
LAYOUT = "Tensor offsets, Tensor lengths, Tensor pair_offsets, SymInt pair_stride"
MASK_AND_BIAS = "Tensor? mask, Tensor? bias"
NUM_LAYOUT = 4
DEVICES = ("CPU", "CUDA")  # dispatch keys; which back-end runs where is its own matter


def register(
    name: str, kernel: Callable, fake: Callable, vjp: Callable, save: Callable, inputs: list, outputs: list
) -> Callable:
    """Register an operator that is defined already, and return the function that calls it.

    One autograd.Function serves eager and compiled autograd (through the dispatcher) and torch.func (called directly).
    torch.library.register_autograd does not compose with torch.func, and reads the schema in every call (about 50 us).
    """
    for device in DEVICES:
        LIBRARY.impl(name, kernel, device)
    torch.library.register_fake(f"ditkernels::{name}", fake, lib=LIBRARY)
    op = getattr(torch.ops.ditkernels, name).default

    def call(*args):
        if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
            return Differentiable.apply(*args)
        return op(*args)

    def below_autograd(*args):
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)

    def autograd(*args):
        if torch.is_grad_enabled() and torch._C._any_requires_grad(*args):
            return Differentiable.apply(*args)
        return below_autograd(*args)

    rule = batching.rule(call, inputs, outputs)
    members = {"forward": op, "setup_context": save, "backward": vjp, "vmap": rule}
    Differentiable = type(name, (torch.autograd.Function,), {k: staticmethod(member) for k, member in members.items()})
    LIBRARY.impl(name, autograd, "Autograd")
    torch.library.register_vmap(f"ditkernels::{name}", rule, lib=LIBRARY)
    return call


class Form:
    """The torch operators of one form of an attention operator. ``n`` counts the fields.

    operator: name of the operator, for schemas and messages
    fields: tensors beside query, key and value
    statics: schemas of the arguments that are no tensors, such as ``"float scale"``
    backends: implementations by name, looked up in every call
    attention: the reference, called like a back-end's ``forward``
    out_shape: shape of the result from (query, value, fields, statics)
    """

    def __init__(
        self,
        operator: str,
        form: str,
        fields: tuple[Field, ...],
        statics: tuple[str, ...],
        backends: Mapping[str, ModuleType],
        attention: Callable[..., tuple[Tensor, Tensor]],
        out_shape: Callable[[Tensor, Tensor, tuple, tuple], tuple],
    ):
        self.operator, self.form, self.fields = operator, form, fields
        self.backends, self.attention, self.out_shape = backends, attention, out_shape
        self.n, self.num_statics = len(fields), len(statics)
        name = f"{operator}_{form}"
        own = ", ".join(f"Tensor{'?' if f.optional else ''} {f.name}" for f in fields)
        arguments = ", ".join((own, LAYOUT, MASK_AND_BIAS, *statics))
        names = ["query", "key", "value", *(f.name for f in fields), "bias"]
        grads = ", ".join(f"Tensor d_{name}" for name in names)
        cotangents = ", ".join(f"Tensor? dd_{name}" for name in names)
        self.define(name, f"({TOKENS}, {arguments}, str impl) -> (Tensor out, Tensor lse)")
        self.define(
            f"{name}_backward",
            f"(Tensor grad_out, {TOKENS}, Tensor out, Tensor lse, {arguments}, bool[] needs, str impl) -> ({grads})",
        )
        self.define(
            f"{name}_double_backward",
            f"({cotangents}, Tensor grad_out, {TOKENS}, {arguments}, bool[] needs) -> (Tensor dd_grad_out, {grads})",
        )

        rows = batching.rows(fields, self.num_statics)
        self.call = register(name, self.forward, self.fake_forward, self.forward_vjp, self.save_forward, *rows[0])
        self.call_backward = register(
            f"{name}_backward", self.backward, self.fake_backward, self.backward_vjp, self.save_backward, *rows[1]
        )
        self.call_double_backward = register(
            f"{name}_double_backward",
            self.double_backward,
            self.fake_double_backward,
            self.no_third_derivative,
            _save_nothing,
            *rows[2],
        )
        for device in DEVICES:
            LIBRARY.impl(name, self.autocast(device), f"Autocast{device}")

    @staticmethod
    def define(name: str, schema: str) -> None:
        LIBRARY.define(name + schema, tags=torch.Tag.pt2_compliant_tag)

    def split(self, args: tuple) -> tuple[tuple, tuple, tuple, tuple]:
        """(<fields>, <layout>, mask, bias, <statics>, ...) as four tuples."""
        layout = self.n
        options = layout + NUM_LAYOUT
        statics = options + 2
        return args[:layout], args[layout:options], args[options:statics], args[statics : statics + self.num_statics]

    def backend(self, impl: str) -> ModuleType:
        if impl not in self.backends:
            names = ", ".join(self.backends) or "none"
            raise RuntimeError(f"{self.operator} has no back-end {impl!r}; there is {names} (and impl='reference')")
        return self.backends[impl]

    def save(self, ctx, tensors: tuple, args: tuple) -> None:
        """Keep for a vjp: some tensors, the fields, the layout, mask and bias; statics as they are."""
        fields, layout, options, ctx.statics = self.split(args)
        *places, ctx.pair_stride = layout
        ctx.save_for_backward(*tensors, *fields, *places, *options)

    # forward

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *args) -> tuple[Tensor, Tensor]:
        fields, layout, options, statics = self.split(args)
        tokens = [x.contiguous() for x in (q, k, v)]
        return self.backend(args[-1]).forward(self.form, *tokens, fields, *layout, *options, *statics)

    def fake_forward(self, q: Tensor, k: Tensor, v: Tensor, *args) -> tuple[Tensor, Tensor]:
        fields, _, _, statics = self.split(args)
        dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
        out = q.new_empty(self.out_shape(q, v, fields, statics))
        return out, q.new_empty((q.shape[0], q.shape[-2]), dtype=dtype)

    def save_forward(self, ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        ctx.impl = inputs[-1]
        ctx.mark_non_differentiable(output[1])
        self.save(ctx, (*inputs[:3], *output), inputs[3:])

    def forward_vjp(self, ctx, grad_out: Tensor, _grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        needs = [*wanted[3 : 3 + self.n], wanted[3 + self.n + NUM_LAYOUT + 1]]
        grads = self.call_backward(grad_out, *saved[:-2], ctx.pair_stride, *saved[-2:], *ctx.statics, needs, ctx.impl)
        *d_fields, d_bias = _chosen(grads[3:], needs)
        return (*grads[:3], *d_fields, *[None] * NUM_LAYOUT, None, d_bias, *[None] * (self.num_statics + 1))

    # backward

    def backward(
        self, grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *args
    ) -> tuple[Tensor, ...]:
        (fields, layout, options, statics), (needs, impl) = self.split(args), args[-2:]
        tokens = [x.contiguous() for x in (grad_out, q, k, v, out, lse)]  # a gradient can arrive with stride 0
        dq, dk, dv, d_fields, d_bias = self.backend(impl).backward(
            self.form, *tokens, fields, *layout, *options, *statics, tuple(needs)
        )
        return dq, dk, dv, *(q.new_empty(0) if d is None else d for d in (*d_fields, d_bias))

    def fake_backward(
        self, grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *args
    ) -> tuple[Tensor, ...]:
        fields, _, (_, bias), _ = self.split(args)
        return _like((q, k, v, *fields, bias), (True, True, True, *args[-2]), q)

    def save_backward(self, ctx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        self.save(ctx, inputs[:4], inputs[6:])

    def backward_vjp(self, ctx, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        needs = [*wanted[:4], *wanted[6 : 6 + self.n], wanted[6 + self.n + NUM_LAYOUT + 1]]
        grads = self.call_double_backward(*cotangents, *saved[:-2], ctx.pair_stride, *saved[-2:], *ctx.statics, needs)
        *d_inputs, d_bias = _chosen(grads, needs)
        nothing = [None] * (self.num_statics + 2)
        # Nothing flows to out and lse: the derivatives of q, k, ... already hold the part that goes through them.
        return (*d_inputs[:4], None, None, *d_inputs[4:], *[None] * NUM_LAYOUT, None, d_bias, *nothing)

    # second derivatives

    def double_backward(self, *args) -> tuple[Tensor, ...]:
        cotangents, (grad_out, q, k, v), args = args[: 4 + self.n], args[4 + self.n : 8 + self.n], args[8 + self.n :]
        (fields, layout, (mask, bias), statics), needs = self.split(args), args[-1]
        inputs = (grad_out, q, k, v, *fields, bias)
        with autograd_in_kernel():
            leaves = [x.detach().requires_grad_() if x is not None and x.is_floating_point() else x for x in inputs]
            grad_out, q, k, v, *fields, bias = leaves
            out, _ = self.attention(self.form, q, k, v, tuple(fields), *layout, mask, bias, *statics)
            given = [i for i, dd in enumerate(cotangents) if dd is not None and dd.numel() > 0]
            wanted = [i for i, need in enumerate(needs) if need]
            seconds = [torch.zeros_like(leaves[i]) for i in wanted]
            if given and wanted:
                firsts = torch.autograd.grad(
                    out,
                    [leaves[1 + i] for i in given],
                    grad_out,
                    create_graph=True,
                    allow_unused=True,
                    materialize_grads=True,
                )
                # A gradient that is zero everywhere hangs on nothing.
                linked = [i for i, first in zip(given, firsts, strict=True) if first.requires_grad]
                firsts = [first for first in firsts if first.requires_grad]
                cotangents = [cotangents[i] for i in linked]
                if firsts:
                    options = {"allow_unused": True, "materialize_grads": True}
                    seconds = torch.autograd.grad(firsts, [leaves[i] for i in wanted], cotangents, **options)
        results = dict(zip(wanted, seconds, strict=True))
        return tuple(results[i].detach().contiguous() if i in results else q.new_empty(0) for i in range(len(inputs)))

    def fake_double_backward(self, *args) -> tuple[Tensor, ...]:
        tokens, args = args[4 + self.n : 8 + self.n], args[8 + self.n :]
        (fields, _, (_, bias), _), needs = self.split(args), args[-1]
        return _like((*tokens, *fields, bias), needs, tokens[0])

    def no_third_derivative(self, ctx, *grads: Tensor):
        raise RuntimeError(
            f"third derivatives are not implemented for {self.operator}; impl='reference' has derivatives of any order"
        )

    # autocast

    def autocast(self, device: str) -> Callable:
        """Tokens and features in the autocast dtype; geometry, index, mask and bias as they are."""
        keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, f"Autocast{device}"))
        features = [True] * 3 + [field.kind == "feature" for field in self.fields]

        def kernel(*args):
            dtype = torch.get_autocast_dtype(device.lower())
            casted = [cast(x, dtype) if feature else x for x, feature in zip(args, features, strict=False)]
            with torch._C._ExcludeDispatchKeyGuard(keys):
                return self.call(*casted, *args[len(features) :])

        return kernel


@contextmanager
def autograd_in_kernel():
    """Autograd inside the kernel of an operator, where the dispatcher has switched it off; without autocast."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for name in ("AutogradFunctionality", "AutogradCPU", "AutogradCUDA", "AutogradOther"):
        excluded = excluded.remove(getattr(torch._C.DispatchKey, name))
    for device in DEVICES:
        excluded = excluded.add(getattr(torch._C.DispatchKey, f"Autocast{device}"))
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded), torch.enable_grad():
        yield


def _like(tensors: tuple[Tensor | None, ...], needs: tuple[bool, ...], q: Tensor) -> tuple[Tensor, ...]:
    return tuple(
        x.new_empty(x.shape) if need and x is not None else q.new_empty(0)
        for x, need in zip(tensors, needs, strict=True)
    )


def _chosen(grads: tuple[Tensor, ...], needs: list[bool]) -> list[Tensor | None]:
    return [grad if need else None for grad, need in zip(grads, needs, strict=True)]


def _save_nothing(ctx, inputs: tuple, output: tuple) -> None:
    pass
