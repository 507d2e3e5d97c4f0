"""What is refused before memory is taken for it: files may claim any size."""

import math

from PIL import Image

# Bytes of a tile or chunk, which is decoded whole for any part of it.
MOST_BYTES = 2**30
# Images of a stack that are named one by one.
MOST_LISTED = 10_000_000


def most_pixels() -> float:
    """Pixels that are read at once at most: Pillow's limit for decompression bombs."""
    limit = Image.MAX_IMAGE_PIXELS
    return math.inf if limit is None else 2 * limit


def refuse_bomb(height: int, width: int, size: int = 1, what: str = 'image') -> None:
    """Refuse to read so many pixels at once.

    Args:
        height: In pixels.
        width: In pixels.
        size: Bytes of a pixel.
        what: Words for what is so large.

    Raises:
        ValueError: If there are more than Pillow would read, they take more than 2 GiB, or there
            are none.
    """
    if height < 1 or width < 1:
        raise ValueError(f'its {what} is {height} x {width}, which is no pixel')
    if height * width > most_pixels():
        raise ValueError(
            f'its {what} is {height} x {width}, more than the {most_pixels():.0f} pixels that are '
            'read at once (PIL.Image.MAX_IMAGE_PIXELS)'
        )
    if height * width * size > 2 * MOST_BYTES:
        raise ValueError(
            f'its {what} is {height} x {width} with {size} bytes a pixel, more than the '
            f'{2 * MOST_BYTES} bytes that are read at once'
        )


def refuse_piece(count: int, itemsize: int, what: str) -> None:
    """Refuse a tile or chunk of so many numbers.

    Raises:
        ValueError: If it takes more than 1 GiB.
    """
    if count * itemsize > MOST_BYTES:
        raise ValueError(
            f'a {what} of it takes {count * itemsize} bytes, more than the {MOST_BYTES} that are '
            'read at once'
        )


def refuse_cut_off(needed: int, held: int, what: str) -> None:
    """Refuse a file that ends before what it says is in it.

    Raises:
        ValueError: If it needs more bytes than there are.
    """
    if needed > held:
        raise ValueError(f'it is cut off: its {what} takes {needed} bytes, and {held} are there')


def refuse_list(count: int) -> None:
    """Refuse to name so many images of a stack.

    Raises:
        ValueError: If they are more than ten million.
    """
    if count > MOST_LISTED:
        raise ValueError(
            f'it holds {count} images, more than the {MOST_LISTED} of a file that are told apart'
        )
