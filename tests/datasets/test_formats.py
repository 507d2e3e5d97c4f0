"""A file of every kind is found and read: against the arrays in it, and against other readers."""

import gzip
import shutil
import warnings

import cv2
import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import rasterio
import tifffile
from kinds import DEEP, DEEP4, KINDS, OBLIQUE, SMOOTH, H, W, dicom, geotiff, write_all
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_rescale, pixel_array
from rasterio.windows import Window

from beit_mm.datasets.finding import find_photos
from beit_mm.datasets.reading import known_formats, opening
from beit_mm.datasets.reading.broken_image import BrokenImage
from beit_mm.datasets.reading.image_file import Box
from beit_mm.datasets.reading.opening import open_image

BOXES = [Box(0, 0, 1, 1), Box(3, 5, 4, 2), Box(1, 0, 5, 6), Box(15, 15, 18, 34)]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kinds')
    write_all(folder)
    return folder


def same(read: np.ndarray, made: np.ndarray, exact: bool) -> bool:
    if exact:
        return read.dtype == made.dtype and np.array_equal(read, made)
    steps = 1 if made.dtype == np.uint8 else 4
    return read.shape == made.shape and np.abs(read.astype(int) - made).max() <= 12 * steps


def test_every_kind_is_found(folder):
    found = find_photos(folder)
    assert found.names == sorted(kind.name for kind in KINDS)
    assert not found.left_out


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.name)
def test_pixels_bands_and_depth_are_those_of_the_file(folder, kind):
    path = folder / kind.name
    for frame, made in kind.images.items():
        name = path if frame is None else f'{path}#{frame}'
        sources = [(name, None)] + ([(path.read_bytes(), frame)] if path.is_file() else [])
        for source, place in sources:
            with open_image(source, place) as image:
                assert (image.size, image.dtype) == (made.shape[:2], made.dtype)
                assert image.no_data == kind.no_data
                read = image.read()
                assert read.flags.c_contiguous
                assert same(read, made, kind.exact), frame
                if made.shape[2] == len(kind.bands):
                    assert image.bands == kind.bands
                for top, left, height, width in BOXES:
                    if top + height <= made.shape[0] and left + width <= made.shape[1]:
                        part = image.read(Box(top, left, height, width))
                        assert part.flags.c_contiguous
                        assert np.array_equal(part, read[top : top + height, left : left + width])
                        less = image.read(Box(top, left, height, width), 4)
                        assert less.shape[0] in (height, max(round(height / 4), 1))


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.name)
def test_stacks_are_listed_and_the_first_image_is_said(folder, kind):
    path = folder / kind.name
    listed = opening.reader_of(path).list_frames(path)
    assert listed == [frame for frame in kind.images if frame is not None]
    with open_image(path) as image:
        said = ('the first image of a stack taken',) if listed else ()
        assert image.changes == said
    if listed:
        with open_image(path, listed[-1]) as image:
            assert image.changes == ()
    with pytest.raises(BrokenImage):
        open_image(path, '4711').read()


@pytest.mark.parametrize('kind', [k for k in KINDS if '.' in k.name], ids=lambda kind: kind.name)
def test_most_are_told_without_their_ending(folder, kind, tmp_path):
    if kind.name.endswith('.zarr'):
        return
    shutil.copy(folder / kind.name, tmp_path / 'IM0001')
    assert find_photos(tmp_path).names == ['IM0001']
    with open_image(tmp_path / 'IM0001') as image:
        assert same(image.read(), kind.images[None], kind.exact)


