"""Pyramids: an image and smaller versions of it in one file."""

from collections.abc import Sequence

from .image_file import Box

Size = tuple[int, int]
Shape = tuple[int, ...]


def is_level(size: Size, smaller: Size) -> bool:
    """Whether one size is another reduced, with up to a pixel lost at the end."""
    ratio = size[0] / smaller[0]
    return ratio > 1 and abs(size[1] / ratio - smaller[1]) <= 1.5


def is_of_same_images(axes: str, shape: Shape, smaller: Shape, edges: str = 'HW') -> bool:
    """Whether a level is reduced in height and width alone.

    Of one that has fewer slices, too, a number stands for another slice.

    Args:
        axes: A letter for each axis of the image.
        shape: Of all its axes.
        smaller: Those of the level.
        edges: The letters of height and width.

    >>> is_of_same_images('NHW', (64, 80, 96), (64, 40, 48))
    True
    >>> is_of_same_images('NHW', (64, 80, 96), (32, 40, 48))
    False
    """
    if len(smaller) != len(shape):
        return False
    lengths = zip(axes, shape, smaller, strict=True)
    return all(a == b for axis, a, b in lengths if axis not in edges)


def choose_level(sizes: Sequence[Size], factor: int) -> int:
    """The smallest level that is reduced by no more than ``factor``.

    Args:
        sizes: (height, width) of each level, the image itself first.

    Returns:
        Its place among them. Sizes are rounded, so that 1001 / 250 is 4.

    >>> choose_level([(1001, 2000), (500, 1000), (250, 500)], 4)
    2
    """
    fitting = [
        place
        for place, size in enumerate(sizes)
        if not place or (is_level(sizes[0], size) and sizes[0][0] // factor <= size[0])
    ]
    return min(fitting, key=lambda place: sizes[place][0])


def box_in_level(size: Size, level: Size, box: Box) -> Box:
    """Where a part of the image lies in a level, to the pixel."""
    across = []
    for begin, length, whole, reduced in zip(box[:2], box[2:], size, level, strict=True):
        taken = min(max(round(length * reduced / whole), 1), reduced)
        across.append((min(round(begin * reduced / whole), reduced - taken), taken))
    (top, height), (left, width) = across
    return Box(top, left, height, width)
