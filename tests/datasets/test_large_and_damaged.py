"""What a crop costs does not grow with the image, and damaged files end in a plain line."""

import io
import shutil
import struct
import tracemalloc
import zlib

import imagecodecs
import nibabel
import numpy as np
import pytest
import rasterio
import tifffile
from kinds import KINDS, dicom, write_all
from photos import bomb
from rasterio.windows import Window

from beit_mm.datasets.reading import tiff_pages
from beit_mm.datasets.reading.broken_image import BrokenImage
from beit_mm.datasets.reading.choosing import Reading
from beit_mm.datasets.reading.image_file import Box
from beit_mm.datasets.reading.opening import open_image

SIDE = 40_000
PART = np.random.default_rng(0).integers(0, 4096, (300, 300)).astype('uint16')
# Where it lies in the large image: over tiles of 256 from 78 to 79, and in chunks of 500 in 40.
AT = Box(20_000, 20_000, 300, 300)
MEBIBYTE = 2**20


def large_tiff(path, **settings):
    made = dict(
        driver='GTiff', height=SIDE, width=SIDE, count=1, dtype='uint16', tiled=True,
        compress='deflate', sparse_ok=True,
    )  # fmt: skip
    made.update(settings)
    with rasterio.open(path, 'w', **made) as file:
        file.write(PART, 1, window=Window(AT.left, AT.top, AT.width, AT.height))


def large_zarr(path):
    zarr = pytest.importorskip('zarr')
    group = zarr.open_group(path, mode='w')
    make = getattr(group, 'create_array', None) or group.create_dataset
    array = make('a', shape=(SIDE, SIDE), chunks=(500, 500), dtype='uint16')
    array[AT.top : AT.top + 300, AT.left : AT.left + 300] = PART


def large_hdf5(path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(path, 'w') as file:
        array = file.create_dataset('a', (SIDE, SIDE), 'uint16', chunks=(500, 500))
        array[AT.top : AT.top + 300, AT.left : AT.left + 300] = PART


def large_npy(path):
    array = np.lib.format.open_memmap(path, 'w+', 'uint16', (SIDE, SIDE))
    array[AT.top : AT.top + 300, AT.left : AT.left + 300] = PART


def large_raw_tiff(path):
    array = tifffile.memmap(path, shape=(SIDE, SIDE), dtype='uint16', photometric='minisblack')
    array[AT.top : AT.top + 300, AT.left : AT.left + 300] = PART
    array.flush()


LARGE = {
    'tiles.tif': large_tiff,
    'strips.tif': lambda path: large_tiff(path, tiled=False, blockysize=1),
    'raw.tif': large_raw_tiff,
    'cells.zarr': large_zarr,
    'cells.h5': large_hdf5,
    'cells.npy': large_npy,
}


@pytest.mark.parametrize('name', LARGE)
def test_a_crop_of_a_large_image_takes_the_memory_of_a_crop(tmp_path, name):
    LARGE[name](tmp_path / name)
    open_image(tmp_path / name).close()
    tracemalloc.start()
    with open_image(tmp_path / name) as image:
        assert image.size == (SIDE, SIDE)
        read = image.read(AT)
        assert np.array_equal(read[..., 0], PART)
        assert not image.read(Box(SIDE - 10, 3, 10, 10)).any()
        # The table of its tiles is not small: 1 GB of pixels and less than 10 MiB.
        assert tracemalloc.get_traced_memory()[1] < 20 * MEBIBYTE
        with pytest.raises(ValueError, match='pixels that are read at once'):
            image.read()
    tracemalloc.stop()
    with (
        Reading(bands=1).open(tmp_path / name) as image,
        pytest.raises(BrokenImage, match='at once'),
    ):
        image.read()


def test_no_more_tiles_are_decoded_than_a_crop_touches(tmp_path, monkeypatch):
    large_tiff(tmp_path / 'a.tif')
    # Of a smaller image with the same tiles there.
    small = dict(height=AT.top + 300, width=AT.left + 300)
    large_tiff(tmp_path / 'b.tif', **small)
    decoded = []
    decode = tiff_pages.decode

    def counted(*given):
        decoded.append(given)
        return decode(*given)

    monkeypatch.setattr(tiff_pages, 'decode', counted)
    touching = {AT: 4, Box(20_000, 20_000, 1, 1): 1, Box(20_200, 20_000, 9, 300): 2}
    for name in ('a.tif', 'b.tif'):
        with open_image(tmp_path / name) as image:
            for box, tiles in touching.items():
                decoded.clear()
                image.read(box)
                assert len(decoded) == tiles


def ifd(width: int, height: int, tiled: bool) -> bytes:
    """A TIFF file of one deflated tile or strip, which claims any size."""
    packed = zlib.compress(bytes(1000))
    tags = [(256, width), (257, height), (258, 16), (259, 8), (262, 1), (277, 1)]
    tags += [(322, width), (323, height)] if tiled else [(278, height)]
    tags += [(324, 8), (325, len(packed))] if tiled else [(273, 8), (279, len(packed))]
    tags.sort()
    place = 8 + len(packed)
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack('<H', len(tags)) + entries + bytes(4)
    return b'II*\0' + struct.pack('<I', place) + packed + directory


def npy(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    header = dict(descr='<u2', fortran_order=False, shape=shape)
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(100)


def claims(folder) -> dict[str, bytes]:
    """Small files that claim 10^12 pixels, or as many as their format can."""
    million = 10**6
    dicom(np.zeros((4, 4), 'uint16'))(folder / 'a.dcm')
    scan = (folder / 'a.dcm').read_bytes()
    rows, columns = struct.pack('<HH', 0x28, 0x10), struct.pack('<HH', 0x28, 0x11)
    for tag in (rows, columns):
        place = scan.index(tag) + 8
        scan = scan[:place] + b'\xff\xff' + scan[place + 2 :]
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), 'uint8'), np.eye(4)), folder / 'a.nii')
    volume = bytearray((folder / 'a.nii').read_bytes())
    volume[42:48] = struct.pack('<3h', 32767, 32767, 32767)
    wide = imagecodecs.jpeg2k_encode(np.zeros((8, 8), 'uint16'), codecformat='jp2')
    place = wide.index(b'\xff\x51') + 6
    return {
        'a.png': bomb(),
        'tiles.tif': ifd(million, million, True),
        'strips.tif': ifd(million, million, False),
        'a.npy': npy((million, million)),
        'b.npy': npy((million, million, 3)),
        'a.ppm': b'P6 1000000 1000000 65535\n' + bytes(100),
        'a.dcm': scan,
        'a.nii': bytes(volume),
        'a.jp2': wide[:place] + struct.pack('>II', million, million) + wide[place + 8 :],
    }


