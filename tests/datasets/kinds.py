"""A file of every kind that is read, made here, and the arrays that it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import imagecodecs
import nibabel
import numpy as np
import pydicom
import rasterio
import tifffile
import zarr
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian
from rasterio.enums import Resampling

H, W = 40, 56
RGB = ('red', 'green', 'blue')


class Kind(NamedTuple):
    """How a file is written, and what is to be read: frame -> (H, W, bands)."""

    name: str
    write: Callable[[Path], None]
    images: dict[str | None, np.ndarray]
    bands: tuple[str, ...] = ('grey',)
    exact: bool = True
    no_data: float | None = None


def numbers(*shape: int, dtype: str = 'uint16', most: int = 4096, seed: int = 0) -> np.ndarray:
    """Random whole numbers below ``most``."""
    return np.random.default_rng(seed).integers(0, most, shape).astype(dtype)


GREY8, COLOR8 = numbers(H, W, dtype='uint8', most=256), numbers(H, W, 3, dtype='uint8', most=256)
DEEP, DEEP3, DEEP4 = numbers(H, W), numbers(H, W, 3), numbers(H, W, 4)
STACK = numbers(5, H, W, seed=1)
# In an array, so many are no bands.
MANY = numbers(33, H, W, seed=1)
FLOATS = np.random.default_rng(2).normal(size=(H, W)).astype('float32')
SMOOTH = np.asarray(
    Image.fromarray(numbers(4, 5, 3, dtype='uint8', most=200)).resize(
        (W, H), Image.Resampling.BICUBIC
    )
)


def pil(kind: str, pixels: np.ndarray, **settings) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(pixels).save(path, kind, **settings)


def tiff(pixels: np.ndarray, **settings) -> Callable[[Path], None]:
    return lambda path: tifffile.imwrite(path, pixels, **settings)


def content(made: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(made)


def geotiff(pixels: np.ndarray, overviews: tuple[int, ...] = (), **settings):
    """Written by GDAL, of (H, W, bands)."""

    def write(path: Path) -> None:
        height, width, count = pixels.shape
        made = dict(
            driver='GTiff', height=height, width=width, count=count, dtype=pixels.dtype.name,
            compress='deflate', tiled=True, blockxsize=16, blockysize=16,
        )  # fmt: skip
        made.update(settings)
        with rasterio.open(path, 'w', **made) as file:
            file.write(np.moveaxis(pixels, -1, 0))
            if count == 4:
                file.descriptions = ('blue', 'green', 'red', 'nir')
            if overviews:
                file.build_overviews(overviews, Resampling.average)

    return write


def dicom(pixels: np.ndarray, **tags) -> Callable[[Path], None]:
    """Of 12 bits in 16, or what the tags say."""

    def write(path: Path) -> None:
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = '1.2.840.10008.5.1.4.1.1.7'
        dataset.SOPInstanceUID = '1.2.3'
        bits = pixels.dtype.itemsize * 8
        made = dict(
            PhotometricInterpretation='MONOCHROME2', SamplesPerPixel=1, BitsAllocated=bits,
            BitsStored=12 if bits == 16 else bits, PixelRepresentation=0,
        )  # fmt: skip
        made.update(tags)
        made['HighBit'] = made['BitsStored'] - 1
        last = 3 if made['SamplesPerPixel'] == 3 else 2
        shape = (
            pixels.shape[: last if last == 2 else 2] if pixels.ndim == last else pixels.shape[1:3]
        )
        if pixels.ndim > last:
            made['NumberOfFrames'] = len(pixels)
        if last == 3:
            made['PlanarConfiguration'] = 0
        dataset.Rows, dataset.Columns = shape
        for name, value in made.items():
            setattr(dataset, name, value)
        dataset.add_new(0x7FE00010, 'OW' if bits == 16 else 'OB', pixels.tobytes())
        dataset.save_as(path, enforce_file_format=True)

    return write


def nifti(numbers_: np.ndarray, affine: np.ndarray, kind=nibabel.Nifti1Image):
    return lambda path: nibabel.save(kind(numbers_, affine), path)


def upright(volume: np.ndarray, affine: np.ndarray) -> dict[str | None, np.ndarray]:
    """Slices by nibabel's own way to turn a volume."""
    turned = np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, affine)).dataobj)
    slices = {str(k): turned[:, ::-1, k].T[..., None] for k in range(turned.shape[2])}
    return {None: slices['0'], **slices}


def hdf5(path: Path) -> None:
    with h5py.File(path, 'w') as file:
        file.create_dataset('a/photos', data=MANY, chunks=(1, 16, 16), compression='gzip')
        file.create_dataset('b', data=np.moveaxis(DEEP4, -1, 0))
        file['labels'] = np.arange(5)
        file['names'] = b'words'
        file['twice'] = h5py.SoftLink('/b')


def zarrs(path: Path) -> None:
    group = zarr.open_group(path, mode='w')
    make = getattr(group, 'create_array', None) or group.create_dataset
    for name, made in (('photos', MANY), ('wide', DEEP4)):
        chunks = (1, 16, 16) if name == 'photos' else (16, 16, 4)
        make(name, shape=made.shape, chunks=chunks, dtype=made.dtype)[...] = made


