"""A folder of odd files: damaged, lying about their size, and whole but strange."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import zarr
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / 'datasets'))
from kinds import GREY8, KINDS, dicom, write_all
from photos import encoded, pixels
from strange_files import strange_but_whole

# Names that a folder may hold.
NAMES = (
    b'with space.png', b'new\nline.png', b'tab\tin.png', b'scan#3.png', b'#.png', b'a#0.tif#1.png',
    b'latin\xe9\xff.png', b'\xf0\x9f\x98\x80.png', b'-rf.png', b"it's \"quoted\".png", b'%s{0}.png',
    b'a' * 240 + b'.png', b'esc\x1b[31m.png', b'back\\slash.png', b'dot..png', b'.png.png',
    b'cr\rreturn.png', b'comma,.png', b'$HOME.png', b'*.png', b'[bold]x[\red].png',
)  # fmt: skip


def dicoms(folder: Path) -> None:
    """DICOM that lacks or contradicts something."""
    settings = {
        'colors_of_one.dcm': dict(PhotometricInterpretation='RGB'),
        'palette.dcm': dict(PhotometricInterpretation='PALETTE COLOR'),
        'unknown.dcm': dict(PhotometricInterpretation='ODD'),
        'good_sloped.dcm': dict(RescaleSlope='1e30', RescaleIntercept='-1e30'),
        'frames.dcm': dict(NumberOfFrames='99999'),
        'bits.dcm': dict(BitsStored=40),
        'padding.dcm': dict(PixelPaddingValue=70),
        'samples.dcm': dict(SamplesPerPixel=77),
        'signed.dcm': dict(PixelRepresentation=7),
    }
    for name, tags_ in settings.items():
        dicom(GREY8.astype('uint16'), **tags_)(folder / name)
    whole = (folder / 'good_sloped.dcm').read_bytes()
    place = whole.index(b'\xe0\x7f\x10\0')
    (folder / 'no_pixels.dcm').write_bytes(whole[:place])
    (folder / 'slope.dcm').write_bytes(whole.replace(b'1e30', b'abcd'))


def zarrs(folder: Path) -> None:
    """Folders that are no image, or an odd one."""
    for name in ('dir.png', 'dir.zarr', 'dir.tif'):
        (folder / name).mkdir()
    (folder / 'file.zarr').write_bytes(b'text')
    zarr.open_group(folder / 'groups.zarr', mode='w').create_group('a/b')
    for name, shape, chunks in (
        ('good_sparse.zarr', (2**20, 2**20), (64, 64)),
        ('chunk.zarr', (2**20, 2**20), (2**20, 2**20)),
        ('scalar.zarr', (), ()),
    ):
        zarr.create_array(str(folder / name), shape=shape, chunks=chunks, dtype='f4')
    for number, text in enumerate((
        '{"zarr_format": 3, "node_type": "array", "shape": [4, 4]}', '[]', '{}', '{"a": ' * 5000,
        '{"zarr_format": 3, "node_type": "group", "attributes": {"multiscales": []}}',
        '{"zarr_format": 3, "node_type": "group", "attributes": {"ome": 5}}',
        '{"zarr_format": 3, "node_type": "group", "attributes": {"multiscales": [{"datasets": '
        '[{"path": ".."}], "axes": ["y", "x"]}]}}',
        '{"zarr_format": 99, "node_type": "array"}',
    )):  # fmt: skip
        (folder / f'odd{number}.zarr').mkdir()
        (folder / f'odd{number}.zarr/zarr.json').write_text(text)
    pyramid = zarr.open_group(folder / 'good_labels.zarr', mode='w', attributes={
        'multiscales': [{'datasets': [{'path': '0'}], 'axes': ['c', 'y', 'x']}],
        'omero': {'channels': [{'label': 'alpha'}]},
    })  # fmt: skip
    pyramid.create_array('0', data=np.ones((1, 20, 24), 'uint8'))
    for name, label in (('good_alike.zarr', 'a'), ('good_unnamed.zarr', '')):
        pyramid = zarr.open_group(folder / name, mode='w', attributes={
            'multiscales': [{'datasets': [{'path': '0'}], 'axes': ['c', 'y', 'x']}],
            'omero': {'channels': [{'label': label}] * 2},
        })  # fmt: skip
        pyramid.create_array('0', data=np.ones((2, 20, 24), 'uint8'))


def links(folder: Path) -> None:
    """Links to nothing and in circles, files that cannot be opened, and no files at all."""
    (folder / 'gone.png').symlink_to('nowhere.png')
    (folder / 'self.png').symlink_to('self.png')
    (folder / 'circle').symlink_to('.')
    (folder / 'up').symlink_to('..')
    (folder / 'into.png').symlink_to('inner')
    (folder / 'inner').mkdir()
    (folder / 'inner/back').symlink_to('..')
    os.mkfifo(folder / 'pipe.png')
    (folder / 'closed.png').write_bytes(b'x')
    (folder / 'closed.png').chmod(0)


def write_odd_files(folder: Path, count: int = 1000, seed: int = 0) -> Path:
    """Write ``count`` odd files, and a few that are whole.

    Returns:
        A path that exists if something was unpickled.
    """
    folder.mkdir(parents=True)
    trace = folder.parent / 'unpickled'
    made = strange_but_whole(trace)
    dicoms(folder)
    zarrs(folder)
    links(folder)
    for name, content in made.items():
        (folder / name).write_bytes(content)
    for name in NAMES:
        with open(os.path.join(os.fsencode(folder), name), 'wb') as file:
            file.write(encoded(Image.fromarray(pixels(len(name))), 'PNG'))
        with open(os.path.join(os.fsencode(folder), b'broken ' + name[-200:]), 'wb') as file:
            file.write(b'broken')
    whole = folder.parent / 'whole'
    write_all(whole)
    kinds = {k.name: (whole / k.name).read_bytes() for k in KINDS if (whole / k.name).is_file()}
    shutil.rmtree(whole)
    kinds |= {name: content for name, content in made.items() if 0 < len(content) < 100_000}
    rng, names = np.random.default_rng(seed), sorted(kinds)
    (folder / 'damaged').mkdir()
    written = sum(1 for _ in folder.rglob('*'))
    for number in range(max(0, count - written)):
        name = names[number % len(names)]
        content = damage(kinds[name], number // len(names), rng)
        if number % 11 == 0:
            # Another format's ending.
            name = names[rng.integers(len(names))]
        (folder / f'damaged/{number:04}_{name}').write_bytes(content)
    return trace


def damage(content: bytes, how: int, rng: np.random.Generator) -> bytes:
    """Cut off, with bytes flipped, with a part gone, or with numbers that are huge or none."""
    copy, end = bytearray(content), len(content)
    how %= 5
    if how == 0:
        return content[: rng.integers(end)]
    if how == 1:
        for place in rng.integers(0, end, 1 + rng.integers(12)):
            copy[place] ^= 1 << rng.integers(8)
    elif how == 2:
        # Headers lie in the beginning, mostly.
        for place in rng.integers(0, min(end, 400), 1 + rng.integers(6)):
            copy[place] = rng.integers(256)
    elif how == 3:
        place = rng.integers(0, max(1, min(end, 600) - 4))
        copy[place : place + 4] = rng.choice([b'\xff' * 4, bytes(4), b'\x7f\xff\xff\xff'])
    else:
        first, last = sorted(rng.integers(0, end, 2))
        del copy[first:last]
    return bytes(copy)
