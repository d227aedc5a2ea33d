"""Build of the native library and list of packages; everything else is in pyproject.toml.

Two things are compiled, both optional at run time:

* ``ditkernels/libditkernels.so``: the operators, written against torch's stable ABI (one build serves every torch from
  2.10 up and every Python), from ``csrc/**/*.cpp``.
* ``ditkernels/_build_info``: a pybind11 module that says how the library was built, from ``csrc/info.cpp``.

Environment variables:

* ``DITKERNELS_NO_EXT=1``      install without native code (the reference back-end remains)
* ``DITKERNELS_SANITIZE=1``    build with the address and undefined-behaviour sanitizers
* ``DITKERNELS_EMULATE_AVX512=1``  for tests: the AVX-512 level at its width, in instructions of AVX2, so that it runs
  on processors without AVX-512, slowly
* ``CXX``                      C++ compiler; otherwise the first of g++, clang++, c++
* ``CXXFLAGS``                 flags to add to every compiler call
* ``MAX_JOBS``                 number of compilers to run at once; otherwise the number of cores
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, SetupError

ROOT = Path(__file__).resolve().parent
LIBRARY = "libditkernels"
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
TORCH_TARGET = "0x020a000000000000"  # the stable ABI of torch 2.10, the oldest one supported

COMMON_FLAGS = [
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-Wall",
]
# The members of x86-64-v3 and -v4 by name, since compilers before GCC 11 and Clang 12 do not know the level names.
AVX2_FLAGS = ["-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mmovbe"]
AVX512_FLAGS = [*AVX2_FLAGS, "-mavx512f", "-mavx512bw", "-mavx512cd", "-mavx512dq", "-mavx512vl"]
LEVEL_FLAGS = {"_baseline": [], "_avx2": AVX2_FLAGS, "_avx512": [*AVX512_FLAGS, "-DDITKERNELS_AVX512"]}
if ON_X86:
    # Only processors without AVX2 run this level: half the compile time counts for more than the last of its speed.
    LEVEL_FLAGS["_baseline"] = ["-O2", "-fpeel-loops"]

FIND_TORCH = """
import importlib.util, json, runpy, sys
spec = importlib.util.find_spec("torch")
if spec is not None:
    root = spec.submodule_search_locations[0]
    json.dump([root, runpy.run_path(root + "/version.py")["__version__"]], sys.stdout)
