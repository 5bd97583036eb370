"""Typed configuration: frozen dataclasses <- YAML with `base:` inheritance <- `key=value` overrides."""

from __future__ import annotations

import datetime
import difflib
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vocalgen.errors import VocalgenError

T = TypeVar("T")

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NULL = ("", "~", "null", "Null", "NULL")


class Typed(str):
    """Value of an override as typed; the type of its key decides how it is read."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """YAML with whole numbers in base ten only, and without repeated keys.

    YAML 1.1 reads 0100 as 64 and 1:30 as 90.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a repeated key, of which the last would win without a word."""
        _require_unique(node)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Build `cls` from a YAML file and dotted `key=value` overrides.

    A file may name another by `base: other.yaml` (relative to itself); its own keys win, mappings are merged.
    Values of overrides are read as the type of their key needs them: text as typed, everything else as YAML, so that
    `loop.run=20240105`, `model.dim=256`, `model.widths=[64,128]` and `init=null` work.

    Raises:
        VocalgenError: missing or malformed file, circular `base`, unknown key (the nearest name is suggested),
            value of the wrong type, missing required key.
    """
    return build(cls, read_values(path, overrides), str(path), overrides)


def read_values(path: str | Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The nested mappings of a YAML file (None: of none), its bases and the overrides, as `load_config` reads them.

    Values of overrides are `Typed` text, also inside lists and mappings.

    Raises:
        VocalgenError: missing or malformed file, circular `base`, malformed override.
    """
    values = _read(Path(path), ()) if path is not None else {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise VocalgenError(f"override {override!r} is not of the form key=value")
        _assign(values, key.split("."), _typed(text, f"override {override!r}"))
    return values


def build(cls: type[T], values: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> T:
    """Turn nested mappings into the dataclass `cls`; in errors `where` names the source, or the override that it is.

    Raises:
        VocalgenError: as `load_config`.
    """
    try:
        return _build(cls, values, where)
    except VocalgenError as error:
        # Of several overrides of one key the last one counts.
        guilty = next((override for override in reversed(overrides) if _is_of(str(error), where, override)), None)
        if guilty is None:
            raise
        raise VocalgenError(f"override {guilty}{str(error).removeprefix(where)}") from error


def _is_of(message: str, where: str, override: str) -> bool:
    """Whether an error of `_build` is about what an override sets."""
    keys = override.partition("=")[0].split(".")
    sections = [": ".join([where, *keys[:depth]]) for depth in range(len(keys) + 1)]
    unknown = [f"{section}: unknown key {key!r}" for section, key in zip(sections, keys, strict=False)]
    return message.startswith((f"{sections[-1]}: ", *unknown))


def _build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(cls)
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
            raise VocalgenError(f"{where}: unknown key {key!r}{hint}")
    arguments = {key: _coerce(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    for field in fields(cls):  # type: ignore[arg-type]
        if field.default is MISSING and field.default_factory is MISSING and field.name not in arguments:
            raise VocalgenError(f"{where}: key {field.name!r} is required")
    return cls(**arguments)


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise VocalgenError(f"{path}: `base` refers back to itself")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VocalgenError(f"cannot read configuration {path}: {reason}") from error
    values = _parse(text, str(path)) or {}
    if not isinstance(values, dict):
        raise VocalgenError(f"{path}: expected `key: value` lines at the top level")
    base = values.pop("base", None)
    if not isinstance(base, (str, type(None))):
        raise VocalgenError(f"{path}: `base` must be the name of a file, got {base!r}")
    return values if base is None else _merge(_read(path.parent / base, (*seen, path.resolve())), values)


def _parse(text: str, where: str) -> Any:
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise VocalgenError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def _require_unique(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
        if isinstance(key, yaml.ScalarNode):
            seen.add(key.value)


def _typed(text: str, where: str) -> Any:
    """The value of an override: lists and mappings in brackets are taken apart, their items stay as typed."""
    if not text.lstrip().startswith(("[", "{")):
        return Typed(text)
    try:
        return _parts(yaml.compose(text, _Loader))
    except yaml.YAMLError as error:
        raise VocalgenError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error


def _parts(node: Any) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_parts(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        _require_unique(node)
        return {str(key.value): _parts(value) for key, value in node.value}
    return node.value if node.style in ("'", '"') else Typed(node.value)


def _read_typed(text: Typed, hint: Any, where: str) -> Any:
    """Parse `text` as a value of type `hint`; quotes in it are YAML's."""
    if hint is not str:
        chosen = typing.get_origin(hint) is typing.Literal and str(text) in typing.get_args(hint)
        return str(text) if chosen else _parse(text, where)
    if text.lstrip().startswith(("'", '"')):
        return _parse(text, where)
    return str(text) if text.strip() else None


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        inherited = merged.get(key)
        merged[key] = _merge(inherited, value) if isinstance(inherited, dict) and isinstance(value, dict) else value
    return merged


def _assign(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise VocalgenError(f"override {'.'.join(keys)}: {key!r} is not a section")
    values[keys[-1]] = value


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as type `hint`: dataclasses, tuples, optional scalars; an int is a float, a string stays a string."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, Typed) and origin not in (typing.Union, types.UnionType):
        value = _read_typed(value, hint, where)
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise VocalgenError(f"{where}: expected a section, got {value!r}")
        return _build(typing.cast(type, hint), value, where)
    if origin in (typing.Union, types.UnionType):
        absent = value is None or (isinstance(value, Typed) and value.strip() in _NULL)
        if absent and type(None) in arguments:
            return None
        inner = next(argument for argument in arguments if argument is not type(None))
        return _coerce(inner, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise VocalgenError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise VocalgenError(f"{where}: expected a list, got {value!r}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_coerce(arguments[0], item, where) for item in value)
        if len(value) != len(arguments):
            raise VocalgenError(f"{where}: expected {len(arguments)} values, got {len(value)}")
        return tuple(_coerce(argument, item, where) for argument, item in zip(arguments, value, strict=True))
    if hint is float and isinstance(value, str):
        try:
            return float(value)  # YAML 1.1 reads 1e-4 as a string
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+(_[0-9]+)*", value):
        return int(value)  # leading zeros, which YAML takes for base eight
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        shown = str(value) if isinstance(value, datetime.date) else repr(value)
        raise VocalgenError(f"{where}: expected {hint.__name__}, got {shown}{_advice(hint, value)}")
    if isinstance(value, str) and value.startswith(("~/", "~\\")):
        return os.path.expanduser(value)  # of the texts of a configuration only paths begin so
    return value


def _advice(hint: Any, value: Any) -> str:
    if hint is str and isinstance(value, (bool, int, float, datetime.date)):
        return "; put it in quotes, for YAML takes it for another type"
    if hint is int and isinstance(value, str) and re.fullmatch(r"[-+]?[0-9][0-9a-zA-Z_:]*", value):
        return "; write whole numbers in base ten"
    return ""
