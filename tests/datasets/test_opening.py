"""An open image has the pixels that were put in the file, whatever part of it is read."""

import subprocess
import sys

import numpy as np
import pytest
from photos import encoded, pixels
from PIL import Image

from beit_mm.datasets.reading.broken_image import BrokenImage
from beit_mm.datasets.reading.image_file import Box, Whole, numbered
from beit_mm.datasets.reading.opening import open_image, split_frame

RGB = pixels()
ALPHA_PLANE = pixels(1)[..., :1]
MADE = {
    'grey': (RGB[..., :1], ('grey',)),
    'grey_alpha': (np.concatenate([RGB[..., :1], ALPHA_PLANE], axis=2), ('grey', 'alpha')),
    'colors': (RGB, ('red', 'green', 'blue')),
    'colors_alpha': (np.concatenate([RGB, ALPHA_PLANE], axis=2), ('red', 'green', 'blue', 'alpha')),
    'deep': (RGB[..., :1].astype(np.uint16) * 257, ('grey',)),
}


@pytest.mark.parametrize('name', MADE)
def test_bands_and_depth_are_kept(tmp_path, name):
    made, bands = MADE[name]
    path = tmp_path / 'a.png'
    Image.fromarray(made.squeeze(-1) if made.shape[2] == 1 else made).save(path)
    for source in (path, str(path), path.read_bytes()):
        with open_image(source) as image:
            assert (image.size, image.bands, image.dtype) == ((40, 56), bands, made.dtype)
            assert np.array_equal(image.read(), made)
            assert np.array_equal(image.read(Box(3, 5, 7, 11)), made[3:10, 5:16])
            assert image.changes == ()


def test_a_frame_is_taken_by_its_number_and_the_first_one_is_said(tmp_path):
    second = Image.fromarray(255 - RGB)
    path = tmp_path / 'a.tif'
    Image.fromarray(RGB).save(path, save_all=True, append_images=[second])
    with open_image(path) as image:
        assert image.changes == ('the first of several images in a file taken',)
        assert np.array_equal(image.read(), RGB)
    with open_image(f'{path}#1') as image:
        assert image.changes == ()
        assert np.array_equal(image.read(), 255 - RGB)


def test_a_file_with_a_mark_in_its_name_is_itself(tmp_path):
    path = tmp_path / 'a#1'
    path.write_bytes(encoded(Image.fromarray(RGB), 'PNG'))
    assert split_frame(str(path)) == (str(path), None)
    assert np.array_equal(open_image(path).read(), RGB)


def test_what_is_no_image_is_broken(tmp_path):
    for content, reason in ((b'', 'empty'), (b'words', 'cannot identify')):
        (tmp_path / 'a.png').write_bytes(content)
        with pytest.raises(BrokenImage, match=reason):
            open_image(tmp_path / 'a.png')
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / 'nothing.png')


def test_bands_without_names():
    assert [numbered(n) for n in (1, 2, 3)] == [('grey',), ('1', '2'), ('red', 'green', 'blue')]
    assert Whole(np.zeros((2, 3), np.float32)).size == (2, 3)


def test_pillow_asks_photos_own_formats_before_those_that_look_at_no_first_bytes():
    # In a process of its own: the order is that of the first imports.
    tell = (
        'from beit_mm.datasets.reading.known_formats import readable_formats\n'
        'readable_formats()\n'
        'from PIL import Image\n'
        'blind = [Image.ID.index(name) for name in Image.ID if Image.OPEN[name][1] is None]\n'
        'print(len(blind), min(blind), *(Image.ID.index(name) for name in ("JPEG", "PNG")))'
    )
    told = subprocess.run([sys.executable, '-c', tell], capture_output=True, text=True, check=True)
    blind, first, *photos = map(int, told.stdout.split())
    assert blind
    assert max(photos) < first
