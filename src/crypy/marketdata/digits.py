"""Eight bytes at a time: where the digits end, and what number they spell. For compiled readers of venues' texts.

The well-known multiplication ladder: each step joins neighbours, so that eight digits take three multiplications. Numba has no
spelling for an unaligned load or for counting zeros; they are made here. Nothing checks bounds: eight bytes from the place
on must be readable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from crypy.runtime.kernels import P, R

Bytes = NDArray[np.uint8]

_ASCII_ZEROS = np.int64(0x3030303030303030)
_TO_HIGH_BIT = np.int64(0x7676767676767676)
_HIGH_BITS = np.int64(-0x7F7F7F7F7F7F7F80)
_LOW_NIBBLES = np.int64(0x0F0F0F0F0F0F0F0F)
_BYTE_PAIRS = np.int64(0x00FF00FF00FF00FF)
_WORD_PAIRS = np.int64(0x0000FFFF0000FFFF)


def pasted(function: Callable[P, R]) -> Callable[P, R]:
    """Part of a kernel, pasted in by the compiler: for a few instructions a call would cost more than they do."""
    compiled = numba.njit(cache=True, nogil=True, forceinline=True, error_model="numpy")(function)
    return cast(Callable[P, R], compiled)


def _load_eight(_typing: Any, data: Any, offset: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        array = context.make_array(data)(context, builder, value=arguments[0])
        place = builder.gep(array.data, [arguments[1]])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.int64(data, offset), generate


def _count_trailing_zeros(_typing: Any, _value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


# Eight bytes from a place on, the first lowest. Little-endian machines only, as every one that numba knows.
eight_at = cast(Callable[[Bytes, int], np.int64], intrinsic(_load_eight))
_trailing_zeros = cast(Callable[[np.int64], int], intrinsic(_count_trailing_zeros))


@pasted
def leading_digits(eight: np.int64) -> int:
    """How many of the eight bytes are digits before the first that is none."""
    distance = eight ^ _ASCII_ZEROS
    return _trailing_zeros(((distance + _TO_HIGH_BIT) | distance) & _HIGH_BITS) >> 3


@pasted
def number_of(eight: np.int64, digits: int) -> int:
    """The number that the first `digits` (1 to 8) of the bytes spell."""
    x = (eight << ((8 - digits) << 3)) & _LOW_NIBBLES
    x = ((x * 2561) >> 8) & _BYTE_PAIRS
    x = ((x * 6553601) >> 16) & _WORD_PAIRS
    return int((x * 42949672960001) >> 32)
