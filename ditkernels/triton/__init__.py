"""What the Triton kernels of all operators share. Importing this package does not import Triton.

support    whether the kernels can run here, and why not
launch     the one place that launches a kernel, or records it for tests and for compilation without a GPU
schedule   tiles of atoms, longest molecules first, made on the device
blocks     device functions: where a tile lies, heads of a block of channels
configs    block sizes and warps by (operator, form, kernel, dtype, channels, width, atoms, architecture)
compile    compilation for given architectures without a GPU; registers, shared memory, spills, matrix instructions
report     ``python -m ditkernels.triton.report``: the table of all kernels, with bytes, operations and floors
"""
