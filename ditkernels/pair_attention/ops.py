"""torch.library operators of pair attention, generated from the one table of forms.

For each form F there are three operators, all on the flat layout of :mod:`ditkernels.layout`:

    pair_attention_F                  out and lse from (query, key, value, <pair>, <layout>, mask, bias, ..., impl)
    pair_attention_F_backward         the gradients of query, key, value, every pair tensor, and the bias
    pair_attention_F_double_backward  the derivatives of that, by PyTorch's autograd on the reference

A gradient that is not needed (or belongs to no tensor) is an empty tensor of shape (0,): operator returns cannot be
optional. The third derivative raises. The kernels of the first two are those of the back-end that the argument ``impl``
names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import Tensor

from ditkernels.pair_attention import batching
from ditkernels.pair_attention.checks import cast
from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.pair_attention.impl import BACKENDS, reference

LIBRARY = torch.library.Library("ditkernels", "FRAGMENT")
OPERATORS: dict[str, Callable] = {}

TOKENS = "Tensor query, Tensor key, Tensor value"
LAYOUT = "Tensor offsets, Tensor lengths, Tensor pair_offsets, SymInt pair_stride"
OPTIONS = "Tensor? mask, Tensor? bias, float scale, bool exclude_self"
NUM_LAYOUT, NUM_OPTIONS = 4, 4
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
    """The operators of one form: schemas and the functions torch.library asks for. ``p`` counts the pair tensors."""

    def __init__(self, form: str):
        self.form, self.fields = form, FORMS[form]
        self.name = f"pair_attention_{form}"
        self.p = len(self.fields)
        pair = ", ".join(f"Tensor{'?' if f.optional else ''} {f.name}" for f in self.fields)
        arguments = f"{pair}, {LAYOUT}, {OPTIONS}"
        names = ["query", "key", "value", *(f.name for f in self.fields), "bias"]
        grads = ", ".join(f"Tensor d_{name}" for name in names)
        cotangents = ", ".join(f"Tensor? dd_{name}" for name in names)
        self.define(self.name, f"({TOKENS}, {arguments}, str impl) -> (Tensor out, Tensor lse)")
        self.define(
            f"{self.name}_backward",
            f"(Tensor grad_out, {TOKENS}, Tensor out, Tensor lse, {arguments}, bool[] needs, str impl) -> ({grads})",
        )
        self.define(
            f"{self.name}_double_backward",
            f"({cotangents}, Tensor grad_out, {TOKENS}, {arguments}, bool[] needs) -> (Tensor dd_grad_out, {grads})",
        )

        rows = batching.rows(self.fields)
        self.call = register(self.name, self.forward, self.fake_forward, self.forward_vjp, self.save_forward, *rows[0])
        self.call_backward = register(
            f"{self.name}_backward", self.backward, self.fake_backward, self.backward_vjp, self.save_backward, *rows[1]
        )
        self.call_double_backward = register(
            f"{self.name}_double_backward",
            self.double_backward,
            self.fake_double_backward,
            _no_third_derivative,
            _save_nothing,
            *rows[2],
        )
        for device in DEVICES:
            LIBRARY.impl(self.name, self.autocast(device), f"Autocast{device}")

    @staticmethod
    def define(name: str, schema: str) -> None:
        LIBRARY.define(name + schema, tags=torch.Tag.pt2_compliant_tag)

    def split(self, args: tuple) -> tuple[tuple, tuple, tuple]:
        """(<pair>, <layout>, mask, bias, scale, exclude_self, ...) as three tuples: pair, layout, options."""
        layout = self.p + NUM_LAYOUT
        return args[: self.p], args[self.p : layout], args[layout : layout + NUM_OPTIONS]

    # forward

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *args) -> tuple[Tensor, Tensor]:
        pair, layout, options = self.split(args)
        tokens = [x.contiguous() for x in (q, k, v)]
        return _backend(args[-1]).forward(self.form, *tokens, pair, *layout, *options)

    def fake_forward(self, q: Tensor, k: Tensor, v: Tensor, *args) -> tuple[Tensor, Tensor]:
        dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
        return q.new_empty(q.shape), q.new_empty(q.shape[:2], dtype=dtype)

    def save_forward(self, ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        pair, layout, (mask, bias, ctx.scale, ctx.exclude_self) = self.split(inputs[3:])
        *places, ctx.pair_stride = layout
        ctx.impl = inputs[-1]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:3], *output, *pair, *places, mask, bias)

    def forward_vjp(self, ctx, grad_out: Tensor, _grad_lse: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        needs = [*wanted[3 : 3 + self.p], wanted[3 + self.p + NUM_LAYOUT + 1]]
        grads = self.call_backward(
            grad_out, *saved[:-2], ctx.pair_stride, *saved[-2:], ctx.scale, ctx.exclude_self, needs, ctx.impl
        )
        *d_pair, d_bias = _chosen(grads[3:], needs)
        return (*grads[:3], *d_pair, *[None] * NUM_LAYOUT, None, d_bias, None, None, None)

    # backward

    def backward(
        self, grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *args
    ) -> tuple[Tensor, ...]:
        (pair, layout, options), (needs, impl) = self.split(args), args[-2:]
        tokens = [x.contiguous() for x in (grad_out, q, k, v, out, lse)]  # a gradient can arrive with stride 0
        dq, dk, dv, d_pair, d_bias = _backend(impl).backward(self.form, *tokens, pair, *layout, *options, tuple(needs))
        return dq, dk, dv, *(q.new_empty(0) if d is None else d for d in (*d_pair, d_bias))

    def fake_backward(
        self, grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, *args
    ) -> tuple[Tensor, ...]:
        (pair, _, options), needs = self.split(args), args[-2]
        return _like((q, k, v, *pair, options[1]), (True, True, True, *needs), q)

    def save_backward(self, ctx, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        pair, layout, (mask, bias, ctx.scale, ctx.exclude_self) = self.split(inputs[6:])
        *places, ctx.pair_stride = layout
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:4], *pair, *places, mask, bias)

    def backward_vjp(self, ctx, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        needs = [*wanted[:4], *wanted[6 : 6 + self.p], wanted[6 + self.p + NUM_LAYOUT + 1]]
        grads = self.call_double_backward(
            *cotangents, *saved[:-2], ctx.pair_stride, *saved[-2:], ctx.scale, ctx.exclude_self, needs
        )
        *d_inputs, d_bias = _chosen(grads, needs)
        # Nothing flows to out and lse: the derivatives of q, k, ... already hold the part that goes through them.
        return (*d_inputs[:4], None, None, *d_inputs[4:], *[None] * NUM_LAYOUT, None, d_bias, None, None, None, None)

    # second derivatives

    def double_backward(self, *args) -> tuple[Tensor, ...]:
        cotangents, (grad_out, q, k, v), args = args[: 4 + self.p], args[4 + self.p : 8 + self.p], args[8 + self.p :]
        (pair, layout, (mask, bias, scale, exclude_self)), needs = self.split(args), args[-1]
        inputs = (grad_out, q, k, v, *pair, bias)
        with autograd_in_kernel():
            leaves = [x.detach().requires_grad_() if x is not None and x.is_floating_point() else x for x in inputs]
            grad_out, q, k, v, *pair, bias = leaves
            out, _ = reference.attention(self.form, q, k, v, tuple(pair), *layout, mask, bias, scale, exclude_self)
            given = [i for i, dd in enumerate(cotangents) if dd is not None and dd.numel() > 0]
            wanted = [i for i, need in enumerate(needs) if need]
            seconds = [torch.zeros_like(leaves[i]) for i in wanted]
            if given and wanted:
                firsts = torch.autograd.grad(out, [leaves[1 + i] for i in given], grad_out, create_graph=True)
                cotangents = [cotangents[i] for i in given]
                options = {"allow_unused": True, "materialize_grads": True}
                seconds = torch.autograd.grad(firsts, [leaves[i] for i in wanted], cotangents, **options)
        results = dict(zip(wanted, seconds, strict=True))
        return tuple(results[i].detach().contiguous() if i in results else q.new_empty(0) for i in range(len(inputs)))

    def fake_double_backward(self, *args) -> tuple[Tensor, ...]:
        tokens, args = args[4 + self.p : 8 + self.p], args[8 + self.p :]
        (pair, _, options), needs = self.split(args), args[-1]
        return _like((*tokens, *pair, options[1]), needs, tokens[0])

    # autocast

    def autocast(self, device: str) -> Callable:
        """Tokens and pair features in the autocast dtype; positions, v1, index, mask and bias as they are."""
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


def _backend(impl: str):
    if impl not in BACKENDS:
        raise RuntimeError(
            f"pair_attention has no back-end {impl!r}; there is {', '.join(BACKENDS) or 'none'} (and impl='reference')"
        )
    return BACKENDS[impl]


def _like(tensors: tuple[Tensor | None, ...], needs: tuple[bool, ...], q: Tensor) -> tuple[Tensor, ...]:
    return tuple(
        x.new_empty(x.shape) if need and x is not None else q.new_empty(0)
        for x, need in zip(tensors, needs, strict=True)
    )


def _chosen(grads: tuple[Tensor, ...], needs: list[bool]) -> list[Tensor | None]:
    return [grad if need else None for grad, need in zip(grads, needs, strict=True)]


def _save_nothing(ctx, inputs: tuple, output: tuple) -> None:
    pass


def _no_third_derivative(ctx, *grads: Tensor):
    raise RuntimeError(
        "third derivatives are not implemented for pair_attention; impl='reference' has derivatives of any order"
    )


for _form in FORMS:
    OPERATORS[_form] = Form(_form).call