def test_a_small_file_that_claims_to_be_large_takes_no_memory(tmp_path):
    for name, content in claims(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        for source in (tmp_path / name, content):
            tracemalloc.start()
            with pytest.raises(BrokenImage) as raised, Reading(bands=1).open(source) as image:
                image.read()
            assert tracemalloc.get_traced_memory()[1] < 20 * MEBIBYTE, name
            tracemalloc.stop()
            assert '\n' not in raised.value.reason


def test_large_chunks_are_refused(tmp_path):
    zarr, h5py = pytest.importorskip('zarr'), pytest.importorskip('h5py')
    group = zarr.open_group(tmp_path / 'a.zarr', mode='w')
    make = getattr(group, 'create_array', None) or group.create_dataset
    make('a', shape=(SIDE, SIDE), chunks=(SIDE, SIDE), dtype='uint16')
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.create_dataset('a', (SIDE, SIDE), 'uint16', chunks=(SIDE, SIDE // 2))
    for name in ('a.zarr', 'a.h5'):
        with pytest.raises(BrokenImage, match='a chunk of it takes'):
            open_image(tmp_path / name)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kinds')
    write_all(folder)
    return folder


def reason_of(source) -> str | None:
    """Why an image cannot be read; None if it can. No other error, and no crash."""
    try:
        with Reading(bands=1, value_range='dtype').open(source) as image:
            image.read()
    except BrokenImage as error:
        return error.reason
    return None


FILES = [kind.name for kind in KINDS if not kind.name.endswith('.zarr')]


@pytest.mark.parametrize('name', FILES)
def test_damaged_files_are_broken_images(folder, tmp_path, name):
    whole, rng = (folder / name).read_bytes(), np.random.default_rng(0)
    damaged = [whole[: len(whole) * part // 8] for part in range(8)]
    for _ in range(12):
        copy = bytearray(whole)
        # Headers lie in the beginning, mostly.
        for place in rng.integers(0, [len(whole), min(len(whole), 600)]):
            copy[place] = rng.integers(0, 256)
        damaged.append(bytes(copy))
    (tmp_path / name).write_bytes(whole)
    assert reason_of(tmp_path / name) is None
    reasons = []
    for content in damaged:
        (tmp_path / name).write_bytes(content)
        reasons += [reason_of(tmp_path / name), reason_of(content)]
    told = [reason for reason in reasons if reason is not None]
    # The first image of a stack may be there where the others are not.
    assert len(told) >= 4
    assert all(told)
    assert not any('\n' in reason for reason in told)


def test_damaged_folders_of_zarr_are_broken_images(folder, tmp_path):
    names = ('zarr.json', '.zarray', '0.0.0', 'c/0/0/0')
    there = [name for name in names if (folder / 'cells.zarr/photos' / name).exists()]
    assert len(there) == 2
    for number, name in enumerate(there):
        copy = tmp_path / f'{number}.zarr'
        shutil.copytree(folder / 'cells.zarr', copy)
        assert reason_of(copy) is None
        part = copy / 'photos' / name
        part.write_bytes(part.read_bytes()[:8])
        reason = reason_of(copy)
        assert reason
        assert '\n' not in reason


def test_a_text_with_an_images_ending_is_a_plain_line(tmp_path):
    endings = ('tif', 'npy', 'npz', 'dcm', 'nii', 'nii.gz', 'h5', 'jp2', 'svs', 'zarr')
    for ending in endings:
        path = tmp_path / f'a.{ending}'
        path.write_text('no image at all, but a text of some length ' * 20)
        with pytest.raises(BrokenImage) as raised:
            open_image(path)
        assert '\n' not in str(raised.value)
    (tmp_path / 'b.zarr').mkdir()
    with pytest.raises(BrokenImage):
        open_image(tmp_path / 'b.zarr')


def test_what_ends_early_says_how_much_is_missing():
    with pytest.raises(BrokenImage, match=r'cut off: its array takes 200 bytes, and 100 are there'):
        open_image(npy((10, 10)))
    with pytest.raises(BrokenImage, match='its array is empty'):
        open_image(npy((0, 10)))
    with pytest.raises(BrokenImage, match=r'cut off: its image takes 48 bytes, and 9 are there'):
        open_image(b'P6 4 2 65535\n' + bytes(9))
