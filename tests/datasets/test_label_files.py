"""Masks of every kind, each against another reader or against the numbers it was written from."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import ExifTags, Image

from beit_mm.datasets import BrokenImage, CheckAnnotation, LoadLabels, MapLabels
from beit_mm.datasets.label_files import read_colors, read_labels, read_palette

RNG = np.random.default_rng(0)
SIZE = (24, 36)


def stored(numbers: np.ndarray, bits: int, colour_type: int, palette: bytes = b'') -> bytes:
    """A PNG of less than 8 bits a pixel, by the specification: no library writes grey ones."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + crc

    bits_of = (numbers[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(bits_of.reshape(len(numbers), -1), axis=1)
    header = struct.pack('>IIBBBBB', numbers.shape[1], numbers.shape[0], bits, colour_type, 0, 0, 0)
    return b''.join([
        b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', header), chunk(b'PLTE', palette) if palette else b'',
        chunk(b'IDAT', zlib.compress(b''.join(b'\0' + row.tobytes() for row in rows))),
        chunk(b'IEND', b''),
    ])  # fmt: skip


def palette_of(count: int) -> bytes:
    """Colours that come to no order of their indices."""
    return RNG.permutation(256 * 3).astype(np.uint8)[: 3 * count].tobytes()


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
@pytest.mark.parametrize('colour_type', [0, 3], ids=['grey', 'palette'])
def test_numbers_are_those_in_the_file_whatever_its_depth(bits, colour_type, tmp_path):
    numbers = RNG.integers(0, 2**bits, SIZE)
    palette = palette_of(2**bits) if colour_type == 3 else b''
    (tmp_path / 'a.png').write_bytes(stored(numbers, bits, colour_type, palette))
    np.testing.assert_array_equal(read_labels(tmp_path / 'a.png'), numbers)
    if palette:
        colors = np.frombuffer(palette, np.uint8).reshape(-1, 3)
        np.testing.assert_array_equal(read_colors(tmp_path / 'a.png'), colors[numbers])
        known = read_palette(tmp_path / 'a.png')
        assert [known[i] for i in range(2**bits)] == [f'#{c.tobytes().hex()}' for c in colors]
    else:
        assert read_palette(tmp_path / 'a.png') == {}


@pytest.mark.parametrize(
    ('name', 'dtype', 'most'),
    [('a.png', np.uint16, 65535), ('a.tif', np.uint16, 65535), ('a.tif', np.int32, 70000),
     ('a.tif', np.float32, 300), ('a.npy', np.int64, 70000), ('a.npy', bool, 1),
     ('a.bmp', np.uint8, 255)],
)  # fmt: skip
def test_deep_masks_and_arrays(name, dtype, most, tmp_path):
    numbers = RNG.integers(0, most, SIZE, endpoint=True).astype(dtype)
    if name.endswith('.npy'):
        np.save(tmp_path / name, numbers[None])
    elif dtype is np.uint16:
        cv2.imwrite(str(tmp_path / name), numbers)
    else:
        Image.fromarray(numbers).save(tmp_path / name)
    np.testing.assert_array_equal(read_labels(tmp_path / name), numbers)


def load(path, **settings):
    results = dict(seg_map_path=str(path), seg_fields=[], **settings.pop('results', {}))
    return LoadLabels(**settings).transform(results)['gt_seg_map']


@pytest.mark.parametrize('reduce_zero_label', [True, False])
def test_labels_are_mmsegmentations_where_8_bits_suffice(reduce_zero_label, tmp_path):
    numbers = RNG.integers(0, 256, SIZE).astype(np.uint8)
    Image.fromarray(numbers).save(tmp_path / 'a.png')
    about = dict(reduce_zero_label=reduce_zero_label, label_map={3: 255, 7: 1})
    sample = dict(seg_map_path=str(tmp_path / 'a.png'), seg_fields=[], **about)
    expected = LoadAnnotations().transform(sample)['gt_seg_map']
    found = load(tmp_path / 'a.png', results=about)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


@pytest.mark.parametrize('bits', [1, 4, 8, 16])
@pytest.mark.parametrize('shown', ['minisblack', 'miniswhite'])
def test_the_number_in_a_tiff_counts_and_not_how_it_is_shown(tmp_path, bits, shown):
    """ImageJ's masks are shown inverted unless it is told otherwise."""
    tifffile = pytest.importorskip('tifffile')
    numbers = RNG.integers(0, min(2**bits, 250), (16, 24)).astype(np.uint16)
    kind = {1: bool, 4: np.uint8, 8: np.uint8, 16: np.uint16}[bits]
    # Two numbers in a byte, which not every tifffile writes.
    written = numbers[:, ::2] << 4 | numbers[:, 1::2] if bits == 4 else numbers
    tifffile.imwrite(tmp_path / 'a.tif', written.astype(kind), photometric=shown)
    if bits == 4:
        with tifffile.TiffFile(tmp_path / 'a.tif', mode='r+b') as file:
            tags = file.pages[0].tags
            tags['ImageWidth'].overwrite(24)
            tags['BitsPerSample'].overwrite(4)
    np.testing.assert_array_equal(load(tmp_path / 'a.tif', ignored=[]), numbers)


def test_labels_above_255_stay_what_they_are(tmp_path):
    numbers = np.array([[0, 1, 300], [255, 65535, 299]], np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), numbers)
    settings = dict(ignored=[65535], ignore_index=65535)
    np.testing.assert_array_equal(load(tmp_path / 'a.png', **settings), numbers)
    zero_is_none = load(tmp_path / 'a.png', results=dict(reduce_zero_label=True), **settings)
    assert zero_is_none.tolist() == [[65535, 0, 299], [254, 65535, 298]]
    few = load(tmp_path / 'a.png', ignored=[65535])
    few = MapLabels({300: 2, 299: 3, 0: 4}).transform(dict(gt_seg_map=few))['gt_seg_map']
    assert few.tolist() == [[4, 1, 2], [255, 255, 3]]
    assert few.dtype == np.uint8


def test_what_is_no_class(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([[-1, 0, 5], [255, 2, 3]]))
    assert load(tmp_path / 'a.npy').tolist() == [[255, 0, 5], [255, 2, 3]]
    np.save(tmp_path / 'b.npy', np.array([[np.nan, 1.0]]))
    assert load(tmp_path / 'b.npy').tolist() == [[255, 1]]
    np.save(tmp_path / 'c.npy', np.array([[-2, 1]]))
    with pytest.raises(ValueError, match=r'c\.npy has the number -2; .* and -1 are ignored'):
        load(tmp_path / 'c.npy')
    np.save(tmp_path / 'd.npy', np.array([[0.5, 1]]))
    with pytest.raises(ValueError, match=r'd\.npy has the number 0\.5; a label is a whole number'):
        load(tmp_path / 'd.npy')


def test_numbers_of_instances_become_those_of_classes(tmp_path):
    # As Cityscapes stores them: class 26, instances 0 and 1, and a class without instances.
    cv2.imwrite(str(tmp_path / 'a.png'), np.array([[26000, 26001, 7, 0]], np.uint16))
    assert load(tmp_path / 'a.png', divide_by=1000).tolist() == [[26, 26, 7, 0]]


def test_colours_stand_for_labels(tmp_path):
    numbers = RNG.integers(0, 3, SIZE)
    table = {'#ff8000': 0, '#000000': 2, '#00007f': 1}
    rgb = np.array([[255, 128, 0], [0, 0, 127], [0, 0, 0]], np.uint8)[numbers]
    Image.fromarray(rgb).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(load(tmp_path / 'a.png', colors=table), numbers)
    # A palette of its own order, and black where it is transparent.
    Image.fromarray(rgb).quantize(3).save(tmp_path / 'p.png')
    np.testing.assert_array_equal(load(tmp_path / 'p.png', colors=table), numbers)
    alpha = np.where(numbers == 2, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([rgb + (alpha == 0)[..., None] * np.uint8(9), alpha])).save(
        tmp_path / 't.png'
    )
    np.testing.assert_array_equal(load(tmp_path / 't.png', colors=table), numbers)
    rgb[0, 0] = 1, 2, 3
    Image.fromarray(rgb).save(tmp_path / 'b.png')
    with pytest.raises(ValueError, match=r'b\.png has 1 pixels of colours .* #010203; known are'):
        load(tmp_path / 'b.png', colors=table)
    with pytest.raises(ValueError, match=r'b\.png has colours in place of numbers'):
        load(tmp_path / 'b.png')


def test_numbers_saved_as_three_equal_channels(tmp_path):
    numbers = RNG.integers(0, 5, SIZE).astype(np.uint8)
    Image.fromarray(np.dstack([numbers] * 3)).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(load(tmp_path / 'a.png'), numbers)


def test_what_is_transparent_is_0_and_what_is_turned_is_turned_back(tmp_path):
    numbers = RNG.integers(1, 99, SIZE).astype(np.uint8)
    alpha = RNG.choice([0, 255], SIZE).astype(np.uint8)
    Image.fromarray(np.dstack([numbers, alpha])).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_labels(tmp_path / 'a.png'), np.where(alpha, numbers, 0))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(numbers).save(tmp_path / 'b.png', exif=exif)
    # To be turned by a quarter, clockwise.
    np.testing.assert_array_equal(read_labels(tmp_path / 'b.png'), np.rot90(numbers, -1))


def test_damaged_masks_are_named(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    Image.fromarray(RNG.integers(0, 255, (99, 99), np.uint8)).save(tmp_path / 'b.png')
    (tmp_path / 'b.png').write_bytes((tmp_path / 'b.png').read_bytes()[:3000])
    (tmp_path / 'c.npy').write_bytes(b'no array')
    np.save(tmp_path / 'd.npy', np.zeros((3, 4, 5)))
    np.save(tmp_path / 'f.npy', np.array([['a', 'b']]))
    for name in 'a.png', 'b.png', 'c.npy', 'd.npy', 'f.npy':
        with pytest.raises(BrokenImage, match=name):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / 'e.png')


def test_single_photos_pass():
    assert LoadLabels().transform(dict(img=3)) == dict(img=3)


def test_a_label_that_is_out_of_range_is_told_by_its_own_number(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.array([[0, 300]], np.uint16))
    results = dict(gt_seg_map=load(tmp_path / 'a.png'), ori_shape=(1, 2), seg_map_path='a.png')
    with pytest.raises(ValueError, match=r'a\.png has the label\(s\) 300; with 45 classes'):
        CheckAnnotation(45).transform(results)
