"""SO(3) attention on GPUs by Triton kernels: float32, bfloat16 and float16. Importing this does not import Triton."""

from __future__ import annotations

from ditkernels.triton.support import unsupported

__all__ = ["backward", "forward", "unsupported"]


def forward(*arguments):
    """out and lse, see :func:`ditkernels.so3_attention.impl.triton.launcher.forward`."""
    from ditkernels.so3_attention.impl.triton import launcher

    return launcher.forward(*arguments)


def backward(*arguments):
    """The gradients, see :func:`ditkernels.so3_attention.impl.triton.launcher.backward`."""
    from ditkernels.so3_attention.impl.triton import launcher

    return launcher.backward(*arguments)
