"""torch.library operators of pair attention: three for every form, see :mod:`ditkernels.attention.registration`."""

from __future__ import annotations

from ditkernels.attention.registration import Form
from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.pair_attention.impl import BACKENDS, reference

STATICS = ("float scale", "bool exclude_self")

OPERATORS = {
    form: Form(
        "pair_attention",
        form,
        fields,
        STATICS,
        BACKENDS,
        reference.attention,
        out_shape=lambda query, value, fields, statics: query.shape,
    ).call
    for form, fields in FORMS.items()
}
