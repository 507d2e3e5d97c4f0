"""Photos of every kind, held against the pixels they were made of; and what is none."""

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from photos import broken_kinds, encoded, good_kinds, pixels
from PIL import Image

from beit_mm.datasets import BrokenImage, LoadPhoto, decode_image

# CMYK goes through another color space, and JPEG rounds.
CLOSE = 12


@pytest.mark.parametrize('name', good_kinds())
def test_a_photo_of_any_kind_is_seen_as_it_was_made(tmp_path, name):
    content, expected = good_kinds()[name]
    (tmp_path / name).write_bytes(content)
    image = decode_image(tmp_path / name)
    assert image.mode == 'RGB'
    found = np.asarray(image)
    assert found.shape == expected.shape
    tolerance = CLOSE if name.endswith('.jpg') else 0
    assert np.abs(found.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize('name', sorted(set(good_kinds()) - {'transparent_palette.png'}))
def test_openmmlabs_loader_sees_the_same(tmp_path, name):
    """Of what it reads; OpenCV lays transparent palettes over black in some versions."""
    (tmp_path / name).write_bytes(good_kinds()[name][0])
    expected = LoadImageFromFile()(dict(img_path=str(tmp_path / name)))
    results = LoadPhoto(as_array=True)(dict(img_path=str(tmp_path / name)))
    assert results['img'].dtype == np.uint8
    assert results['img'].flags.c_contiguous
    difference = np.abs(results['img'].astype(int) - expected['img']).max()
    assert difference <= (CLOSE if name.endswith('.jpg') else 0)
    for key in ('ori_shape', 'img_shape'):
        assert tuple(results[key]) == tuple(expected[key])


def test_as_a_pil_image(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(encoded(Image.fromarray(pixels()), 'PNG'))
    results = LoadPhoto()(dict(img_path=str(path)))
    assert np.array_equal(np.asarray(results['img']), pixels())
    assert results['img_shape'] == (40, 56)


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('cut_off.jpg', 'truncated'),
        ('cut_off.png', 'truncated'),
        ('empty.jpg', 'the file is empty'),
        ('text.jpg', 'cannot identify image'),
        ('bomb.png', 'decompression bomb'),
    ],
)
def test_what_is_no_whole_photo_is_refused_with_the_reason(tmp_path, name, reason):
    path = tmp_path / name
    path.write_bytes(broken_kinds()[name])
    with pytest.raises(BrokenImage) as caught:
        decode_image(path)
    assert caught.value.path == str(path)
    assert reason in caught.value.reason
    assert str(path) in str(caught.value)


def test_a_photo_cut_off_anywhere_is_refused_or_whole(tmp_path):
    """The very end of a file carries no pixels."""
    path = tmp_path / 'a'
    for name in ('plain.jpg', 'alpha.png'):
        content, expected = good_kinds()[name]
        for length in range(0, len(content), max(1, len(content) // 60)):
            path.write_bytes(content[:length])
            try:
                found = np.asarray(decode_image(path))
            except BrokenImage:
                continue
            assert length > 0.9 * len(content)
            assert np.abs(found.astype(int) - expected).max() <= CLOSE


def test_a_missing_file_is_not_called_broken(tmp_path):
    with pytest.raises(FileNotFoundError):
        decode_image(tmp_path / 'nothing.jpg')


def test_a_damaged_orientation_does_not_cost_the_photo(tmp_path):
    content = good_kinds()['turned.jpg'][0]
    place = content.index(b'Exif')
    path = tmp_path / 'a.jpg'
    path.write_bytes(content[: place + 8] + b'\xff' * 12 + content[place + 20 :])
    assert sorted(decode_image(path).size) == [40, 56]


@pytest.mark.parametrize('as_array', [False, True])
def test_an_image_that_is_there_already_is_taken(as_array):
    """A PIL image of any mode, or an array as mmcv has it, blue first."""
    rgb = Image.fromarray(pixels())
    load = LoadPhoto(as_array)
    for given in (rgb, rgb.convert('RGBA'), pixels()[..., ::-1]):
        results = load(dict(img=given))
        found = np.asarray(results['img'])
        assert np.array_equal(found[..., ::-1] if as_array else found, pixels())
        assert results['img_shape'] == results['ori_shape'] == (40, 56)


@pytest.mark.parametrize('shape', [(40, 56), (40, 56, 4)])
def test_an_array_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r'it must be \(H, W, 3\) of uint8, BGR'):
        LoadPhoto()(dict(img=np.zeros(shape, np.uint8)))
