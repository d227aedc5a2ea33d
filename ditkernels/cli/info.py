"""``ditkernels info``: what is installed, which back-ends can run here, and what to do about what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform

import click

# Distribution name -> (import name, extra that brings it, what it is for).
OPTIONAL = {
    "triton": ("triton", "triton", "GPU kernels that need no compiler"),
    "rdkit": ("rdkit", "models", "reading and writing molecules"),
    "safetensors": ("safetensors", "models", "reading and writing weights"),
    "PyYAML": ("yaml", "models", "training configurations"),
    "tqdm": ("tqdm", "models", "progress bars"),
    "matplotlib": ("matplotlib", "models", "pictures"),
    "tensorboard": ("tensorboard", "train", "training logs"),
}
OPERATORS = ("pair_attention", "so3_attention")


@click.command(name="info")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(as_json: bool) -> None:
    """Show what is installed, which back-ends can run here and what is missing."""
    facts = {
        "ditkernels": importlib.metadata.version("ditkernels"),
        "system": _system(),
        "native": _native(),
        "devices": _devices(),
        **{operator: _backends(operator) for operator in OPERATORS},
        "packages": {name: _version(name, package) for name, (package, _, _) in OPTIONAL.items()},
        "models": _models(),
    }
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(_lines(facts)))


def _system() -> dict:
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(terse=True),
        "architecture": platform.machine(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def _native() -> dict:
    """State of the operator library: ``missing`` is the reason and the remedy, or null."""
    from ditkernels import _native

    facts = {"missing": _native.reason, "cpu_level": None, "build": _build()}
    facts["cpu_level_override"] = os.environ.get("DITKERNELS_CPU_LEVEL")
    if _native.available:
        facts["cpu_level"] = _native.cpu_level()
    return facts


def _build() -> dict | None:
    """Facts of the build-information module; None where that module was not built."""
    if importlib.util.find_spec("ditkernels._build_info") is None:
        return None
    from ditkernels import _build_info

    return {name: value for name, value in vars(_build_info).items() if not name.startswith("_")}


def _devices() -> list[str]:
    import torch

    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _backends(operator: str) -> dict:
    """Per device, form and implementation: null where it can run on float32, else the reason; and what "auto" takes."""
    import torch

    package = importlib.import_module(f"ditkernels.{operator}")
    forms = importlib.import_module(f"ditkernels.{operator}.descriptors").FORMS
    backends = importlib.import_module(f"ditkernels.{operator}.impl").BACKENDS
    table = {}
    for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        device = torch.device(kind)
        table[kind] = {
            form: {
                "auto": package.select_impl(device, torch.float32, form),
                "unsupported": {name: b.unsupported(form, device, torch.float32) for name, b in backends.items()},
            }
            for form in forms
        }
    return table


def _version(distribution: str, package: str) -> str | None:
    if importlib.util.find_spec(package) is None:
        return None
    return importlib.metadata.version(distribution)


def _models() -> list[str] | None:
    """Names of the shipped models; None where the packages that load them are missing."""
    if importlib.util.find_spec("safetensors") is None:
        return None
    from ditkernels.models.weights import pretrained_models

    return pretrained_models()


def _lines(facts: dict):
    system, native, build = facts["system"], facts["native"], facts["native"]["build"]
    yield f"ditkernels {facts['ditkernels']}"
    yield f"  python {system['python']}, torch {system['torch']}, {system['platform']} ({system['architecture']})"
    yield f"  {system['threads']} threads on {system['cores']} cores"
    yield f"  CUDA devices: {', '.join(facts['devices']) or 'none'}"
    yield "native operators"
    if native["missing"]:
        yield f"  missing: {native['missing']}"
    else:
        chosen = native["cpu_level_override"]
        origin = "set by DITKERNELS_CPU_LEVEL" if chosen else "best one here; DITKERNELS_CPU_LEVEL chooses another"
        yield f"  CPU level {native['cpu_level']} ({origin})"
    if build:
        yield f"  levels built: {', '.join(build['cpu_levels'])}"
        yield f"  built by {build['compiler']} for {build['architecture']} with torch {build['torch_version']}"
        yield f"  flags {build['flags']}"
    elif not native["missing"]:
        yield "  build information: not built (needs pybind11 and Python's headers at build time)"
    for operator in OPERATORS:
        yield from _backend_lines(operator, facts[operator])
    yield "optional packages"
    for name, version in facts["packages"].items():
        _, extra, purpose = OPTIONAL[name]
        yield f"  {name:<12} {version or 'missing':<12} {purpose}" + (
            "" if version else f": pip install 'ditkernels[{extra}]'"
        )
    yield "models"
    if facts["models"] is None:
        yield "  unknown: reading them needs `pip install 'ditkernels[models]'`"
    else:
        yield f"  {', '.join(facts['models']) or 'none shipped'}"


def _backend_lines(operator: str, table: dict):
    for device, forms in table.items():
        yield f"{operator} on {device} (what impl=auto uses for float32)"
        for form, row in forms.items():
            yield f"  {form:<13} {row['auto']}"
        # A reason is the same for most forms: say it once.
        reasons: dict[str, list[str]] = {}
        for form, row in forms.items():
            for name, reason in row["unsupported"].items():
                if reason is not None:
                    reasons.setdefault(f"{name} cannot run ({reason})", []).append(form)
        for reason, names in reasons.items():
            yield f"  {', '.join(names)}: {reason}"
