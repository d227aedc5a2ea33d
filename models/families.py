"""The families of networks, and what each brings: a configuration, a network, and how it is trained.

A family is named where values are read (``"family"`` in config.json, ``model.family`` in a training configuration);
without a name it is ``ditmc``. Its modules are imported when they are asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Family:
    """name: as in files; package: of its modules ``config`` and ``training``; network, config: names of its classes."""

    name: str
    package: str
    network_name: str
    config_name: str

    @property
    def config(self) -> type:
        """The configuration of a network: ``named``, ``from_dict``, ``to_json``."""
        return getattr(importlib.import_module(f"{self.package}.config"), self.config_name)

    @property
    def named(self) -> dict:
        """Its named configurations."""
        return self.config.NAMED

    @property
    def network(self) -> type:
        """The ``nn.Module``, made from a configuration, which it keeps as ``config``."""
        return getattr(importlib.import_module(f"{self.package}.model"), self.network_name)

    @property
    def training(self) -> ModuleType:
        """Module with the classes ``Training`` (the configuration of a run) and ``Recipe``."""
        return importlib.import_module(f"{self.package}.training")


FAMILIES = {
    family.name: family
    for family in (
        Family("ditmc", "ditkernels.models.ditmc", "DiTMC", "DiTMCConfig"),
        Family("d3mes", "ditkernels.models.d3mes", "D3MES", "D3MESConfig"),
    )
}


def family_of(model: str | dict | object) -> Family:
    """The family of a configuration: of its name, of its plain values, or of the object itself.

    Raises ValueError for a name or a family that nobody knows.
    """
    if isinstance(model, str):
        found = next((family for family in FAMILIES.values() if model in family.named), None)
        if found is None:
            known = ", ".join(name for family in FAMILIES.values() for name in sorted(family.named))
            raise ValueError(f"unknown model configuration {model!r}; known are {known}")
        return found
    if isinstance(model, dict):
        name = model.get("family", "ditmc")
        if name not in FAMILIES:
            raise ValueError(f"model config: family must be one of {', '.join(FAMILIES)}, got {name!r}")
        return FAMILIES[name]
    return next(family for family in FAMILIES.values() if type(model).__name__ == family.config_name)


def config_from_values(values: str | dict) -> object:
    """The configuration of a network from its name or its plain values; errors as :func:`family_of`, and its own."""
    family = family_of(values)
    if isinstance(values, str):
        return family.config.named(values)
    return family.config.from_dict({key: value for key, value in values.items() if key != "family"})
