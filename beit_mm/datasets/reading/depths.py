"""Numbers of any kind as those of an open image."""

import numpy as np

KEPT = ('uint8', 'uint16', 'int16', 'uint32', 'int32', 'float32', 'float64')
# What there is no image of -> the least that holds it. Beyond 2^53 integers are rounded.
WIDENED = {'int8': 'int16', 'int64': 'float64', 'uint64': 'float64', 'float16': 'float32'}
ROUNDED = '64 bits read as float64'


def kept_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype that numbers are handed on in, in this machine's byte order.

    Truth values are 0 and 255.

    Raises:
        ValueError: If they are no numbers, or complex ones.
    """
    name = np.dtype(dtype).newbyteorder('=').name
    if name == 'bool':
        return np.dtype('uint8')
    name = WIDENED.get(name, name)
    if name not in KEPT and np.dtype(dtype).kind == 'f':
        name = 'float64'
    if name not in KEPT:
        raise ValueError(f'its pixels are {dtype}; known are {", ".join(KEPT)}')
    return np.dtype(name)


def keep(pixels: np.ndarray) -> np.ndarray:
    """Pixels in their :func:`kept_dtype`, C-contiguous."""
    dtype = kept_dtype(pixels.dtype)
    if pixels.dtype == bool:
        return np.ascontiguousarray(pixels) * np.uint8(255)
    return np.ascontiguousarray(pixels, dtype)


def changes_of(dtype: np.dtype) -> tuple[str, ...]:
    """What :func:`keep` changes in the meaning of numbers."""
    dtype = np.dtype(dtype)
    return (ROUNDED,) if dtype.kind in 'iu' and dtype.itemsize == 8 else ()
