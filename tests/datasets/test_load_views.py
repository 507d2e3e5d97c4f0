"""The fast way to two views against the straightforward one, step by step and as a whole."""

import random

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from photos import broken_kinds, good_kinds
from PIL import Image
from scipy import stats
from test_jpeg import exif, jpeg, make_photo, psnr
from torchvision.transforms import ColorJitter, RandomHorizontalFlip, RandomResizedCrop
from torchvision.transforms import functional as tv

from beit_mm.datasets import (
    BrokenImage,
    LoadPhoto,
    LoadTwoViews,
    TwoViewRandomResizedCrop,
    decode_image,
)
from beit_mm.datasets.jpeg import Box, reduction
from beit_mm.datasets.views.colors import change_colors
from beit_mm.datasets.views.crops import draw_box, resample

# Seeds are fixed: a statistical test passes always or never.
LEVEL = 1e-4
FILTERS = dict(bilinear=2, bicubic=3, lanczos=1)
ADJUST = dict(brightness=tv.adjust_brightness, contrast=tv.adjust_contrast,
              saturation=tv.adjust_saturation)  # fmt: skip
NO_COLOR = dict(brightness=0, contrast=0, saturation=0)


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Paths of photos of several sizes and kinds."""
    folder = tmp_path_factory.mktemp('photos')
    sizes = [(150, 210), (375, 500), (500, 333), (64, 64)]
    for seed, size in enumerate(sizes):
        (folder / f'{seed}.jpg').write_bytes(jpeg(make_photo(*size, seed=seed)))
    make_photo(mode='L').save(folder / 'grey.jpg')
    make_photo().save(folder / 'image.png')
    (folder / 'turned.jpg').write_bytes(jpeg(make_photo(), exif=exif(6)))
    return sorted(str(path) for path in folder.iterdir())


@pytest.mark.parametrize('size', [(375, 500), (500, 333), (60, 800), (900, 100), (1, 1), (3, 2)])
@pytest.mark.parametrize('scale', [(0.08, 1.0), (0.5, 0.6)])
def test_crops_are_distributed_as_torchvisions(size, scale):
    ratio = 3 / 4, 4 / 3
    rng = random.Random(0)
    torch.manual_seed(0)
    image = torch.empty(1).expand(1, *size)
    ours = np.array([draw_box(rng, size, scale, ratio) for _ in range(3000)])
    theirs = np.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(3000)])
    assert (ours[:, 2:] >= 1).all()
    for part in range(4):
        assert stats.ks_2samp(ours[:, part], theirs[:, part]).pvalue > LEVEL
    areas, expected = (boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs))
    assert stats.ks_2samp(areas, expected).pvalue > LEVEL
    ends, expected = (boxes[:, :2] + boxes[:, 2:] for boxes in (ours, theirs))
    assert (ends.max(axis=0) <= size).all()
    assert stats.ks_2samp(ends[:, 1], expected[:, 1]).pvalue > LEVEL


@pytest.mark.parametrize('seed', range(30))
def test_colors_change_as_torchvisions(seed):
    rng = random.Random(seed)
    names = rng.sample(list(ADJUST), rng.randint(0, 3))
    jitter = tuple((name, rng.uniform(0.6, 1.4)) for name in names)
    image = make_photo(seed=seed)
    pixels = np.asarray(image)
    changed = change_colors(pixels, jitter)
    assert changed.dtype == np.uint8
    for name, factor in jitter:
        image = ADJUST[name](image, factor)
    difference = changed.astype(int) - np.asarray(image)
    # Pillow cuts off decimals after each change, at most 1.4 * 1.4 + 1.4 + 1 and the mean's.
    assert np.abs(difference).max() <= 5
    assert -0.2 < difference.mean() < 0.7 * len(jitter) + 0.01


def test_colors_are_clipped_after_each_change():
    """White made brighter, then greyer in contrast, is what white becomes."""
    image = np.full((4, 4, 3), 250, np.uint8)
    image[:2] = 0
    bright = change_colors(image, (('brightness', 1.4),))
    assert set(bright.flat) == {0, 255}
    both = change_colors(image, (('brightness', 1.4), ('contrast', 0.5)))
    # 255 / 2 and half the mean, 127.5.
    assert set(both.flat) == {64, 192}


@pytest.mark.parametrize('interpolation', FILTERS)
@pytest.mark.parametrize('size', [(300, 200), (90, 40), (1, 1), (1, 50), (50, 1), (700, 30)])
def test_resampling_is_pillows(interpolation, size):
    pixels = np.array(make_photo(*size))
    for target in ((112, 112), (20, 64), (1, 1), (3, 1)):
        expected = Image.fromarray(pixels).resize(target[::-1], FILTERS[interpolation])
        ours = resample(pixels, target, interpolation)
        assert ours.shape == (3, *target)
        assert ours.is_contiguous()
        difference = ours.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected)
        assert np.abs(difference).max() <= 1


def straightforward(path, transform, view):
    """The same view by Pillow and torchvision, on the whole photo's pixels."""
    with open(path, 'rb') as file:
        whole = decode_image(file.read())
    top, left, height, width = view.box
    crop = whole.crop((left, top, left + width, top + height))
    for name, factor in view.jitter:
        crop = ADJUST[name](crop, factor)
    crop = tv.hflip(crop) if view.flip else crop
    return whole.size[::-1], [
        crop.resize(size[::-1], FILTERS[name])
        for size, name in zip(transform.sizes, transform.interpolations, strict=True)
    ]


