"""What loops compiled to machine code are made of, by numba. Only modules of such loops import this, and those late:
numba takes a third of a second, and may be missing, or too old for this np.

No operation is contracted or reordered: a loop gives the bits that torch gives for the same float32 operations.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as of_llvm

from mergelab.methods.kept import keep

TOGETHER = 16
"""Numbers that ``collect`` and ``keep_some`` look at."""
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_INFINITY = np.uint32(0x7F800000)


def loop(function: Any) -> Any:
    """``function`` compiled at its first call, and kept on disk where there is a place, see ``kept``.

    It lets go of Python while it runs.
    """
    compiled = numba.njit(nogil=True, error_model="numpy")(function)
    keep(compiled)
    return compiled


_INSIDE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # a sixth of the time to compile
step: Any = numba.njit(nogil=True, error_model="numpy", **_INSIDE)
"""A part of a loop: compiled with it, and not kept by itself."""
inlined: Any = numba.njit(inline="always", error_model="numpy")
"""A part of a loop of a line or two."""
intrinsic: Any = of_llvm
"""What is no Python at all: one or two instructions of the machine."""


@intrinsic
def as_float(_typing: Any, _bits: Any) -> Any:
    """The float32 that has these bits (uint32)."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def as_bits(_typing: Any, _number: Any) -> Any:
    """The bits (uint32) of a float32."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


@intrinsic
def fused(_typing: Any, _left: Any, _right: Any, _addend: Any) -> Any:
    """The product of two float32 plus a third, rounded once."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


def _load(bits: int) -> Any:
    """Of an address and a place: the unsigned integer that lies so many of its kind from there, on any byte."""
    kind, integer = getattr(types, f"uint{bits}"), ir.IntType(bits)

    @intrinsic
    def load(_typing: Any, _address: Any, _place: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            start = builder.inttoptr(arguments[0], integer.as_pointer())
            return builder.load(builder.gep(start, [arguments[1]], source_etype=integer), align=1, typ=integer)

        return kind(types.int64, types.int64), generate

    return load


def _store(bits: int) -> Any:
    """Of an address, a place and an unsigned integer: it is written so many of its kind from there, on any byte."""
    kind, integer = getattr(types, f"uint{bits}"), ir.IntType(bits)

    @intrinsic
    def store(_typing: Any, _address: Any, _place: Any, _value: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            start = builder.inttoptr(arguments[0], integer.as_pointer())
            builder.store(arguments[2], builder.gep(start, [arguments[1]], source_etype=integer), align=1)

        return types.void(types.int64, types.int64, kind), generate

    return store


@intrinsic
def prefetch(_typing: Any, _address: Any) -> Any:
    """Have the bytes around an address brought into the cache; whatever is there, nothing else happens."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(word, value) for value in (0, 3, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), read, keep, data])

    return types.void(types.int64), generate


@intrinsic
def collect(_typing: Any, _address: Any, _low: Any, _high: Any, _into: Any) -> Any:
    """Of ``TOGETHER`` float32 from an address on, write those whose magnitudes lie between two patterns (int32, both
    excluded) to another address, as patterns and without gaps: how many they are. One instruction where a processor
    has it.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, low, high, into = arguments
        word, byte = ir.IntType(32), ir.IntType(8)
        lanes, mask = ir.VectorType(word, TOGETHER), ir.VectorType(ir.IntType(1), TOGETHER)

        def everywhere(number: Any) -> Any:
            one = builder.insert_element(ir.Constant(lanes, ir.Undefined), number, ir.Constant(word, 0))
            return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), ir.Constant(lanes, [0] * TOGETHER))

        stored = builder.load(builder.inttoptr(address, lanes.as_pointer()), align=1, typ=lanes)
        sizes = builder.and_(stored, ir.Constant(lanes, [int(_MAGNITUDE)] * TOGETHER))
        above, below = (
            builder.icmp_signed(side, sizes, everywhere(limit)) for side, limit in ((">", low), ("<", high))
        )
        inside = builder.and_(above, below)
        kind = ir.FunctionType(ir.VoidType(), [lanes, byte.as_pointer(), mask])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.compressstore.v{TOGETHER}i32")
        builder.call(function, [sizes, builder.inttoptr(into, byte.as_pointer()), inside])
        bits = builder.bitcast(inside, ir.IntType(TOGETHER))
        return builder.zext(builder.ctpop(bits), ir.IntType(64))

    return types.int64(types.int64, types.int32, types.int32, types.int64), generate


@intrinsic
def keep_some(_typing: Any, _address: Any, _mask: Any) -> Any:
    """Multiply ``TOGETHER`` float32 from an address on by 1 or 0, which the bits at another address tell, the first in
    the lowest.
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, mask = arguments
        word, lanes = ir.IntType(TOGETHER), ir.VectorType(ir.FloatType(), TOGETHER)
        place = builder.inttoptr(address, lanes.as_pointer())
        bits = builder.load(builder.inttoptr(mask, word.as_pointer()), align=1, typ=word)
        kept = builder.bitcast(bits, ir.VectorType(ir.IntType(1), TOGETHER))
        numbers = builder.load(place, align=1, typ=lanes)
        nought = builder.fmul(numbers, ir.Constant(lanes, [0.0] * TOGETHER))
        builder.store(builder.select(kept, numbers, nought), place, align=1)

    return types.void(types.int64, types.int64), generate


load8, load16, load32 = _load(8), _load(16), _load(32)
store16, store32 = _store(16), _store(32)


@inlined
def from_bfloat16(stored: Any) -> Any:
    """The float32 of a bfloat16, whose bits are given as uint16."""
    return as_float(np.uint32(stored) << np.uint32(16))


@inlined
def to_bfloat16(number: Any) -> Any:
    """The bits (uint16) of the bfloat16 nearest to a float32, ties to even; one NaN for all, as in torch."""
    bits = as_bits(number)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(rounded) if (bits & _MAGNITUDE) <= _INFINITY else np.uint16(0x7FC0)


@inlined
def from_float16(stored: Any) -> Any:
    """The float32 of a float16, whose bits are given as uint16."""
    size = np.uint32(stored & np.uint16(0x7FFF))
    sign = np.uint32(stored & np.uint16(0x8000)) << np.uint32(16)
    small = as_bits(np.float32(np.int32(size)) * np.float32(2.0**-24))
    large = (size << np.uint32(13)) + np.uint32(0x70000000 if size >= np.uint32(0x7C00) else 0x38000000)
    return as_float((small if size < np.uint32(0x0400) else large) | sign)


@inlined
def to_float16(number: Any) -> Any:
    """The bits (uint16) of the float16 nearest to a float32, ties to even; one NaN for all."""
    bits = as_bits(number)
    size = bits & _MAGNITUDE
    # Added to one half, a small number is rounded where float16 ends; a larger one carries into its exponent.
    small = as_bits(as_float(size) + np.float32(0.5)) - np.uint32(0x3F000000)
    large = (size - np.uint32(0x37FFF001) + ((size >> np.uint32(13)) & np.uint32(1))) >> np.uint32(13)
    beyond = np.uint32(0x7E00 if size > _INFINITY else 0x7C00)
    finite = small if size < np.uint32(0x38800000) else large
    return np.uint16((beyond if size >= np.uint32(0x47800000) else finite) | ((bits >> 16) & 0x8000))
