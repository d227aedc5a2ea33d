"""torch.library operators of SO(3) attention: three for every form, see :mod:`ditkernels.attention.registration`."""

from __future__ import annotations

from torch import Tensor

from ditkernels.attention.registration import Form
from ditkernels.so3_attention.descriptors import FILTER, FORMS
from ditkernels.so3_attention.impl import BACKENDS, reference
from ditkernels.so3_attention.spec import degrees_of, spec

# irreps: see spec.join; kind and cutoff: of the radial basis, "" and 0 for dense weights
STATICS = ("float scale", "bool exclude_self", "str irreps", "str kind", "float cutoff")


def _out_shape(query: Tensor, value: Tensor, fields: tuple, statics: tuple) -> tuple:
    return (query.shape[0], spec(statics[2], degrees_of(fields[FILTER].shape[1])).dims[2], *query.shape[2:])


OPERATORS = {
    form: Form("so3_attention", form, fields, STATICS, BACKENDS, reference.attention, _out_shape).call
    for form, fields in FORMS.items()
}
