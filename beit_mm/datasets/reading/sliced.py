"""Images in arrays of which a part can be read: NumPy's, HDF5's, Zarr's."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .depths import changes_of, keep, kept_dtype
from .image_file import Box, ImageFile, numbered
from .levels import box_in_level, choose_level
from .limits import refuse_bomb, refuse_list

FIRST_OF_STACK = 'the first image of a stack taken'
# More in the last place, or before height and width, are no bands.
MOST_BANDS = 32


class Axes(NamedTuple):
    """What the axes of an array are.

    Attributes:
        order: A letter each: 'H' height, 'W' width, 'C' bands, 'N' places in a stack.
        stack: Lengths of the axes that are places in a stack.
    """

    order: str
    stack: tuple[int, ...] = ()

    @property
    def images(self) -> int:
        """Number of images."""
        return math.prod(self.stack)


def axes_of(shape: tuple[int, ...]) -> Axes | None:
    """Tell the axes of an array by their lengths; None if there is no image in it.

    Bands are the last axis if that is 32 or less, else the one before height and width if that is.
    Where such an axis is as long as the one beside it, and no color's, it is no band: 28 x 28 is a
    digit and 9 x 9 x 9 a cube.

    >>> axes_of((480, 640, 13)), axes_of((13, 480, 640)), axes_of((60000, 28, 28))
    (Axes(order='HWC', stack=()), Axes(order='CHW', stack=()), Axes(order='NHW', stack=(60000,)))
    """
    if len(shape) < 2 or 0 in shape:
        return None
    order = 'HW'
    if len(shape) > 2:
        before, height, width = shape[-3:]
        if width <= MOST_BANDS and (width != height or width <= 4):
            order = 'HWC'
        elif before <= MOST_BANDS and (before != height or before <= 4):
            order = 'CHW'
    stack = tuple(shape[: len(shape) - len(order)])
    return Axes('N' * len(stack) + order, stack)


def number_of(frame: str, count: int) -> int:
    """The number of an image in a stack.

    Raises:
        ValueError: If there is none of this name.
    """
    if frame.isascii() and frame.isdigit() and int(frame) < count:
        return int(frame)
    raise ValueError(f'it holds no image {frame!r}; its images are 0 to {count - 1}')


class Sliced(ImageFile):
    """An image in an array, of which no more is read than a part takes.

    Args:
        array: Has ``shape`` and ``dtype``, and gives a NumPy array where it is indexed.
        axes: Which of its axes are what.
        number: Which image of the stack.
        levels: Smaller versions of the array, the largest first.
        close: Lets go of the file.
        bands, no_data, changes: See :class:`~beit_mm.datasets.reading.image_file.ImageFile`.
    """

    def __init__(
        self,
        array: Any,
        axes: Axes,
        number: int = 0,
        *,
        levels: Sequence[Any] = (),
        close: Callable[[], None] | None = None,
        bands: tuple[str, ...] = (),
        no_data: float | None = None,
        changes: tuple[str, ...] = (),
    ) -> None:
        self.arrays, self.order = (array, *levels), axes.order
        # Which image, an index for each of the axes of the stack.
        self.index = tuple(int(i) for i in np.unravel_index(number, axes.stack or (1,)))
        self.sizes = [self._sizes(each.shape)[:2] for each in self.arrays]
        self.size, count = self.sizes[0], self._sizes(array.shape)[2]
        self.bands = bands if len(bands) == count else numbered(count)
        self.dtype, self.no_data = kept_dtype(array.dtype), no_data
        self.changes = (*changes, *changes_of(array.dtype))
        self._close = close

    def _sizes(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Height, width, bands."""
        sizes = dict(zip(self.order, shape, strict=True))
        return sizes['H'], sizes['W'], sizes.get('C', 1)

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Cut a part out, of the level that fits."""
        level = choose_level(self.sizes, factor)
        part = box or Box(0, 0, *self.size)
        if level:
            part = box_in_level(self.size, self.sizes[level], part)
        top, left, height, width = part
        refuse_bomb(height, width, len(self.bands) * self.dtype.itemsize)
        taken = {'H': slice(top, top + height), 'W': slice(left, left + width), 'C': slice(None)}
        places = iter(self.index)
        where = tuple(taken[axis] if axis in taken else next(places) for axis in self.order)
        pixels = np.asarray(self.arrays[level][where])
        left_over = self.order.replace('N', '')
        if 'C' not in left_over:
            return keep(pixels[..., None])
        return keep(pixels.transpose([left_over.index(axis) for axis in 'HWC']))

    def close(self) -> None:
        """Let go of the file."""
        if self._close is not None:
            self._close()


def axes_of_array(array: Any) -> Axes | None:
    """:func:`axes_of` what has a shape."""
    return axes_of(array.shape)


def frames_of(
    arrays: Iterable[tuple[str, Any]], tell: Callable[[Any], Axes | None] = axes_of_array
) -> list[str]:
    """Names of the images in named arrays: 'a' of one image, 'a/0', 'a/1', ... of a stack.

    A single image has none. An array without a name has '0', '1', ...
    """
    names = []
    for name, array in arrays:
        axes = tell(array)
        if axes is not None and axes.images == 1:
            names.append(name)
        elif axes is not None:
            refuse_list(len(names) + axes.images)
            names += [f'{name}/{n}' if name else str(n) for n in range(axes.images)]
    return names if len(names) > 1 else []


def choose_array(
    arrays: Iterable[tuple[str, Any]],
    get: Callable[[str], Any],
    frame: str | None,
    tell: Callable[[Any], Axes | None] = axes_of_array,
) -> tuple[Any, Axes, int, tuple[str, ...]]:
    """Find an image among named arrays.

    Args:
        arrays: All of them, in order; those without an image among them are passed over.
        get: Gives the one of a name, or None.
        frame: A name of :func:`frames_of`, or None for the first image. 'a/0' of an array that is
            one image with its bands first is its first band.
        tell: Gives the axes of an array, or None if there is no image in it.

    Returns:
        The array, its axes, the number in its stack, and what is changed by taking it.

    Raises:
        ValueError: If there is no such image.
    """
    if frame is None:
        images = ((array, axes) for _, array in arrays if (axes := tell(array)))
        first = next(images, None)
        if first is None:
            raise ValueError('it holds no array that is an image: (H, W), (H, W, C) or a stack')
        more = first[1].images > 1 or next(images, None) is not None
        return (*first, 0, (FIRST_OF_STACK,) if more else ())
    before, _, number = frame.rpartition('/')
    for name, place in ((frame, None), (before, number)):
        array = get(name)
        axes = None if array is None else tell(array)
        if axes is not None and place is not None and axes.order == 'CHW':
            # Who asks for one of a few says that they are no bands.
            axes = Axes('NHW', (array.shape[0],))
        if axes is not None and (place is not None or axes.images == 1):
            return array, axes, number_of(place or '0', axes.images), ()
    raise ValueError(f'it holds no image {frame!r}')