def test_geotiff_windows_and_overviews_are_those_of_rasterio(tmp_path):
    rng = np.random.default_rng(0)
    made = rng.integers(0, 4096, (203, 305, 4)).astype('uint16')
    for settings in ({}, {'interleave': 'band'}, {'interleave': 'pixel', 'bigtiff': 'yes'}):
        path = tmp_path / 'a.tif'
        geotiff(made, (2, 4, 8), **settings)(path)
        with open_image(path) as image, rasterio.open(path) as raster:
            assert image.bands == raster.descriptions
            for box in (Box(0, 0, 203, 305), Box(33, 64, 120, 200)):
                top, left, height, width = box
                window = Window(left, top, width, height)
                expected = np.moveaxis(raster.read(window=window), 0, -1)
                assert np.array_equal(image.read(box), expected)
            for level, factor in enumerate((2, 4, 8)):
                with rasterio.open(path, overview_level=level) as reduced:
                    expected = np.moveaxis(reduced.read(), 0, -1)
                assert np.array_equal(image.read(None, factor), expected)
                part = image.read(Box(8, 16, 64, 128), factor)
                assert part.shape[:2] == (64 // factor, 128 // factor)
                begin = slice(8 // factor, 72 // factor), slice(16 // factor, 144 // factor)
                assert np.array_equal(part, expected[begin])
        path.unlink()


def test_masks_and_overviews_of_gdal_are_no_pages(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        geotiff(DEEP4[..., :3], (2,))(tmp_path / 'a.tif')
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(tmp_path / 'a.tif', 'r+') as file,
        ):
            file.write_mask(np.ones((H, W), bool))
    with open_image(tmp_path / 'a.tif') as image:
        assert image.changes == ()
        assert np.array_equal(image.read(), DEEP4[..., :3])


@pytest.mark.parametrize('ome', [True, False])
def test_levels_in_sub_directories(tmp_path, ome):
    made = np.arange(100 * 120, dtype='uint16').reshape(100, 120)
    with tifffile.TiffWriter(tmp_path / 'a.tif', ome=ome) as file:
        settings = dict(tile=(16, 16), photometric='minisblack', compression='zlib')
        file.write(made, subifds=2, **settings)
        file.write(made[::2, ::2], subfiletype=1, **settings)
        file.write(made[::4, ::4], subfiletype=1, **settings)
    with open_image(tmp_path / 'a.tif') as image:
        assert image.changes == ()
        for factor, step in ((1, 1), (2, 2), (4, 4), (8, 4)):
            assert np.array_equal(image.read(None, factor)[..., 0], made[::step, ::step])
            part = image.read(Box(20, 40, 40, 64), factor)[..., 0]
            assert np.array_equal(part, made[20:60:step, 40:104:step])
    assert opening.reader_of(tmp_path / 'a.tif').list_frames(tmp_path / 'a.tif') == []


def test_levels_of_ome_zarr_and_its_channels(tmp_path):
    zarr = pytest.importorskip('zarr')
    made = np.arange(2 * 3 * 80 * 96, dtype='uint16').reshape(3, 2, 80, 96)
    group = zarr.open_group(tmp_path / 'a.zarr', mode='w')
    make = getattr(group, 'create_array', None) or group.create_dataset
    for name, step in (('0', 1), ('1', 2)):
        level = made[..., ::step, ::step]
        make(name, shape=level.shape, chunks=(1, 1, 16, 16), dtype='uint16')[...] = level
    group.attrs['multiscales'] = [
        dict(axes=[dict(name=n) for n in 'czyx'], datasets=[dict(path='0'), dict(path='1')])
    ]
    group.attrs['omero'] = dict(channels=[dict(label=name) for name in ('dapi', 'gfp', 'rfp')])
    assert find_photos(tmp_path).names == ['a.zarr']
    assert opening.reader_of(tmp_path / 'a.zarr').list_frames(tmp_path / 'a.zarr') == ['0', '1']
    with open_image(f'{tmp_path}/a.zarr#1') as image:
        assert image.bands == ('dapi', 'gfp', 'rfp')
        assert np.array_equal(image.read(), np.moveaxis(made[:, 1], 0, -1))
        part = image.read(Box(10, 20, 30, 40), 2)
        assert np.array_equal(part, np.moveaxis(made[:, 1, 10:40:2, 20:60:2], 0, -1))


@pytest.mark.parametrize('name', ['a.zarr', 'a.tif'])
def test_a_level_with_fewer_slices_is_not_read(tmp_path, name):
    made = np.arange(6, dtype='uint16').repeat(80 * 96).reshape(6, 80, 96)
    levels = [made, made[::2, ::2, ::2]]
    if name == 'a.tif':
        with tifffile.TiffWriter(tmp_path / name) as file:
            for place, level in enumerate(levels):
                settings = dict(tile=(16, 16), subfiletype=place, photometric='minisblack')
                file.write(level, metadata=dict(axes='ZYX'), **settings)
    else:
        zarr = pytest.importorskip('zarr')
        group = zarr.open_group(tmp_path / name, mode='w')
        make = getattr(group, 'create_array', None) or group.create_dataset
        for place, level in enumerate(levels):
            make(str(place), shape=level.shape, chunks=(1, 16, 16), dtype='uint16')[...] = level
        group.attrs['multiscales'] = [
            dict(axes=[dict(name=n) for n in 'zyx'], datasets=[dict(path='0'), dict(path='1')])
        ]
    for number in (2, 5):
        with open_image(f'{tmp_path}/{name}#{number}') as image:
            assert set(image.read(None, 2).flat) == {number}


@pytest.mark.parametrize('orientation', range(1, 9))
def test_turned_tiff_is_what_pillow_sees(tmp_path, orientation):
    tags = [(274, 3, 1, orientation, True)]
    settings = dict(tile=(16, 16), photometric='rgb', compression='zlib')
    tifffile.imwrite(tmp_path / 'a.tif', SMOOTH, extratags=tags, **settings)
    plain = Image.fromarray(SMOOTH)
    plain.getexif()[274] = orientation
    ways = [None, 0, 3, 1, 5, 4, 6, 2]
    way = ways[orientation - 1]
    seen = np.asarray(plain if way is None else plain.transpose(Image.Transpose(way)))
    with open_image(tmp_path / 'a.tif') as image:
        assert image.size == seen.shape[:2]
        assert np.array_equal(image.read(), seen)
        assert np.array_equal(image.read(Box(4, 9, 25, 20)), seen[4:29, 9:29])


def test_colors_multiplied_by_alpha_and_inks(tmp_path):
    alpha = np.full((H, W, 1), 128, 'uint8')
    multiplied = (SMOOTH.astype(float) * 128 / 255).round().astype('uint8')
    half = np.concatenate([multiplied, alpha], axis=2)
    tifffile.imwrite(tmp_path / 'a.tif', half, photometric='rgb', extrasamples=['assocalpha'])
    with open_image(tmp_path / 'a.tif') as image:
        assert np.abs(image.read()[..., :3].astype(int) - SMOOTH).max() <= 1
    inks = np.random.default_rng(0).integers(0, 256, (H, W, 4), dtype='uint8')
    tifffile.imwrite(tmp_path / 'b.tif', inks, photometric='separated')
    with open_image(tmp_path / 'b.tif') as image:
        seen = np.asarray(Image.fromarray(inks, 'CMYK').convert('RGB')).astype(int)
        assert np.abs(image.read() - seen).max() <= 1
        assert image.changes == ('CMYK turned into RGB',)


@pytest.mark.parametrize('stored', ['CMYK', 'YCCK'])
def test_jpeg_for_print_is_what_opencv_sees(stored):
    # As Adobe's programs do: with 255 for no ink.
    inks = 255 - np.asarray(Image.fromarray(SMOOTH).convert('CMYK'))
    content = imagecodecs.jpeg_encode(inks, level=95, colorspace='CMYK', outcolorspace=stored)
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    with open_image(content) as image:
        assert image.changes == ('CMYK turned into RGB',)
        assert np.abs(image.read() - seen).max() <= 2
        assert np.abs(image.read() - SMOOTH.astype(int)).max() <= 12


def test_pages_of_a_book_are_no_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as file:
        for size in (20, 30, 20):
            file.write(np.full((size, 50), size, 'uint8'), metadata=None, contiguous=False)
    assert opening.reader_of(tmp_path / 'a.tif').list_frames(tmp_path / 'a.tif') == []
    with open_image(tmp_path / 'a.tif') as image:
        assert image.changes == ('the first of several images in a file taken',)
    sizes = [open_image(f'{tmp_path}/a.tif#{n}').size[0] for n in range(3)]
    assert sizes == [20, 30, 20]


def test_a_volume_of_times_and_one_of_kinds(tmp_path):
    times = np.random.default_rng(0).normal(size=(6, 5, 4, 40)).astype('float32')
    nibabel.save(nibabel.Nifti1Image(times, np.eye(4)), tmp_path / 'a.nii')
    with open_image(f'{tmp_path}/a.nii#{4 * 7 + 2}') as image:
        assert np.array_equal(image.read()[..., 0], times[:, ::-1, 2, 7].T)
    nibabel.save(nibabel.Nifti1Image(times[..., :4], OBLIQUE), tmp_path / 'b.nii')
    turned = nibabel.as_closest_canonical(nibabel.load(tmp_path / 'b.nii')).get_fdata()
    with open_image(f'{tmp_path}/b.nii#3') as image:
        assert len(image.bands) == 4
        assert np.allclose(image.read(), turned[:, ::-1, 3].transpose(1, 0, 2))
    scaled = nibabel.Nifti1Image(times[..., 0].astype('float64'), np.eye(4))
    scaled.set_data_dtype('int16')
    nibabel.save(scaled, tmp_path / 'c.nii')
    with open_image(tmp_path / 'c.nii') as image:
        assert image.dtype == np.float32
        whole = nibabel.load(tmp_path / 'c.nii').get_fdata()
        assert np.allclose(image.read()[..., 0], whole[:, ::-1, 0].T)


# Compressed, and the same file as it is.
SCANS = {
    'CT_small': 'CT_small',
    'MR_small_RLE': 'MR_small',
    'MR_small_jp2klossless': 'MR_small',
    'MR_small_jpeg_ls_lossless': 'MR_small',
    'SC_ybr_full_422_uncompressed': 'SC_ybr_full_422_uncompressed',
    'examples_palette': 'examples_palette',
}


@pytest.mark.parametrize('name', SCANS)
def test_dicom_as_scanners_write_it(name):
    paths = [get_testdata_file(f'{n}.dcm', download=False) for n in (name, SCANS[name])]
    if None in paths:
        pytest.skip('pydicom brings no such file')
    dataset = pydicom.dcmread(paths[1])
    stored = dataset.pixel_array
    with open_image(paths[0]) as image:
        read = image.read()
    if dataset.SamplesPerPixel == 3:
        raw = pixel_array(paths[1], raw=True)
        seen = np.asarray(Image.fromarray(raw, 'YCbCr').convert('RGB')).astype(int)
        assert np.abs(read - seen).max() <= 1
    elif 'palette' in name:
        assert np.array_equal(read, apply_color_lut(stored, dataset)[..., :3])
    else:
        assert np.array_equal(read[..., 0], apply_rescale(stored, dataset))


@pytest.mark.parametrize('codec', ['ljpeg', 'jpegls', 'jpeg2k'])
def test_dicom_compressed_without_loss(tmp_path, codec):
    syntax = {'ljpeg': '70', 'jpegls': '80', 'jpeg2k': '90'}[codec]
    given = dict(level=0, reversible=True) if codec == 'jpeg2k' else {}
    dicom(DEEP)(tmp_path / 'a.dcm')
    dataset = pydicom.dcmread(tmp_path / 'a.dcm')
    frame = getattr(imagecodecs, f'{codec}_encode')(DEEP, **given)
    dataset.PixelData = encapsulate([frame])
    dataset['PixelData'].VR = 'OB'
    dataset.file_meta.TransferSyntaxUID = f'1.2.840.10008.1.2.4.{syntax}'
    dataset.save_as(tmp_path / 'a.dcm')
    with open_image(tmp_path / 'a.dcm') as image:
        assert np.array_equal(image.read()[..., 0], DEEP)


def test_what_is_not_installed_is_named_with_its_extra(folder, monkeypatch):
    monkeypatch.setattr(opening, 'readable_formats', lambda: frozenset({'png'}))
    for name, extra in (('scan.dcm', 'medical'), ('head.nii', 'medical'), ('cells.h5', 'science')):
        with pytest.raises(BrokenImage, match=rf"pip install 'beit-mm\[{extra}\]'"):
            open_image(folder / name)


def test_without_tifffile_and_imagecodecs_pillow_reads_what_it_can(folder, monkeypatch):
    there = known_formats.importlib.util.find_spec
    without = ('tifffile', 'imagecodecs', 'rasterio')
    monkeypatch.setattr(
        known_formats.importlib.util, 'find_spec', lambda n: None if n in without else there(n)
    )
    by_name = {kind.name: kind for kind in KINDS}
    with open_image(folder / 'strips.tif') as image:
        assert np.array_equal(image.read(), by_name['strips.tif'].images[None])
    reduced = ('more than 8 bits a colour read as 8',)
    for name in ('deep_colors.png', 'deep.avif', 'deep_colors.jp2'):
        with open_image(folder / name) as image:
            assert (image.changes, image.dtype) == (reduced, np.dtype('uint8'))
    with open_image(folder / 'planar.tif') as image:
        assert image.changes == ('bands left out',)
    with pytest.raises(BrokenImage, match=r'beit-mm\[images\]'):
        open_image(folder / 'double.tif')


def test_a_packed_volume_is_one_whatever_packed_it(tmp_path, folder):
    plain = gzip.decompress((folder / 'head.nii.gz').read_bytes())
    (tmp_path / 'again.nii.gz').write_bytes(gzip.compress(plain, 1))
    with open_image(tmp_path / 'again.nii.gz') as image:
        assert np.array_equal(image.read(), open_image(folder / 'head.nii.gz').read())