def test_views_are_those_of_the_straightforward_way(photos):
    transform = LoadTwoViews(size=(96, 80), second_size=40)
    flips = set()
    for index, path in enumerate(photos * 3):
        with open(path, 'rb') as file:
            views, size, view = transform.load(file.read(), random.Random(index))
        photo_size, expected = straightforward(path, transform, view)
        assert size == photo_size
        assert [view.shape for view in views] == [(3, 96, 80), (3, 40, 40)]
        assert len(view.jitter) == 3
        flips.add(view.flip)
        with open(path, 'rb') as file:
            plain = transform.plain_load(file.read(), view)
        for ours, twin, theirs in zip(views, plain, expected, strict=True):
            assert psnr(ours.permute(1, 2, 0), theirs) > 42
            assert np.array_equal(twin.permute(1, 2, 0), theirs)
    assert flips == {False, True}


def test_views_of_large_photos_are_close_to_those_of_the_straightforward_way(tmp_path):
    """Crops of 4 to 30 times the view, reduced while they are decoded."""
    path = tmp_path / 'large.jpg'
    path.write_bytes(jpeg(make_photo(1201, 1603)))
    transform = LoadTwoViews(size=48, second_size=24, scale=(0.1, 1.0))
    for seed in range(12):
        views, _, view = transform.load(path.read_bytes(), random.Random(seed))
        factor = reduction(view.box, (96, 96))
        assert factor > 1
        # The crop is moved to whole pixels of the reduced photo: by half of one at most.
        moved = view._replace(box=Box(*(round(edge / factor) * factor for edge in view.box)))
        _, expected = straightforward(path, transform, moved)
        for ours, theirs in zip(views, expected, strict=True):
            assert psnr(ours.permute(1, 2, 0), theirs) > 38


