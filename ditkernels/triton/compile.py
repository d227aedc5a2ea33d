"""Compilation of recorded launches for architectures that are not here, and what the result uses. Needs no GPU."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ditkernels.triton.launch import Launch, options

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
POINTERS = {
    torch.float64: "*fp64",
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.int16: "*i16",
    torch.int8: "*i8",
    torch.uint8: "*u8",
    torch.bool: "*i1",
}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
NVIDIA_MATRIX = re.compile(r"\b(?:HMMA|HGMMA|UTCHMMA|UTCQMMA)\b")
NVIDIA_ACCESS = re.compile(r"\b(?:ld|st)\.global[.\w:]*?(?:\.v(\d))?\.b(\d+)")
NVIDIA_COPY = re.compile(r"\bcp\.async\.c[ag]\.shared\.global[^;]*?, 0x([0-9a-f]+)[,;]")
AMD_ACCESS = re.compile(r"\b(?:global|buffer)_(?:load|store)_(dwordx[234]|dword\b)")
ALIGNMENT = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel uses.

    registers: per thread (vector registers, accumulation registers included, on AMD)
    shared: bytes of shared memory per program
    spills: bytes per thread (NVIDIA: of the local stack) or registers (AMD) that did not fit
    matrix: number of matrix instructions
    products: number of products of half-precision matrices in the source, which should become matrix instructions
    access: bytes that a thread moves at most with one load from or store to global memory
    """

    registers: int
    shared: int
    spills: int
    matrix: int
    products: int
    access: int


def compile_launch(launch: Launch, target: str):
    """The compiled kernel of triton.compile for an architecture of TARGETS, as that launch would have made it."""
    signature, constants, attributes = specialization(launch)
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    chosen = options(launch.config, nvidia=TARGETS[target].backend == "cuda")
    return triton.compile(source, target=TARGETS[target], options=chosen)


def specialization(launch: Launch) -> tuple[dict, dict, dict]:
    """Signature, constants and attributes: tensors are 16-byte aligned as PyTorch allocates them, numbers are what
    triton.jit makes of them.
    """
    signature, constants, attributes = {}, {}, {}
    for place, parameter in enumerate(launch.kernel.params):
        name, value = parameter.name, launch.arguments[parameter.name]
        free = parameter.do_not_specialize
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1 and not free):
            signature[name] = "constexpr"
            constants[name] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            attributes[(place,)] = ALIGNMENT
        elif isinstance(value, int):
            signature[name] = "i32" if -(1 << 31) <= value < 1 << 31 else "i64"
            if value % 16 == 0 and not free:
                attributes[(place,)] = ALIGNMENT
        else:
            signature[name] = "fp32"
    return signature, constants, attributes


def resources(compiled, target: str) -> Resources:
    """Registers, shared memory, spills and matrix instructions of what :func:`compile_launch` returned."""
    products = len(re.findall(r"tt\.dot .*tensor<[0-9x]+x(?:f16|bf16)>", compiled.asm["ttir"]))
    if target.startswith("gfx"):
        assembly = compiled.asm["amdgcn"]

        def number(name: str) -> int:
            return int(re.search(rf"\.{name}:\s+(\d+)", assembly).group(1))

        registers = number("vgpr_count")  # accumulation registers are counted among them on gfx90a and later
        spills = number("vgpr_spill_count") + number("sgpr_spill_count")
        matrix = assembly.count("v_mfma_")
        return Resources(registers, compiled.metadata.shared, spills, matrix, products, widest(compiled, target))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        assembly = _tool("nvdisasm", "-c", file.name) if products else ""
    used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    matrix = len(NVIDIA_MATRIX.findall(assembly))
    spills = used["STACK"] + used["LOCAL"]
    return Resources(used["REG"], compiled.metadata.shared, spills, matrix, products, widest(compiled, target))


def widest(compiled, target: str) -> int:
    """Bytes of the widest access of a thread to global memory; 0 if there is none of 4 bytes or more."""
    if target.startswith("gfx"):
        words = AMD_ACCESS.findall(compiled.asm["amdgcn"])
        return max((4 * int(word.removeprefix("dword").removeprefix("x") or 1) for word in words), default=0)
    code = compiled.asm["ptx"]
    plain = [int(count or 1) * int(bits) // 8 for count, bits in NVIDIA_ACCESS.findall(code)]
    copies = [int(size, 16) for size in NVIDIA_COPY.findall(code)]
    return max((x for x in plain + copies if x >= 4), default=0)


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / name, *arguments], capture_output=True, text=True, check=True).stdout