def npz(save: Callable) -> Callable[[Path], None]:
    return lambda path: save(path, photos=MANY, wide=np.asfortranarray(DEEP4), names=['a', 'b'])


def frames(stack: np.ndarray, name: str = '') -> dict[str | None, np.ndarray]:
    """Of a stack in an array of this name."""
    numbered = {f'{name}{n}': one[..., None] for n, one in enumerate(stack)}
    return {None: stack[0][..., None], **numbered}


def one(pixels: np.ndarray) -> dict[str | None, np.ndarray]:
    return {None: pixels if pixels.ndim == 3 else pixels[..., None]}


def with_alpha(pixels: np.ndarray, see_through: np.ndarray, most: int) -> np.ndarray:
    alpha = np.where(see_through, 0, most).astype(pixels.dtype)
    return np.concatenate([pixels, alpha[..., None]], axis=2)


OBLIQUE = np.array([[0, 0, 3, 0], [-2, 0, 0, 5], [0, -1, 0, 9], [0, 0, 0, 1]], float)
VOLUME = numbers(7, 6, 9, dtype='int16', most=2000)
PALETTE = numbers(256, 3, dtype='uint8', most=256, seed=3)
COLORMAP = (PALETTE.T.astype('uint16') << 8) | 17
FOUR = [0, 1, 2, 0]
PLACE = COLOR8[0, 0]
SAME = (COLOR8 == PLACE).all(axis=2)
AVIF = imagecodecs.avif_encode((SMOOTH.astype('uint16') * 4), level=100, bitspersample=10, speed=10)


