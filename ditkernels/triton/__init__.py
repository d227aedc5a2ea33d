"""What the Triton kernels of all operators share. Importing this package does not import Triton.

support        whether the kernels can run here, and why not
launch         the one place that launches a kernel, or records it for tests and for compilation without a GPU
schedule       tiles of atoms, longest molecules first, made on the device
blocks         device functions: where a tile lies, heads of a block of channels
segments       sums over all pairs that read the same row of a table
displacements  from gradients of displacements of pairs to gradients of positions
call           what launchers ask of a call: configurations, blocks of heads
configs        block sizes and warps by (operator, form, kernel, dtype, channels, width, atoms, architecture)
compile        compilation for given architectures without a GPU; registers, shared memory, spills, matrix instructions

The table of all kernels, and the measurement of block sizes, are in :mod:`ditkernels.tuning`.
"""
