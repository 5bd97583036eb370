"""Pickled dictionaries of numpy arrays, read without ever unpickling them.

The official Fréchet statistics of ExVo are pickles, and unpickling runs whatever code a file asks for. Here its
operations are listed by `pickletools`, which runs nothing, and acted out by the few rules that arrays need.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocalgen.errors import VocalgenError

LARGEST = 1 << 30
"""Bytes of a file that are read; official statistics have half a million."""


def read_arrays(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The arrays of a pickled dictionary, written with numpy 1 or 2, as float64; numbers get the shape ().

    Raises:
        VocalgenError: the file cannot be read, is no such pickle, or holds or asks for anything else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        return _Reader().read(path.read_bytes())
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise VocalgenError(
            f"{path} cannot be read as a pickle of arrays ({' '.join(str(error).split())[:160]}); give a file of "
            f"`vocalgen embed`, stored statistics, or a pickle that holds arrays only"
        ) from error


class _Mark:
    """Where a list of operands begins."""


class _Array:
    """An array that awaits its contents."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def fill(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(data, (bytes, str)):
            raise ValueError("an array of objects")
        raw = data.encode("latin-1") if isinstance(data, str) else data
        self.value = _shaped(raw, dtype, shape, "F" if fortran else "C")


class _Type:
    """A number type; its state may turn the order of its bytes."""

    def __init__(self, code: Any) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else str(code)
        self.type = np.dtype(text)
        if self.type.kind not in "biuf":
            raise ValueError(f"values of type {text!r}, which are no numbers")

    def fill(self, state: Any) -> None:
        if state[1] in (">", b">"):
            self.type = self.type.newbyteorder(">")


def _shaped(raw: bytes, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Type):
        raise ValueError("an array without a number type")
    return np.frombuffer(raw, dtype.type).reshape(shape, order="F" if order == "F" else "C").copy()


def _scalar(dtype: Any, raw: Any) -> Any:
    data = raw.encode("latin-1") if isinstance(raw, str) else raw
    return _shaped(data, dtype, (1,), "C")[0]


def _encode(text: str, codec: str) -> bytes:
    if codec not in ("latin1", "latin-1"):
        raise ValueError(f"text in {codec!r}")
    return text.encode("latin-1")


def _either(module: str) -> tuple[str, str]:
    """Numpy 1 and numpy 2 call a module of theirs differently."""
    return f"numpy.core.{module}", f"numpy._core.{module}"


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): lambda code, *_: _Type(code),
    ("_codecs", "encode"): _encode,  # bytes, in the pickles of Python 2 and of old protocols
    **{(module, "_reconstruct"): lambda *_: _Array() for module in _either("multiarray")},
    **{(module, "scalar"): _scalar for module in _either("multiarray")},
    **{(module, "_frombuffer"): _shaped for module in _either("numeric")},
}
"""All that a pickle may name, and what stands in for it."""

PLAIN = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Operations whose argument is the value."""

EMPTY: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "MARK": _Mark,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict,
}  # fmt: skip
"""Operations that make a value from nothing."""


class _Reader:
    """A stack machine for the operations of pickles that hold arrays."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> dict[str, NDArray[np.float64]]:
        for operation, argument, _ in pickletools.genops(data):
            name = operation.name
            if name == "STOP":
                return _settled(self.stack.pop())
            if name in PLAIN:
                self.stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
            elif name in EMPTY:
                self.stack.append(EMPTY[name]())
            elif name not in ("PROTO", "FRAME"):
                self.act(name, argument)
        raise ValueError("it ends too early")

    def act(self, name: str, argument: Any) -> None:
        """The operations that work on the stack."""
        stack = self.stack
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(argument)])
        elif name in ("TUPLE", "LIST"):
            stack.append({"TUPLE": tuple, "LIST": list}[name](self.marked()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self.marked()
            stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS", "DICT"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self.marked()
            if name == "DICT":
                stack.append({})
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            first, second = argument.split(" ", 1) if name == "GLOBAL" else (stack.pop(-2), stack.pop())
            if (first, second) not in KNOWN:
                raise ValueError(f"it asks for {first}.{second}, which is not allowed")
            stack.append(KNOWN[first, second])
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_allowed(stack.pop())(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], (_Array, _Type)):
                raise ValueError("it sets the state of something that is no array")
            stack[-1].fill(state)
        else:
            raise ValueError(f"it holds the operation {name}, which arrays do not need")

    def marked(self) -> list[Any]:
        """Take what lies above the last mark."""
        place = max(index for index, value in enumerate(self.stack) if isinstance(value, _Mark))
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values


def _allowed(function: Any) -> Callable[..., Any]:
    if function not in KNOWN.values():
        raise ValueError("it calls something that is no function of numpy")
    return function  # type: ignore[no-any-return]


def _settled(value: Any) -> dict[str, NDArray[np.float64]]:
    """The dictionary with arrays in the place of those that stood in for them."""
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary")
    arrays = {}
    for name, entry in value.items():
        value = entry.value if isinstance(entry, _Array) else entry
        if isinstance(value, (int, float, np.number, np.ndarray)):
            arrays[str(name)] = np.array(value, dtype=np.float64)
        else:
            raise ValueError(f"{name!r} is neither an array nor a number")
    return arrays
