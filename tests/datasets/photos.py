"""Photos of every kind that a large folder holds, good and broken."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int = 0, size: tuple[int, int] = (40, 56)) -> np.ndarray:
    """(H, W, 3) uint8, smooth: JPEG keeps it within a few grey levels."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(40, 216, (4, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize(size[::-1], Image.Resampling.BICUBIC))


def encoded(image: Image.Image, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def turned(image: Image.Image) -> bytes:
    """Stored lying on its side, with a tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image.transpose(Image.Transpose.ROTATE_90), 'JPEG', exif=exif, quality=95)


def bomb() -> bytes:
    """A hundred bytes that claim 900 million pixels."""

    def chunk(name, data):
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    header = struct.pack('>IIBBBBB', 30000, 30000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    )


def good_kinds(seed: int = 0) -> dict[str, tuple[bytes, np.ndarray]]:
    """File name -> content, and what is to be seen, (H, W, 3) uint8."""
    rgb = pixels(seed)
    image = Image.fromarray(rgb)
    grey = rgb[..., 0]
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    alpha = Image.fromarray(pixels(seed + 1)[..., 1])
    palette = image.quantize(32)
    deep = (grey.astype(np.uint16) << 8) | 77
    with_alpha, grey_alpha = image.copy(), Image.fromarray(grey)
    with_alpha.putalpha(alpha)
    grey_alpha.putalpha(alpha)
    frames = dict(save_all=True, append_images=[Image.fromarray(255 - rgb)])
    one = rgb[:1, :1]
    return {
        'plain.jpg': (encoded(image, 'JPEG', quality=95), rgb),
        'cmyk.jpg': (encoded(image.convert('CMYK'), 'JPEG', quality=95), rgb),
        'grey.jpg': (encoded(Image.fromarray(grey), 'JPEG', quality=95), as_rgb),
        'palette.png': (encoded(palette, 'PNG'), np.asarray(palette.convert('RGB'))),
        'transparent_palette.png': (encoded(palette, 'PNG', transparency=3),
                                    np.asarray(palette.convert('RGB'))),
        'deep.png': (encoded(Image.fromarray(deep), 'PNG'), as_rgb),
        'deep.tif': (encoded(Image.fromarray(deep), 'TIFF'), as_rgb),
        'alpha.png': (encoded(with_alpha, 'PNG'), rgb),
        'grey_alpha.png': (encoded(grey_alpha, 'PNG'), as_rgb),
        'turned.jpg': (turned(image), rgb),
        'animated.png': (encoded(image, 'PNG', **frames), rgb),
        'pages.tif': (encoded(image, 'TIFF', **frames), rgb),
        'bilevel.png': (encoded(Image.fromarray(grey > 128), 'PNG'),
                        np.repeat((grey > 128)[..., None], 3, axis=2).astype(np.uint8) * 255),
        'one_pixel.png': (encoded(Image.fromarray(one), 'PNG'), one),
    }  # fmt: skip


def broken_kinds(seed: int = 0) -> dict[str, bytes]:
    """File name -> content that is no whole photo."""
    image = Image.fromarray(pixels(seed))
    jpeg, png = encoded(image, 'JPEG', quality=95), encoded(image, 'PNG')
    return {
        'cut_off.jpg': jpeg[: len(jpeg) * 3 // 4],
        'cut_off.png': png[: len(png) * 3 // 4],
        'empty.jpg': b'',
        'text.jpg': b'<html>404 Not Found</html>',
        'bomb.png': bomb(),
    }


def write_folder(folder: Path, number: int, of_each: int) -> set[str]:
    """A folder of photos with some of each kind; the broken ones' paths in it."""
    folder.mkdir(parents=True)
    broken = set()
    for index in range(of_each):
        for name, (content, _) in good_kinds(index).items():
            (folder / f'{index}_{name}').write_bytes(content)
        for name, content in broken_kinds(index).items():
            (folder / f'{index}_{name}').write_bytes(content)
            broken.add(f'{index}_{name}')
    rest = number - len(list(folder.iterdir()))
    for index in range(rest):
        content = encoded(Image.fromarray(pixels(index, (12, 12))), 'JPEG')
        (folder / f'{index}.jpg').write_bytes(content)
    return broken