def test_pixels_are_distributed_as_the_straightforward_pipelines(photos):
    """Mean and spread of the pixels of many views of one photo, contrast about the photo's mean."""
    path = photos[1]
    fast = LoadTwoViews(size=32, second_size=16)
    crop = TwoViewRandomResizedCrop(size=32, second_size=16)
    jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)
    image = Image.open(path).convert('RGB')
    torch.manual_seed(0)
    np.random.seed(0)
    ours, theirs = [[], []], [[], []]
    for _ in range(400):
        slow = crop(dict(img=RandomHorizontalFlip()(jitter(image))))['img']
        for k, view in enumerate(fast(dict(img_path=path))['img']):
            ours[k].append(view.numpy().astype(float))
            theirs[k].append(np.asarray(slow[k], float).transpose(2, 0, 1))
    for one, other in zip(ours, theirs, strict=True):
        one, other = np.stack(one), np.stack(other)
        for measure in (np.mean, np.std):
            a, b = (measure(views, axis=(2, 3)) for views in (one, other))
            error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
            # A level brighter, on average: see change_colors.
            assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 3.5 * error + 1).all()
            assert (a.std(axis=0) / b.std(axis=0) > 0.8).all()
            assert (a.std(axis=0) / b.std(axis=0) < 1.25).all()


def test_jitter_is_uniform_in_factor_and_order():
    transform = LoadTwoViews(brightness=0.4, contrast=0.2, saturation=0.3)
    rng = random.Random(0)
    drawn = [transform.draw(rng, (100, 100)).jitter for _ in range(3000)]
    for name, share in (('brightness', 0.4), ('contrast', 0.2), ('saturation', 0.3)):
        factors = [dict(jitter)[name] for jitter in drawn]
        assert stats.kstest(factors, stats.uniform(1 - share, 2 * share).cdf).pvalue > LEVEL
    orders = [tuple(name for name, _ in jitter) for jitter in drawn]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > LEVEL
    flips = sum(LoadTwoViews(flip_prob=0.3).draw(rng, (9, 9)).flip for _ in range(3000))
    assert stats.binomtest(flips, 3000, 0.3).pvalue > LEVEL


def load(transform, path, index=0, seed=None):
    if seed is not None:
        np.random.seed(seed)
    return transform(dict(img_path=path, sample_idx=index))


def test_view_is_a_function_of_photo_number_and_seed(photos):
    transform = LoadTwoViews(size=32, second_size=16, num_views=3, seed=5)
    seen = {}
    for draw in range(60):
        random.seed(draw)
        torch.manual_seed(draw)
        index = draw % 2
        results = load(transform, photos[0], index, seed=draw)
        key = index, results['view_idx']
        views = b''.join(view.numpy().tobytes() for view in results['img'])
        assert seen.setdefault(key, views) == views
    assert set(seen) == {(i, k) for i in range(2) for k in range(3)}
    assert len(set(seen.values())) == 6
    other = LoadTwoViews(size=32, second_size=16, num_views=3, seed=6)
    for draw in range(12):
        results = load(other, photos[0], draw % 2, seed=draw)
        assert b''.join(view.numpy().tobytes() for view in results['img']) not in seen.values()


def test_seeded_views_stay_the_same_from_release_to_release():
    """What a token cache relies on. The numbers are Python's, drawn here without the class."""
    numbers = random.Random((7 << 128) | (3 << 64) | 1)
    area = 200 * 300 * (0.2 + 0.3 * numbers.random())
    aspect = np.exp(np.log(0.75) + (np.log(4 / 3) - np.log(0.75)) * numbers.random())
    width, height = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
    assert width <= 300
    assert height <= 200
    top = int(numbers.random() * (200 - height + 1))
    left = int(numbers.random() * (300 - width + 1))
    flip = numbers.random() < 0.5
    transform = LoadTwoViews(scale=(0.2, 0.5), num_views=2, seed=7)
    view = transform.draw(transform.view_rng(3, 1), (200, 300))
    assert (view.box, view.flip) == (Box(top, left, height, width), flip)


def test_views_are_the_same_for_numpys_whole_numbers():
    plain, numpys = (LoadTwoViews(num_views=2, seed=seed) for seed in (7, np.int64(7)))
    expected = plain.view_rng(3, 1).random()
    assert numpys.view_rng(np.int64(3), np.int64(1)).random() == expected