def jp2(pixels: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(
        pixels, level=0, codecformat='jp2', bitspersample=bits, reversible=True
    )


KINDS = [
    # Photos.
    Kind('plain.jpg', pil('JPEG', SMOOTH, quality=95), one(SMOOTH), RGB, exact=False),
    Kind('progressive.jpg', pil('JPEG', SMOOTH, quality=95, progressive=True), one(SMOOTH), RGB,
         exact=False),
    Kind('grey.jpg', pil('JPEG', SMOOTH[..., 0], quality=95), one(SMOOTH[..., 0]), exact=False),
    Kind('plain.webp', pil('WEBP', COLOR8, lossless=True), one(COLOR8), RGB),
    Kind('plain.bmp', pil('BMP', COLOR8), one(COLOR8), RGB),
    Kind('deep.avif', content(AVIF), one(SMOOTH.astype('uint16') * 4), RGB, exact=False),
    Kind('plain.png', pil('PNG', COLOR8), one(COLOR8), RGB),
    Kind('key.png', pil('PNG', COLOR8, transparency=tuple(map(int, PLACE))),
         one(with_alpha(COLOR8, SAME, 255)), (*RGB, 'alpha')),
    Kind('deep.png', content(imagecodecs.png_encode(DEEP)), one(DEEP)),
    Kind('deep_colors.png', content(imagecodecs.png_encode(DEEP3)), one(DEEP3), RGB),
    Kind('deep_alpha.png', content(imagecodecs.png_encode(DEEP4)), one(DEEP4), (*RGB, 'alpha')),
    Kind('deep.pgm', content(b'P5\n# 12 bits\n56 40 4095\n' + DEEP.astype('>u2').tobytes()),
         one(DEEP)),
    Kind('deep.ppm', content(b'P6 56 40\n4095\n' + DEEP3.astype('>u2').tobytes()), one(DEEP3), RGB),
    Kind('deep.jp2', content(jp2(DEEP, 12)), one(DEEP)),
    Kind('deep_colors.jp2', content(jp2(DEEP3, 16)), one(DEEP3), RGB),
    Kind('plain.jp2', content(jp2(COLOR8, 8)), one(COLOR8), RGB),
    # TIFF.
    Kind('strips.tif', tiff(DEEP, rowsperstrip=7, compression='zlib'), one(DEEP)),
    Kind('tiles.tif', tiff(DEEP3, tile=(16, 16), compression='lzw', predictor=True,
                           photometric='rgb'), one(DEEP3), RGB),
    Kind('raw_tiles.tif', tiff(DEEP3, tile=(16, 32), photometric='rgb', byteorder='>'), one(DEEP3),
         RGB),
    Kind('planar.tif', tiff(np.moveaxis(DEEP4, -1, 0), planarconfig='separate', tile=(16, 16),
                            photometric='minisblack', compression='zstd'), one(DEEP4),
         ('1', '2', '3', '4')),
    Kind('big.tiff', tiff(FLOATS, bigtiff=True), one(FLOATS)),
    Kind('double.tif', tiff(FLOATS.astype('float64'), compression='deflate', predictor=3),
         one(FLOATS.astype('float64'))),
    Kind('signed.tif', tiff(DEEP.astype('int16') - 2000, byteorder='>'),
         one(DEEP.astype('int16') - 2000)),
    Kind('long.tif', tiff(DEEP.astype('int32') * -9), one(DEEP.astype('int32') * -9)),
    Kind('palette.tif', tiff(GREY8, photometric='palette', colormap=COLORMAP), one(PALETTE[GREY8]),
         RGB),
    Kind('white_is_zero.tif', tiff(GREY8, photometric='miniswhite', compression='packbits'),
         one(255 - GREY8)),
    Kind('bilevel.tif', tiff(GREY8 > 99, photometric='minisblack', compression='packbits'),
         one(((GREY8 > 99) * 255).astype('uint8'))),
    Kind('twelve.tif', geotiff(DEEP[..., None], nbits=12), one(DEEP)),
    Kind('jpeg.tif', geotiff(SMOOTH, compress='jpeg', photometric='ycbcr', jpeg_quality=95),
         one(SMOOTH), RGB, exact=False),
    Kind('alpha.tif', tiff(COLOR8[..., FOUR], photometric='rgb', extrasamples=['unassalpha']),
         one(COLOR8[..., FOUR]), (*RGB, 'alpha')),
    Kind('channels.ome.tif', tiff(np.moveaxis(DEEP4, -1, 0), photometric='minisblack',
                                  metadata={'axes': 'CYX', 'Channel': {'Name': list('abcd')}}),
         one(DEEP4), ('a', 'b', 'c', 'd')),
    Kind('volume.ome.tif', tiff(STACK, photometric='minisblack', compression='zlib',
                                metadata={'axes': 'ZYX'}), frames(STACK)),
    Kind('imagej.tif', tiff(STACK, imagej=True, metadata={'axes': 'TYX'}), frames(STACK)),
    Kind('stack.tif', tiff(STACK, photometric='minisblack', tile=(16, 16)), frames(STACK)),
    Kind('satellite.tif', geotiff(DEEP4, nodata=7), one(DEEP4), ('blue', 'green', 'red', 'nir'),
         no_data=7),
    # Arrays.
    Kind('one.npy', lambda path: np.save(path, FLOATS), one(FLOATS)),
    Kind('columns.npy', lambda path: np.save(path, np.asfortranarray(DEEP4)), one(DEEP4),
         ('1', '2', '3', '4')),
    Kind('bands_first.npy', lambda path: np.save(path, np.moveaxis(DEEP4, -1, 0)), one(DEEP4),
         ('1', '2', '3', '4')),
    Kind('big_end.npy', lambda path: np.save(path, DEEP.astype('>u2')), one(DEEP)),
    Kind('stack.npy', lambda path: np.save(path, MANY), frames(MANY)),
    Kind('colors.npy', lambda path: np.save(path, np.stack([COLOR8, 255 - COLOR8])),
         {None: COLOR8, '0': COLOR8, '1': 255 - COLOR8}, RGB),
    Kind('truth.npy', lambda path: np.save(path, GREY8 > 99),
         one(((GREY8 > 99) * 255).astype('uint8'))),
    Kind('half.npy', lambda path: np.save(path, FLOATS.astype('float16')),
         one(FLOATS.astype('float16').astype('float32'))),
    # Volumes.
    Kind('scan.dcm', dicom(DEEP, RescaleSlope='1', RescaleIntercept='-1024'),
         one(DEEP.astype('int16') - 1024)),
    Kind('sloped', dicom(DEEP, RescaleSlope='0.5', RescaleIntercept='3'),
         one((DEEP * 0.5 + 3).astype('float32'))),
    Kind('dark.dcm', dicom(DEEP, PhotometricInterpretation='MONOCHROME1', PixelPaddingValue=95),
         one(4095 - DEEP), no_data=4000),
    Kind('colors.dcm', dicom(COLOR8, PhotometricInterpretation='RGB', SamplesPerPixel=3),
         one(COLOR8), RGB),
    Kind('frames.dcm', dicom(STACK), frames(STACK)),
    Kind('head.nii.gz', nifti(VOLUME, OBLIQUE), upright(VOLUME, OBLIQUE)),
    Kind('head.nii', nifti(VOLUME.astype('float32'), np.diag([-2, 2, 2, 1])),
         upright(VOLUME.astype('float32'), np.diag([-2, 2, 2, 1]))),
    Kind('second', nifti(VOLUME, np.eye(4), nibabel.Nifti2Image), upright(VOLUME, np.eye(4))),
]  # fmt: skip
# Of these more than one array is in a file.
SEVERAL = [
    ('mapped.npz', npz(np.savez)),
    ('packed.npz', npz(np.savez_compressed)),
    ('cells.zarr', zarrs),
]
WIDE = {'wide': DEEP4}
KINDS += [Kind(name, write, frames(MANY, 'photos/') | WIDE) for name, write in SEVERAL]
KINDS += [Kind('cells.h5', hdf5, frames(MANY, 'a/photos/') | {'b': DEEP4})]


def write_all(folder: Path) -> None:
    """A file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        # Some writers add an ending.
        written = folder / (kind.name if '.' in kind.name else f'{kind.name}.nii')
        kind.write(written)
        written.rename(folder / kind.name)
