"""Decoding a part of a photo against decoding all of it."""

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageOps

from beit_mm.datasets import BrokenImage, decode_image
from beit_mm.datasets import jpeg as module
from beit_mm.datasets.jpeg import Box, decode_crop, read_jpeg_header, reduction


def make_photo(height=150, width=210, mode='RGB', seed=0):
    """Structure on every scale, as photos have."""
    rng = np.random.default_rng(seed)
    size = (width, height)
    layers = [
        Image.fromarray(
            rng.integers(0, 256, (max(2, height >> k), max(2, width >> k), 3), np.uint8)
        )
        for k in (0, 2, 5)
    ]
    mean = sum(
        weight * np.asarray(layer.resize(size, Image.Resampling.BICUBIC), float)
        for weight, layer in zip((0.1, 0.3, 0.6), layers, strict=True)
    )
    return Image.fromarray(mean.astype(np.uint8)).convert(mode)


def jpeg(image, **settings):
    file = io.BytesIO()
    image.save(file, 'JPEG', **{'quality': 90, **settings})
    return file.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


KINDS = {
    'subsampled': dict(subsampling='4:2:0'),
    'half_subsampled': dict(subsampling='4:2:2'),
    'full_color': dict(subsampling='4:4:4'),
    'progressive': dict(progressive=True),
    'restarts': dict(restart_marker_blocks=3),
    'exif_upright': dict(exif=exif(1)),
    'comment': dict(comment=b'\xff\xc0 looks like a frame'),
}


@pytest.fixture(params=['simplejpeg', 'opencv'])
def decoder(request, monkeypatch):
    """Both ways to decode, whatever is installed where the tests run."""
    if request.param == 'opencv':
        monkeypatch.setattr(module, 'simplejpeg', None)
    else:
        pytest.importorskip('simplejpeg')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_header_tells_the_size(kind, mode):
    data = jpeg(make_photo(mode=mode), **KINDS[kind])
    header = read_jpeg_header(data)
    assert (header.height, header.width) == (150, 210)
    assert data[header.frame] == 0xFF


def test_header_leaves_to_the_whole_decoder_what_it_does_not_know():
    image = make_photo()
    png = io.BytesIO()
    image.save(png, 'PNG')
    data = jpeg(image)
    turned = [jpeg(image, exif=exif(orientation)) for orientation in range(2, 9)]
    for other in (b'', b'\xff\xd8', png.getvalue(), jpeg(image.convert('CMYK')), *turned):
        assert read_jpeg_header(other) is None
    frame = read_jpeg_header(data).frame
    for cut in range(frame + 10):
        assert read_jpeg_header(data[:cut]) is None


@pytest.mark.parametrize(
    'form', ['tiff:Orientation="%d"', '<tiff:Orientation>%d</tiff:Orientation>']
)
@pytest.mark.parametrize('orientation', [1, 6])
@pytest.mark.parametrize('with_exif', [False, True])
def test_photos_are_turned_by_xmp_data_as_pillow_turns_them(form, orientation, with_exif):
    settings = dict(exif=exif(1)) if with_exif else {}
    xmp = b'<x:xmpmeta><rdf:Description ' + (form % orientation).encode() + b'/></x:xmpmeta>'
    data = jpeg(make_photo(), xmp=xmp, **settings)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert decode_image(data).size == (upright.width, upright.height)
    header = read_jpeg_header(data)
    if header is None:
        assert orientation == 6
    else:
        assert (header.height, header.width) == (upright.height, upright.width)


@pytest.mark.parametrize(('limit', 'whole'), [(None, False), (20_000, False), (15_000, True)])
def test_photos_beyond_pillows_limit_are_left_to_it(monkeypatch, limit, whole):
    data = jpeg(make_photo())  # of 31,500 pixels; Pillow refuses twice the limit
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    assert (read_jpeg_header(data) is None) == whole


# Pillow tells of damaged Exif data.
@pytest.mark.filterwarnings('ignore')
def test_damaged_headers_are_left_to_the_whole_decoder_or_read():
    """Any byte changed: never another error, never an endless loop."""
    data = jpeg(make_photo(), exif=exif(1))
    rng = random.Random(0)
    frame = read_jpeg_header(data).frame
    for _ in range(2000):
        place, value = rng.randrange(frame + 10), rng.randrange(256)
        header = read_jpeg_header(data[:place] + bytes([value]) + data[place + 1 :])
        assert header is None or (header.height > 0 and header.width > 0)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_whole_photo_is_turned_as_its_exif_data_asks(orientation):
    data = jpeg(make_photo(), exif=exif(orientation), subsampling='4:4:4')
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), int)
    assert np.abs(np.asarray(decode_image(data)) - upright).max() <= 3


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.usefixtures('decoder')
def test_crop_is_that_of_the_whole_photo_bit_for_bit(kind, mode, capfd):
    data = jpeg(make_photo(mode=mode), **KINDS[kind])
    header, whole = read_jpeg_header(data), np.asarray(decode_image(data))
    rng = random.Random(0)
    for _ in range(40):
        height, width = rng.randint(1, 150), rng.randint(1, 210)
        box = Box(rng.randint(0, 150 - height), rng.randint(0, 210 - width), height, width)
        expected = whole[box.top : box.top + height, box.left : box.left + width]
        np.testing.assert_array_equal(decode_crop(data, header, box), expected)
    # libjpeg complains about what follows the last row, on the terminal, if it is let.
    assert 'JPEG' not in capfd.readouterr().err


def psnr(a, b):
    return 10 * np.log10(255**2 / np.square(np.asarray(a, float) - np.asarray(b, float)).mean())


@pytest.mark.parametrize('factor', [2, 4, 8])
@pytest.mark.parametrize('size', [(320, 400), (317, 411)])
@pytest.mark.usefixtures('decoder')
def test_reduced_crop_is_the_mean_of_squares_of_pixels(factor, size):
    """The cosine transform of fewer coefficients is close to Pillow's box filter."""
    data = jpeg(make_photo(*size), subsampling='4:4:4')
    header, whole = read_jpeg_header(data), np.asarray(decode_image(data))
    for box in (Box(0, 0, 320 - 8, 400), Box(64, 80, 160, 240), Box(120, 8, 64, 72)):
        crop = decode_crop(data, header, box, factor)
        assert crop.shape == (box.height // factor, box.width // factor, 3)
        part = whole[box.top : box.top + box.height, box.left : box.left + box.width]
        mean = np.asarray(Image.fromarray(part).reduce(factor), int)
        assert psnr(crop, mean) > 33
        moved = np.roll(mean, 1, axis=1)
        assert psnr(crop, mean) > psnr(crop, moved) + 6


def test_reduction_leaves_enough():
    cases = {(100, 100): 1, (447, 900): 1, (448, 448): 2, (895, 2000): 2, (900, 896): 4,
             (3000, 1792): 8, (9000, 9000): 8}  # fmt: skip
    for (height, width), factor in cases.items():
        assert reduction(Box(0, 0, height, width), (224, 224)) == factor
    assert reduction(Box(0, 0, 400, 900), (100, 450)) == 2


def test_what_is_no_image_is_an_error():
    for data in (b'', b'\xff\xd8\xff', b'text', jpeg(make_photo())[:20]):
        with pytest.raises(BrokenImage, match='cannot be decoded'):
            decode_image(data)
