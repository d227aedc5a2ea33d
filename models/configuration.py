"""What the configurations of all networks can do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import ClassVar, TypeVar

import yaml

Config = TypeVar("Config", bound="Configuration")


class Configuration:
    """Base of frozen dataclasses whose fields all have defaults, which say the types of their values."""

    NAMED: ClassVar[dict]
    """Configurations by name, set behind the class."""

    @classmethod
    def named(cls: type[Config], name: str) -> Config:
        """The configuration called ``name``. Raises ValueError for a name that nobody knows."""
        if name not in cls.NAMED:
            raise ValueError(f"unknown model configuration {name!r}; known are {', '.join(sorted(cls.NAMED))}")
        return cls.NAMED[name]

    @classmethod
    def from_dict(cls: type[Config], values: dict) -> Config:
        """A configuration from a mapping; unknown keys and values of the wrong type are refused by name."""
        types = {f.name: type(f.default) for f in dataclasses.fields(cls)}
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        for key, value in values.items():
            if key not in types:
                raise ValueError(f"model config: unknown key {key!r}; known are {', '.join(types)}")
            if types[key] is float and type(value) is int:
                continue
            if type(value) is not types[key]:
                expected = "list" if types[key] is tuple else types[key].__name__
                raise ValueError(f"model config: {key} must be of type {expected}, got {value!r}")
        return cls(**values)

    @classmethod
    def from_file(cls: type[Config], path: str | Path) -> Config:
        """A configuration from a YAML or JSON file."""
        try:
            values = yaml.safe_load(Path(path).read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"model config {path}: not a YAML file: {str(error).splitlines()[0]}") from error
        if not isinstance(values, dict):
            raise ValueError(f"model config {path}: expected a mapping of keys to values")
        return cls.from_dict(values)

    def to_json(self) -> str:
        """The configuration as a JSON object, one key per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"
