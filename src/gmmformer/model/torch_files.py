"""Files that `torch.save` wrote, read without running anything they name and within what they hold.

Such a file is a zip of a pickle and of raw storages. torch's safe loader refuses the published ones, whose pickle names
a class of a module that does not exist here, and unpacks whatever a file claims. This reader takes the instructions of
pickles that tensors, containers, text and numbers need, answers the few names that occur with inert stand-ins, and
never makes more of a file than the bytes it has.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmmformer.errors import InputError, one_line

_STORAGE_TYPES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MOST_PICKLE = 2**24
"""Bytes of the pickle, which holds no weights; a large model's with its optimiser has 100,000."""
_MOST_AXES = 8

_INSTRUCTIONS = (
    "PROTO STOP FRAME MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT GLOBAL STACK_GLOBAL REDUCE NEWOBJ "
    "BINPERSID PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET"
)
"""Of a pickle's, by their names in `pickle`, those that do here what they do there."""
_CODES = [getattr(pickle, name)[0] for name in _INSTRUCTIONS.split()]


def is_torch_file(path: Path) -> bool:
    """Whether `path` is a file that torch wrote, as published checkpoints are."""
    return path.is_file() and zipfile.is_zipfile(path)


def read_torch_file(path: Path) -> Any:
    """What a file of `torch.save` holds: dictionaries, lists, tuples, text, numbers and tensors, on the CPU.

    Raises:
        InputError: It is not such a file, is damaged, or names or claims what no such file needs.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: is a device or a pipe, no checkpoint; give the file that torch wrote")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive, path.stat().st_size).read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from error
    except Exception as error:  # a pickle that is not one can raise anything
        raise InputError(
            f"{path}: not a checkpoint that torch wrote, or damaged ({type(error).__name__}: {one_line(error)})"
        ) from error


class _Reader:
    """The entries of the zip, each read as it lies there."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive, self._left = archive, size
        self._storages: dict[str, Tensor] = {}
        pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise InputError("is a zip, but not one that torch wrote")
        self._root = pickles[0].removesuffix("data.pkl")

    def read(self) -> Any:
        if f"{self._root}byteorder" in self._archive.namelist() and self._entry("byteorder", 16) != b"little":
            raise InputError("was written on a big-endian machine, which is not supported")
        self._entry("data.pkl", _MOST_PICKLE)
        with self._archive.open(f"{self._root}data.pkl") as file:
            return _Unpickler(file, self).load()

    def storage(self, pid: Any) -> Tensor:
        """The numbers that a persistent id of the pickle means."""
        _, kind, key, _, count = pid
        if not isinstance(key, str) or not isinstance(getattr(kind, "dtype", None), torch.dtype):
            raise InputError("names a storage of no known kind; it is damaged")
        if key not in self._storages:
            raw = np.frombuffer(bytearray(self._entry(f"data/{key}", self._left)), dtype=np.uint8)
            self._left -= len(raw)
            self._storages[key] = (
                torch.from_numpy(raw).view(kind.dtype) if len(raw) else torch.empty(0, dtype=kind.dtype)
            )
        storage = self._storages[key]
        if len(storage) != count or storage.dtype != kind.dtype:
            raise InputError(f"holds {len(storage)} numbers where its index says otherwise; it is damaged")
        return storage

    def _entry(self, name: str, most: int) -> bytes:
        """An entry, all entries together being no more than the file has bytes."""
        entry = self._archive.getinfo(f"{self._root}{name}")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise InputError("holds compressed entries, which torch never writes; do not trust this file")
        if entry.file_size > most:
            raise InputError(f"claims an entry of {entry.file_size:,} bytes, which cannot be; do not trust this file")
        return self._archive.read(entry)


class _Inert:
    """Stands in for an object of a module that does not exist here: takes anything, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class _Instructions(dict[int, Any]):
    def __missing__(self, code: int) -> Any:
        raise InputError("holds instructions that no checkpoint needs; nothing was run. Do not trust this file")


class _Unpickler(pickle._Unpickler):  # the one in Python: that in C reserves memory for whatever number a memo has
    """Unpickles tensors, containers, text and numbers, and refuses every other name and instruction."""

    def __init__(self, file: Any, reader: _Reader) -> None:
        super().__init__(file)
        self._reader = reader

    def persistent_load(self, pid: Any) -> Tensor:
        return self._reader.storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if module == "torch" and name in _STORAGE_TYPES:
            return type(name, (), {"dtype": _STORAGE_TYPES[name]})
        if (module, name) == ("Opts.optimization", "WarmupLinearSchedule"):
            return _Inert
        named = one_line(f"{module}.{name}", 100)
        raise InputError(f"names {named}, which no checkpoint needs; nothing was run. Do not trust this file")

    def _load_build(self) -> None:
        self.stack.pop()  # type: ignore[attr-defined]  # the state of a stand-in, or a dictionary's extra attributes

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()  # type: ignore[attr-defined]
        _set(self.stack[-1], [key], [value])  # type: ignore[attr-defined]

    def _load_setitems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]
        _set(self.stack[-1], items[::2], items[1::2])  # type: ignore[attr-defined]

    dispatch = _Instructions(
        {code: pickle._Unpickler.dispatch[code] for code in _CODES}
        | {pickle.BUILD[0]: _load_build, pickle.SETITEM[0]: _load_setitem, pickle.SETITEMS[0]: _load_setitems}
    )


def _set(into: Any, keys: list[Any], values: list[Any]) -> None:
    """Fill a dictionary; a key that is a tuple of tuples of tuples would take for ever to hash."""
    if not isinstance(into, dict) or not all(isinstance(key, str | int | float | None) for key in keys):
        raise InputError("fills something that is no dictionary of names; it is damaged")
    into.update(zip(keys, values, strict=True))


def _rebuilt(*arguments: Any) -> Tensor:
    """A tensor, from its storage, its offset there, its shape and its strides."""
    storage, offset, size, stride = arguments[:4]
    numbers = (offset, *size, *stride)
    if len(numbers) > 2 * _MOST_AXES + 1 or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise InputError("holds a tensor of an impossible shape; it is damaged")
    if math.prod(size) > len(storage):  # a stride of 0 would spread one number over all memory
        raise InputError("asks for more numbers than it holds; it is damaged")
    view: Tensor = storage.as_strided(size, stride, offset)  # torch refuses what reaches beyond the storage
    return view
