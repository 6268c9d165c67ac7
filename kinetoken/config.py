"""Frozen dataclasses to flat JSON and back: nested fields become dotted keys, unknown and missing keys are errors."""

import math
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Config = TypeVar("Config")


def to_flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """{"quantizer.kind": "fsq", "channels": 128, ...}"""
    flat: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            flat |= to_flat(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = list(value) if isinstance(value, tuple) else value
    return flat


def from_flat(cls: type[Config], flat: dict[str, Any]) -> Config:
    """The inverse of `to_flat`. A key that is not there takes the field's default.

    Raises: ValueError for an unknown key, a missing one without default, a value of another type, or a number that is
    not finite; and whatever the dataclass itself refuses.
    """
    config = _from_flat(cls, dict(flat), "", left := set(flat))
    if left:
        raise ValueError(f"unknown configuration keys {sorted(left)}: was this made by a newer version of kinetoken?")
    return config


def _from_flat(cls: type[Config], flat: dict[str, Any], prefix: str, left: set[str]) -> Config:
    hints, values = get_type_hints(cls), {}
    for field in fields(cls):  # type: ignore[arg-type]
        key, hint = prefix + field.name, hints[field.name]
        if is_dataclass(hint):
            if any(known.startswith(key + ".") for known in flat) or _required(field):
                values[field.name] = _from_flat(hint, flat, key + ".", left)  # type: ignore[arg-type]
        elif key in flat:
            left.discard(key)
            values[field.name] = _value(flat[key], hint, key)
        elif _required(field):
            raise ValueError(f"the configuration lacks {key!r}")
    return cls(**values)


def _required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _value(value: Any, hint: Any, key: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        endless = len(arguments) == 2 and arguments[1] is Ellipsis
        if endless or len(value) == len(arguments):
            each = [arguments[0]] * len(value) if endless else arguments
            return tuple(_value(item, kind, key) for item, kind in zip(value, each, strict=True))
    elif origin is Literal and value in arguments:
        return value
    elif origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return _value(value, next(kind for kind in arguments if kind is not NoneType), key)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"the configuration's {key!r} must be {getattr(hint, '__name__', hint)}, found {value!r}")
