"""What a TIFF file calls its bands, and its value for no data."""

import contextlib
from typing import Any
from xml.etree import ElementTree

from .image_file import ALPHA, COLORS, numbered

# Tags that GDAL writes, https://gdal.org/drivers/raster/gtiff.html
GDAL_METADATA, GDAL_NODATA = 42112, 42113
# TIFF 6.0, PhotometricInterpretation and ExtraSamples.
OF_COLORS, ALPHAS = (2, 6), (1, 2)


def no_data_of(page: Any) -> float | None:
    """The value of pixels that hold no measurement, if GDAL's tag has one; NaN needs no name."""
    tag = page.tags.get(GDAL_NODATA)
    with contextlib.suppress(ValueError, TypeError):
        value = float(tag.value) if tag is not None else None
        return value if value is None or value == value else None
    return None


def stored_bands(file: Any, page: Any, channels: int) -> tuple[str, ...]:
    """Names of the bands of an image as they are stored, in order.

    Args:
        file: The tifffile.TiffFile.
        page: The tifffile.TiffPage that speaks for the image.
        channels: Pages that the image is made of, a channel each.
    """
    count = channels * page.samplesperpixel
    names = list(_by_default(page) if channels == 1 else numbered(count))
    found = _by_gdal(page) if channels == 1 else dict(enumerate(_by_ome(file, channels, count)))
    for place, name in found.items():
        if place < count and name and names[place] != ALPHA:
            names[place] = name
    return tuple(names) if len(set(names)) == count else numbered(count)


def _by_default(page: Any) -> tuple[str, ...]:
    count, extra = page.samplesperpixel, tuple(page.extrasamples)
    has_alpha = count > 1 and len(extra) > 0 and extra[-1] in ALPHAS
    opaque = count - has_alpha
    names = numbered(opaque)
    if page.photometric in OF_COLORS and opaque > 3:
        names = (*COLORS, *names[3:])
    return (*names, ALPHA) if has_alpha else names


def _by_gdal(page: Any) -> dict[int, str]:
    """Place -> name."""
    tag = page.tags.get(GDAL_METADATA)
    found = {}
    if tag is not None:
        with contextlib.suppress(ElementTree.ParseError, ValueError, TypeError):
            for item in ElementTree.fromstring(tag.value.strip('\0 \n')).iter('Item'):
                if item.get('role') == 'description' and item.text:
                    found[int(item.get('sample', '0'))] = item.text.strip()
    return found


def _by_ome(file: Any, channels: int, count: int) -> list[str]:
    if count != channels or not file.is_ome:
        return []
    with contextlib.suppress(ElementTree.ParseError, ValueError, TypeError):
        for pixels in ElementTree.fromstring(file.ome_metadata).iter():
            named = [e.get('Name', '') for e in pixels if e.tag.rpartition('}')[2] == 'Channel']
            if len(named) == count:
                return [name.strip() for name in named]
    return []
