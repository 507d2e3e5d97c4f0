"""Files that are whole but strange, or say of themselves what is not so."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import nibabel
import numpy as np
import tifffile
from kinds import GREY8
from photos import bomb, encoded, pixels
from PIL import Image

HUGE = 2**31 - 1


def npy(array, **settings) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **settings)
    return file.getvalue()


def header_of(descr: str, shape: str) -> bytes:
    """An .npy of any header."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b'\x93NUMPY\x01\0' + struct.pack('<H', len(text)) + text + bytes(64)


class Unpickled:
    """Leaves a trace if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png(width: int, height: int, bits: int, kind: int, data: bytes, *between: bytes) -> bytes:
    head = struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0)
    return b''.join((
        b'\x89PNG\r\n\x1a\n', chunk(b'IHDR', head), *between,
        chunk(b'IDAT', zlib.compress(data)), chunk(b'IEND', b''),
    ))  # fmt: skip


def tiff(array, **settings) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **settings)
    return file.getvalue()


def tags(*entries: tuple[int, int, int, int], data: bytes = bytes(64)) -> bytes:
    """A TIFF of these tags, (tag, type, count, value) each, behind some data."""
    body = b''.join(struct.pack('<HHII', *entry) for entry in sorted(entries))
    return (
        b'II*\0' + struct.pack('<I', 8 + len(data)) + data
        + struct.pack('<H', len(entries)) + body + bytes(4)
    )  # fmt: skip


def nifti(array, **header) -> bytes:
    """A NIfTI file whose header says what it should not."""
    written = nibabel.Nifti1Image(array, np.eye(4)).to_bytes()
    said = np.frombuffer(written[:348], nibabel.nifti1.header_dtype).copy()
    for name, value in header.items():
        said[0][name] = value
    return said.tobytes() + written[348:]


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def hdf5(write: Callable[[h5py.File], object]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, 'w') as group:
        write(group)
    return file.getvalue()


def in_circles(file: h5py.File) -> None:
    for name in 'ab':
        file[name] = file['/']
    file['c'] = h5py.SoftLink('/c')
    file['d'] = h5py.ExternalLink('none.h5', '/')


def nested(file: h5py.File) -> None:
    group = file
    for _ in range(600):
        group = group.create_group('g')


def strange_but_whole(trace: Path) -> dict[str, bytes]:
    """File name -> content; those of 'good' names can be read."""
    every = (arrays_of_numpys(), files_of_numpys(trace), photos(), tiffs(), volumes_and_groups(),
             no_images())  # fmt: skip
    return {name: content for some in every for name, content in some.items()}


RNG = np.random.default_rng(5)
WIDE, TALL = RNG.integers(0, 255, (1, 5000), 'uint8'), RNG.integers(0, 255, (5000, 1), 'uint8')
FLOATS = RNG.normal(size=(20, 24)).astype('float32')
VOID = np.full((20, 24), np.nan, 'float32')
WORDS = np.array([['a', 'bc']] * 3)
UINT64 = np.arange(400, dtype='uint64').reshape(20, 20) + np.uint64(2**63)
OF_33, OF_32 = (RNG.integers(0, 99, (20, 24, bands), 'uint8') for bands in (33, 32))
COMPLEX = FLOATS + 1j


def arrays_of_numpys() -> dict[str, bytes]:
    inf = FLOATS.copy()
    inf[0], inf[1] = np.inf, -np.inf
    arrays = {
        'good_void': VOID, 'good_inf': inf, 'good_constant': np.full((20, 24), 7, 'uint16'),
        'good_large': np.full((20, 24), 16777216, 'uint32'),
        'good_far': np.full((20, 24), 1e300), 'good_both': np.array([[-1.7e308, 1.7e308]] * 4),
        'good_half': np.full((9, 8), 65504, 'float16'), 'good_bool': FLOATS > 0,
        'good_int64': np.arange(400).reshape(20, 20) + 2**60,
        'good_uint64': UINT64,
        'good_int8': np.arange(400, dtype='int8').reshape(20, 20),
        'good_smallest': np.full((5, 5), 5e-324),
        'good_33': OF_33,
        'good_32': OF_32,
        'good_one': np.ones((1, 1), 'uint8'), 'good_wide': WIDE, 'good_tall': TALL,
        'complex': COMPLEX, 'no_bands': np.zeros((20, 24, 0), 'uint8'),
        'no_rows': np.zeros((0, 24), 'uint8'), 'scalar': np.array(5), 'row': np.arange(9),
        'words': WORDS, 'bytes': np.array([[b'a', b'bc']] * 3),
        'times': np.zeros((4, 4), 'datetime64[s]'),
        'records': np.zeros((4, 4), [('a', 'i4'), ('b', 'f4')]),
        'long_double': np.ones((4, 4), np.longdouble),
        'good_axes': np.zeros((1,) * 31 + (9,), 'uint8'),
    }  # fmt: skip
    return {f'{name}.npy': npy(array) for name, array in arrays.items()}


def files_of_numpys(trace: Path) -> dict[str, bytes]:
    return {
        'objects.npy': npy(np.array([Unpickled(trace), 1], object), allow_pickle=True),
        'square_objects.npy': npy(
            np.array([[Unpickled(trace), 1]] * 2, object), allow_pickle=True),
        'huge.npy': header_of("'<f8'", f'({HUGE}, {HUGE}, 3)'),
        'endless.npy': header_of("'<f8'", f'({2**70}, {2**70})'),
        'negative.npy': header_of("'|u1'", '(-4, 5)'),
        'nothing.npy': header_of("'|V0'", '(4, 5)'),
        'truth.npy': header_of("'|u1'", '(True, 5)'),
        'code.npy': header_of("__import__('os').mkdir('x')", '(4, 5)'),
        'deep_header.npy': header_of("'|u1'", '(' * 400 + ')' * 400),
        'long_header.npy': b'\x93NUMPY\x02\0' + struct.pack('<I', HUGE) + bytes(100),
        'words.npz': zipped({'a.npy': npy(WORDS)}),
        'objects.npz': zipped(
            {'a.npy': npy(np.array([[Unpickled(trace), 1]] * 2, object), allow_pickle=True)}),
        'good_mixed.npz': zipped({'w.npy': npy(WORDS), 'x.npy': npy(WIDE)}),
        'bomb.npz': zipped({'a.npy': npy(np.zeros((6000, 6000)))}),
        'claims.npz': zipped({'a.npy': header_of("'<f8'", '(9000, 9000)')}),
        'none.npz': zipped({'a.txt': b'text'}), 'empty.npz': zipped({}),
        'climbs.npz': zipped({'../../a.npy': npy(WIDE)}),
    }  # fmt: skip


def photos() -> dict[str, bytes]:
    image = Image.fromarray(pixels())
    palette = image.quantize(8)
    alpha = image.copy()
    alpha.putalpha(0)
    frames = dict(save_all=True, append_images=[Image.fromarray(255 - pixels())])
    return {
        'bomb.png': bomb(),
        'zero.png': png(0, 5, 8, 2, b''), 'most.png': png(HUGE, HUGE, 8, 2, b''),
        'large.png': png(9000, 9000, 8, 0, bytes(9001 * 9000)),
        'out_of_palette.png': png(4, 4, 8, 3, b'\0\xff\xfe\xfd\xfc' * 4,
                                  chunk(b'PLTE', bytes(range(6)))),
        'no_palette.png': png(4, 4, 8, 3, b'\0\1\2\3\4' * 4),
        'text_bomb.png': png(4, 4, 8, 0, bytes(20),
                             chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(2**26), 1))),
        'profile_bomb.png': png(4, 4, 8, 0, bytes(20),
                                chunk(b'iCCP', b'a\0\0' + zlib.compress(bytes(2**26), 1))),
        'bits.png': png(4, 4, 7, 9, bytes(20)),
        'good_1.png': encoded(Image.fromarray(np.ones((1, 1), 'uint8')), 'PNG'),
        'good_wide.png': encoded(Image.fromarray(WIDE), 'PNG'),
        'good_tall.jpg': encoded(Image.fromarray(TALL), 'JPEG'),
        'good_bilevel.png': encoded(image.convert('1'), 'PNG'),
        'good_palette.png': encoded(palette, 'PNG'),
        'good_palette_alpha.png': encoded(palette, 'PNG', transparency=bytes(range(8))),
        'good_unseen.png': encoded(alpha, 'PNG'), 'good_unseen.webp': encoded(alpha, 'WEBP'),
        'good_animated.gif': encoded(image, 'GIF', **frames),
        'good_animated.png': encoded(image, 'PNG', **frames),
        'good_animated.webp': encoded(image, 'WEBP', **frames),
        'good_progressive.jpg': encoded(image, 'JPEG', progressive=True),
        'good_cmyk.jpg': encoded(image.convert('CMYK'), 'JPEG'),
        'lossless.jpg': imagecodecs.ljpeg_encode(GREY8.astype('uint16'), bitspersample=16),
        'jpegls.jpg': imagecodecs.jpegls_encode(GREY8),
        'arithmetic.jpg': encoded(image, 'JPEG').replace(b'\xff\xc0', b'\xff\xc9', 1),
        'twelve.jpg': encoded(image, 'JPEG').replace(b'\xff\xc0\0\x11\x08', b'\xff\xc1\0\x11\x0c'),
        'no_size.jpg': b'\xff\xd8\xff\xc0\0\x0b\x08\0\0\0\0\1\1\x11\0\xff\xd9',
        'most.bmp': b'BM' + bytes(12)
        + struct.pack('<IiiHHIIiiII', 40, HUGE, HUGE, 1, 24, *[0] * 6),
        'flat.bmp': b'BM' + bytes(12)
        + struct.pack('<IiiHHIIiiII', 40, 4, -2**31, 1, 24, *[0] * 6),
        'most.gif': b'GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0;',
        'most.pgm': b'P5 99999999 99999999 255\n', 'zero.pgm': b'P5 0 0 255\n', 'p.ppm': b'P6\n#',
        'deep.pgm': b'P5 4 4 70000\n' + bytes(64), 'good.pbm': b'P4 8 2\n\xaa\x55',
        'words.pgm': b'P2 2 2 255\n1 2 x 4', 'endless.pgm': b'P2 2 2 255\n' + b'1' * 5000,
        'most.psd': b'8BPS\0\1' + bytes(6)
        + struct.pack('>HIIHH', 3, 30000, 30000, 8, 3) + bytes(14),
    }  # fmt: skip


def tiffs() -> dict[str, bytes]:
    return {
        'no_pages.tif': b'II*\0' + bytes(4), 'circle.tif': tags()[:-4] + struct.pack('<I', 72),
        'no_tags.tif': tags(),
        'zero.tif': tags((256, 4, 1, 0), (257, 4, 1, 9), (258, 3, 1, 8), (273, 4, 1, 8),
                         (279, 4, 1, 9)),
        'no_pixels.tif': tags((256, 4, 1, 9), (257, 4, 1, 9), (258, 3, 1, 8), (262, 3, 1, 1)),
        'many_bits.tif': tags((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 7777), (273, 4, 1, 8),
                              (279, 4, 1, 64), (262, 3, 1, 1)),
        'many_samples.tif': tags((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (277, 3, 1, 65535),
                                 (273, 4, 1, 8), (279, 4, 1, 64), (262, 3, 1, 1)),
        'no_strips.tif': tags((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (278, 4, 1, 0),
                              (273, 4, 1, 8), (279, 4, 1, 64), (262, 3, 1, 1)),
        'strange_codec.tif': tags((256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 777),
                                  (273, 4, 1, 8), (279, 4, 1, 64), (262, 3, 1, 1)),
        'many_strips.tif': tags((256, 4, 1, 4), (257, 4, 1, HUGE), (258, 3, 1, 8), (278, 4, 1, 1),
                                (273, 4, HUGE, 8), (279, 4, HUGE, 8), (262, 3, 1, 1)),
        'bomb.tif': tiff(np.zeros((6000, 6000, 3), 'uint8'), compression='zlib', rowsperstrip=6000,
                         photometric='rgb'),
        'tile_bomb.tif': tiff(np.zeros((64, 64), 'uint8'), compression='zlib', tile=(8192, 8192)),
        'good_pages.tif': tiff(np.stack([GREY8, GREY8]), photometric='minisblack'),
        'good_33.tif': tiff(np.moveaxis(OF_33, -1, 0), photometric='minisblack',
                            planarconfig='separate'),
        'good_64.tif': tiff(UINT64), 'good_void.tif': tiff(VOID),
        'complex.tif': tiff(COMPLEX.astype('complex64')),
        'good_wide.tif': tiff(WIDE), 'good_tall.tif': tiff(TALL, compression='lzw'),
        'volume.tif': tiff(np.zeros((4, 20, 24), 'uint8'), volumetric=True, tile=(16, 16, 16),
                           photometric='minisblack'),
        'ome.ome.tif': tiff(np.zeros((3, 8, 8), 'uint8'), photometric='minisblack').replace(
            b'shape', b'<OME>'),
    }  # fmt: skip


def volumes_and_groups() -> dict[str, bytes]:
    return {
        'good_4d.nii': nifti(np.ones((8, 9, 3, 40), 'int16')),
        'good_scaled.nii.gz': gzip.compress(nifti(np.ones((8, 9, 3), 'int16'), scl_slope=1e30)),
        'slope.nii': nifti(np.ones((8, 9, 3), 'int16'), scl_slope=np.inf),
        'void_affine.nii': nifti(np.ones((8, 9, 3), 'int16'), srow_x=np.nan, sform_code=1),
        'negative.nii': nifti(np.ones((8, 9, 3), 'int16'), dim=[3, -8, 9, 3, 1, 1, 1, 1]),
        'no_axes.nii': nifti(np.ones((8, 9, 3), 'int16'), dim=[0, 8, 9, 3, 1, 1, 1, 1]),
        'many_axes.nii': nifti(np.ones((8, 9, 3), 'int16'), dim=[99, 8, 9, 3, 1, 1, 1, 1]),
        'kind.nii': nifti(np.ones((8, 9, 3), 'int16'), datatype=1792),
        'far.nii': nifti(np.ones((8, 9, 3), 'int16'), vox_offset=1e30),
        'bomb.nii.gz': gzip.compress(nifti(np.zeros((2, 2, 2), 'uint8')) + bytes(2**26)),
        'most.nii': nifti(np.ones((8, 9, 3), 'int16'), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]),
        'pair.nii': nifti(np.ones((8, 9, 3), 'int16')).replace(b'n+1', b'ni1'),
        'groups.h5': hdf5(lambda f: f.create_group('a/b/c')), 'nothing.h5': hdf5(lambda f: None),
        'circles.h5': hdf5(in_circles), 'nested.h5': hdf5(nested),
        'good_after_circles.h5': hdf5(lambda f: (in_circles(f), f.create_dataset('z', data=WIDE))),
        'words.h5': hdf5(lambda f: f.create_dataset('a', data=[[b'x', b'y']] * 3)),
        'void.h5': hdf5(lambda f: f.create_dataset('a', data=h5py.Empty('f'))),
        'bomb.h5': hdf5(lambda f: f.create_dataset(
            'a', (2**16, 2**14), 'u1', chunks=(2**15, 2**12), compression='gzip', data=None)),
        'good_sparse.h5': hdf5(lambda f: f.create_dataset('a', (2**20, 2**20), 'f8',
                                                          chunks=(64, 64))),
        'one_chunk.h5': hdf5(lambda f: f.create_dataset('a', data=np.zeros((8192, 8192), 'u1'),
                                                        chunks=(8192, 8192), compression=1)),
        'virtual.h5': hdf5(lambda f: f.create_virtual_dataset('a', virtual())),
    }  # fmt: skip


def no_images() -> dict[str, bytes]:
    return {
        'empty.png': b'', 'zeros.jpg': bytes(5000), 'text.tif': b'no image, but a text ' * 99,
        'page.jpg': b'<!DOCTYPE html><html></html>', 'pointer.png': b'version https://git-lfs\n',
        'vector.png': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        'script.jpg': b'#!/bin/sh\nexit',
        'program.png': b'\x7fELF' + bytes(99), 'archive.jpg': zipped({'a.jpg': b'x'}),
        'zip_bomb.png': zipped({'a': bytes(2**26)}), 'gz.png': gzip.compress(bytes(2**24)),
        'gz.nii.gz': gzip.compress(b''), 'two.nii.gz': b'\x1f\x8b', 'tar.jpg': tarred(),
        'beginning.png': b'\x89PNG\r\n\x1a\n', 'beginning.jpg': b'\xff\xd8\xff',
        'beginning.webp': b'RIFF\xff\xff\xff\xffWEBP', 'beginning.avif': b'\0\0\0\x1cftypavif',
        'beginning.heic': b'\xff\xff\xff\xffftypheic', 'beginning.h5': b'\x89HDF\r\n\x1a\n',
        'beginning.dcm': bytes(128) + b'DICM', 'beginning.jp2': b'\xff\x4f\xff\x51',
        'sequence.dcm': bytes(128) + b'DICM' + b'\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff' * 2000,
    }  # fmt: skip


def virtual() -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout((4, 4), 'u1')
    layout[:] = h5py.VirtualSource('gone.h5', 'a', (4, 4))
    return layout


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('a.jpg'))
    return file.getvalue()