"""


def switched_on(variable: str) -> bool:
    value = os.environ.get(variable, "0")
    if value not in ("", "0", "1"):
        raise SetupError(f"{variable} must be 0 or 1, not {value!r}")
    return value == "1"


def find_compiler() -> list[str] | None:
    """Command of the C++ compiler, or None where there is none; a CXX that does not exist is an error."""
    if os.environ.get("CXX"):
        command = shlex.split(os.environ["CXX"])
        if shutil.which(command[0]) is None:
            raise SetupError(f"the compiler named by CXX does not exist: {command[0]}")
        return command
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    return None


def find_torch() -> tuple[Path, str]:
    """Folder and version of the installed torch.

    Asked from an isolated interpreter (-I), which sees the user's torch even from inside pip's isolated build, so that
    nothing downloads a second one.
    """
    answer = subprocess.run([sys.executable, "-I", "-c", FIND_TORCH], capture_output=True, text=True, check=True)
    if not answer.stdout:
        raise SetupError(
            "ditkernels builds its native operators against the installed torch and found none: run "
            "`pip install torch==2.13.0` first, or set DITKERNELS_NO_EXT=1 to install without native operators"
        )
    folder, version = json.loads(answer.stdout)
    return Path(folder), version


def library_sources() -> list[str]:
    """Sources of the operator library for this processor, relative to the root."""
    found = ROOT.glob("csrc/**/*.cpp")
    names = sorted(path.relative_to(ROOT).as_posix() for path in found if path.name != "info.cpp")
    return [name for name in names if ON_X86 or level_of(name) in (None, "_baseline")]


def level_of(source: str) -> str | None:
    """Suffix of the instruction-set level that a source is compiled for; None for code that has no levels."""
    return next((suffix for suffix in LEVEL_FLAGS if Path(source).stem.endswith(suffix)), None)


class BuildNative(build_ext):
    """Compiles with plain compiler calls: in parallel, and only what changed since the last build."""

    def get_ext_filename(self, fullname: str) -> str:
        # The operator library is no Python module: its name carries no Python version.
        if fullname.rpartition(".")[2] == LIBRARY:
            return fullname.replace(".", os.sep) + ".so"
        return super().get_ext_filename(fullname)

    def run(self) -> None:
        self.compiler_command = find_compiler()
        if self.compiler_command is None:
            print(
                "ditkernels: no C++ compiler found, so the native operators are left out and the reference back-end "
                "is used; `ditkernels info` says how to add them"
            )
            self.extensions = []
            return
        self.torch_folder, self.torch_version = find_torch()
        self.optimization = ["-O3"]
        self.sanitizers: list[str] = []
        if switched_on("DITKERNELS_SANITIZE"):
            self.optimization = ["-O1", "-g", "-fno-omit-frame-pointer"]
            self.sanitizers = ["-fsanitize=address,undefined"]
        if switched_on("DITKERNELS_EMULATE_AVX512"):
            self.optimization.append("-DDITKERNELS_EMULATE_AVX512")
            LEVEL_FLAGS["_avx512"] = [*AVX2_FLAGS, "-DDITKERNELS_AVX512", "-Wno-psabi"]
        self.user_flags = shlex.split(os.environ.get("CXXFLAGS", ""))
        if not self._info_can_be_built():
            self.extensions = [ext for ext in self.extensions if ext.name.endswith(LIBRARY)]
        self.parallel = len(self.extensions)  # the pool below is what limits the number of compilers
        with ThreadPoolExecutor(self._jobs()) as self.pool:
            super().run()

    def _info_can_be_built(self) -> bool:
        try:
            import pybind11
        except ModuleNotFoundError:
            print("ditkernels: pybind11 is not installed, so the build-information module is left out")
            return False
        python_headers = sysconfig.get_paths()["include"]
        if not Path(python_headers, "Python.h").exists():
            print("ditkernels: Python's headers are not installed, so the build-information module is left out")
            return False
        self.info_includes = [python_headers, pybind11.get_include()]
        return True

    def build_extension(self, ext: Extension) -> None:
        flags = [*COMMON_FLAGS, *self.optimization, *self.sanitizers]
        link = list(self.sanitizers)
        if ext.name.endswith(LIBRARY):
            flags += [f"-DTORCH_TARGET_VERSION={TORCH_TARGET}", *self._torch_includes()]
            link += self._torch_link_flags()
        else:
            flags += [*self._info_definitions(), *(f"-I{folder}" for folder in self.info_includes)]
            if sys.platform == "darwin":
                link += ["-undefined", "dynamic_lookup"]

        objects = ROOT / "build" / "native" / self._fingerprint(flags)
        objects.mkdir(parents=True, exist_ok=True)
        compiled = list(self.pool.map(lambda source: self._compile(source, flags, objects), ext.sources))
        target = self.get_ext_fullpath(ext.name)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        self._call([*self.compiler_command, "-shared", *map(str, compiled), *link, "-o", target])

    def _torch_includes(self) -> list[str]:
        include = self.torch_folder / "include"
        return [f"-I{include}", f"-I{include / 'torch' / 'csrc' / 'api' / 'include'}"]

    def _torch_link_flags(self) -> list[str]:
        # No run path: the library is loaded after `import torch`, which has libtorch_cpu in memory.
        flags = [f"-L{self.torch_folder / 'lib'}", "-ltorch_cpu"]
        if sys.platform == "linux" and not self.sanitizers:
            flags.insert(0, "-Wl,--no-undefined")
        return flags

    def _info_definitions(self) -> list[str]:
        levels = {level_of(source) for source in library_sources()}
        facts = {
            "FLAGS": " ".join([*COMMON_FLAGS, *self.optimization, *self.sanitizers, *self.user_flags]),
            "TORCH_VERSION": self.torch_version,
            "TORCH_TARGET": TORCH_TARGET,
            "CPU_LEVELS": " ".join(suffix[1:] for suffix in LEVEL_FLAGS if suffix in levels),
        }
        return [f'-DDITKERNELS_{name}="{value}"' for name, value in facts.items()]

    def _fingerprint(self, flags: list[str]) -> str:
        """Name of the object folder: another compiler, torch or set of flags gets a folder of its own."""
        version = subprocess.run([*self.compiler_command, "--version"], capture_output=True, text=True, check=True)
        key = json.dumps(
            [self.compiler_command, version.stdout, flags, LEVEL_FLAGS, self.user_flags, self.torch_version]
        )
        return hashlib.sha256(key.encode()).hexdigest()[:12]

    def _jobs(self) -> int:
        value = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
        if not value.isdigit() or int(value) < 1:
            raise SetupError(f"MAX_JOBS must be a positive whole number, not {value!r}")
        return int(value)

    def _compile(self, source: str, flags: list[str], folder: Path) -> Path:
        target = folder / (source.replace("/", "-") + ".o")
        depends = target.with_suffix(".d")
        if not self.force and is_current(target, depends):
            return target
        level = LEVEL_FLAGS.get(level_of(source) or "", [])
        output = ["-MMD", "-MF", str(depends), "-c", source, "-o", str(target)]
        began = time.time()
        self._call([*self.compiler_command, *flags, *level, *self.user_flags, *output])
        os.utime(target, (began, began))  # a source that changed during the compilation counts as newer
        return target

    def _call(self, command: list[str]) -> None:
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if result.stderr:
            print(result.stderr, file=sys.stderr)
        if result.returncode:
            raise CompileError(f"this command failed with status {result.returncode}: {shlex.join(command)}")


def is_current(target: Path, depends: Path) -> bool:
    """True where the object is newer than its source and every header that the compiler listed for it."""
    if not target.exists() or not depends.exists():
        return False
    listed = depends.read_text().partition(":")[2].replace("\\\n", " ")
    files = [ROOT / name for name in listed.split()]
    built = target.stat().st_mtime
    return all(file.exists() and file.stat().st_mtime <= built for file in files)


def native_modules() -> list[Extension]:
    if switched_on("DITKERNELS_NO_EXT"):
        return []
    modules = [Extension("ditkernels._build_info", ["csrc/info.cpp"])]
    if library_sources():
        modules.append(Extension(f"ditkernels.{LIBRARY}", library_sources()))
    return modules


setup(
    packages=[
        *find_packages(str(ROOT), include=["ditkernels", "ditkernels.*"]),
        "ditkernels.models",
        *(f"ditkernels.models.{name}" for name in find_packages(str(ROOT / "models"))),
    ],
    package_dir={"ditkernels.models": "models"},
    ext_modules=native_modules(),
    cmdclass={"build_ext": BuildNative},
)
