"""What is known about the Triton kernels without a GPU, and what only a GPU tells.

problems   typical calls of both operators
report     ``ditkernels kernels``: registers, shared memory, spills, bytes, operations and floors
tune       ``ditkernels tune``: the fastest configuration of every kernel on the present GPU
"""