def test_fresh_views_follow_numpys_seed(photos):
    transform = LoadTwoViews(size=32, second_size=16)
    runs = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        runs.append([load(transform, photos[0])['img'][0].numpy().tobytes() for _ in range(10)])
    assert runs[0] == runs[1]
    assert len(set(runs[0]) | set(runs[2])) == 20


def test_transform_is_built_by_name_and_tells_the_rest_of_the_pipeline(photos):
    transform = TRANSFORMS.build(
        dict(type='beit_mm.LoadTwoViews', size=[32, 48], second_size=16, flip_prob=1, **NO_COLOR)
    )
    results = transform(dict(img_path=photos[1], label=3))
    assert set(results) == {'img_path', 'label', 'img', 'ori_shape', 'img_shape', 'flip'}
    assert results['ori_shape'] == (375, 500)
    assert results['img_shape'] == (32, 48)
    assert results['flip'] is True
    assert all(view.dtype == torch.uint8 for view in results['img'])
    assert 'sizes=((32, 48), (16, 16))' in repr(transform)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('size', 0),
        ('second_size', (3, -1)),
        ('scale', (0.5, 0.2)),
        ('scale', (0.08, 1.5)),
        ('ratio', (0, 1)),
        ('ratio', (1, float('inf'))),
        ('interpolation', 'nearest'),
        ('brightness', 1.5),
        ('saturation', -0.1),
        ('flip_prob', 2),
        ('num_views', 0),
    ],
)
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        LoadTwoViews(**{name: value})


@pytest.mark.parametrize('content', [b'', b'not an image', b'\xff\xd8\xff\xe0'])
def test_file_that_is_no_image_is_named(tmp_path, content):
    path = tmp_path / 'broken.jpg'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'broken\.jpg'):
        LoadTwoViews()(dict(img_path=str(path)))


@pytest.mark.parametrize('kind', sorted(good_kinds()))
def test_every_kind_of_photo_is_seen_as_the_slow_way_sees_it(tmp_path, kind):
    """CMYK, grey, palette, 16 bits, transparent, turned, animated, of one pixel."""
    content, _ = good_kinds()[kind]
    (tmp_path / kind).write_bytes(content)
    # No crop of the whole area is of another shape than the photo: the fallback takes all of it.
    settings = dict(NO_COLOR, size=16, second_size=8, scale=(1, 1), ratio=(1e-3, 1e3), flip_prob=0)
    np.random.seed(0)
    results = LoadTwoViews(**settings)(dict(img_path=str(tmp_path / kind)))
    whole = LoadPhoto()(dict(img_path=str(tmp_path / kind)))
    assert results['ori_shape'] == whole['ori_shape']
    for view, size, kernel in zip(results['img'], (16, 8), (3, 1), strict=True):
        expected = np.asarray(whole['img'].resize((size, size), kernel), np.int64)
        # Two decoders of JPEG files differ by a grey level or two.
        assert np.abs(view.permute(1, 2, 0).numpy() - expected).max() <= 3


@pytest.mark.parametrize('kind', sorted(broken_kinds()))
def test_broken_photos_are_refused_by_the_files_name(tmp_path, kind):
    (tmp_path / kind).write_bytes(broken_kinds()[kind])
    with pytest.raises(BrokenImage, match='cannot be decoded') as error:
        LoadTwoViews()(dict(img_path=str(tmp_path / kind)))
    assert error.value.path == str(tmp_path / kind)


@pytest.mark.parametrize('share', [0.3, 0.6, 0.9, 0.99])
def test_a_photo_that_was_cut_off_is_never_half_grey(tmp_path, share):
    data = jpeg(make_photo(375, 500))
    path = tmp_path / 'cut.jpg'
    path.write_bytes(data[: int(share * len(data))])
    for _ in range(5):
        with pytest.raises(BrokenImage, match=r'cut\.jpg cannot be decoded'):
            LoadTwoViews()(dict(img_path=str(path)))
