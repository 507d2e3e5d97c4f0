"""Two views: both of one crop, resampled without aliasing, cropped as torchvision crops."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmengine.registry import TRANSFORMS
from PIL import Image
from scipy import stats
from torchvision.transforms import InterpolationMode, RandomResizedCrop

from beit_mm.datasets import TwoViewRandomResizedCrop

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=300)

# How likely a statistical test is to fail with another stream of random numbers; see test_masks.
LEVEL = 1e-4

# The crop is the whole of a square image.
WHOLE = dict(scale=(1, 1), ratio=(1, 1))


def transform(image, seed=0, **arguments):
    """The sample that comes out for an image, under a seed of torch."""
    torch.manual_seed(seed)
    return TwoViewRandomResizedCrop(**arguments)(dict(img=image))


def views_of(image, seed=0, **arguments):
    """Both views as arrays of signed numbers."""
    return [np.asarray(view).astype(int) for view in transform(image, seed, **arguments)['img']]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# ----------------------------------------------------------------------------------------------
# One crop
# ----------------------------------------------------------------------------------------------


def position_image(height, width):
    """Red is twice the column, green twice the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([2 * columns, 2 * rows, 0 * rows], axis=-1).astype(np.uint8)


def crop_box(view, margin=3):
    """(top, left, height, width) in source pixels of what a view of ``position_image`` shows.

    Resampling keeps a ramp a ramp except for a margin, where the crop's edge cuts the filter. Pixel
    i of n has its centre at start + (i + 0.5) * length / n; the colour there is twice that place
    less the half pixel. So the straight line through place and colour tells start and length.
    """
    ramps = view[..., 1].mean(axis=1), view[..., 0].mean(axis=0)
    starts, lengths = [], []
    for ramp in ramps:
        centres = np.arange(len(ramp)) + 0.5
        inside = slice(margin, -margin)
        slope, start = np.polyfit(centres[inside], ramp[inside] / 2 + 0.5, deg=1)
        starts.append(start)
        lengths.append(slope * len(ramp))
    box = np.array([*starts, *lengths])
    # Crops are of whole pixels, rounded colours tell a quarter of one: no box is in doubt.
    assert np.abs(box - box.round()).max() < 0.3
    return tuple(box.round().astype(int).tolist())


@pytest.mark.parametrize(
    'sizes',
    [dict(size=48, second_size=24), dict(size=(32, 48), second_size=(40, 24))],
    ids=str,
)
def test_both_views_show_the_same_crop(sizes):
    image = position_image(100, 128)
    boxes = []
    for seed in range(200):
        first, second = views_of(image, seed, scale=(0.25, 1), **sizes)
        boxes.append(crop_box(first))
        assert crop_box(second) == boxes[-1]
    # It is a random one.
    assert len(set(boxes)) > 190


def inside_box(image, seed, scale, ratio):
    """The crop that the first view shows."""
    return crop_box(views_of(image, seed, size=48, second_size=8, scale=scale, ratio=ratio)[0])


def test_crops_keep_to_scale_and_ratio():
    height, width = 100, 128
    image = position_image(height, width)
    scale, ratio = (0.3, 0.5), (0.8, 1.25)
    boxes = np.array([inside_box(image, seed, scale, ratio) for seed in range(1_000)])
    top, left, crop_h, crop_w = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + crop_h <= height).all()
    assert (left + crop_w <= width).all()
    # Sides are rounded to whole pixels: a half up or down is all the limits may give.
    assert ((crop_h + 0.5) * (crop_w + 0.5) >= scale[0] * height * width).all()
    assert ((crop_h - 0.5) * (crop_w - 0.5) <= scale[1] * height * width).all()
    assert ((crop_w + 0.5) / (crop_h - 0.5) >= ratio[0]).all()
    assert ((crop_w - 0.5) / (crop_h + 0.5) <= ratio[1]).all()


def test_area_is_uniform_ratio_log_uniform_and_place_uniform():
    """With limits under which every crop fits, so that none is drawn again."""
    side, number = 128, 1_500
    image = position_image(side, side)
    scale, ratio = (0.25, 0.7), (3 / 4, 4 / 3)
    boxes = np.array([inside_box(image, seed, scale, ratio) for seed in range(number)])
    # Whole pixels are spread over what rounds to them, so that a continuous law applies.
    rng = np.random.default_rng(0)
    crop_h, crop_w = (boxes[:, 2:] + rng.uniform(-0.5, 0.5, (number, 2))).T
    area = stats.uniform(scale[0], scale[1] - scale[0])
    log_ratio = stats.uniform(math.log(ratio[0]), math.log(ratio[1] / ratio[0]))
    assert stats.kstest(crop_h * crop_w / side**2, area.cdf).pvalue > LEVEL
    assert stats.kstest(np.log(crop_w / crop_h), log_ratio.cdf).pvalue > LEVEL
    for start, length in (boxes[:, [0, 2]].T, boxes[:, [1, 3]].T):
        place = (start + rng.random(number)) / (side - length + 1)
        assert stats.kstest(place, stats.uniform.cdf).pvalue > LEVEL


def test_default_crops_are_distributed_as_torchvisions():
    """The paper's limits, under which some crops do not fit and are drawn again."""
    image = position_image(90, 128)
    boxes = np.array(
        [
            # The smallest crops are enlarged to more than twice their size, and so is the margin.
            crop_box(views_of(image, seed, size=64, second_size=8)[0], margin=7)
            for seed in range(1_500)
        ]
    )
    torch.manual_seed(12345)
    pil = Image.fromarray(image)
    expected = np.array(
        [RandomResizedCrop.get_params(pil, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(5_000)]
    )
    for values, others in zip(boxes.T, expected.T, strict=True):
        assert stats.ks_2samp(values, others).pvalue > LEVEL
    areas, other_areas = (part[:, 2] * part[:, 3] for part in (boxes, expected))
    assert stats.ks_2samp(areas, other_areas).pvalue > LEVEL


limits = st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)).map(sorted).map(tuple)
sides = st.integers(1, 60)


@repeatable
@given(
    image_size=st.tuples(sides, sides),
    size=st.tuples(sides, sides),
    second_size=st.tuples(sides, sides),
    scale=limits,
    ratio=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted).map(tuple),
    seed=st.integers(0, 2**31),
)
def test_each_view_is_torchvisions_random_resized_crop(
    image_size, size, second_size, scale, ratio, seed
):
    """Under the same seed of torch, to the last bit, whatever the shape of the image."""
    image = Image.fromarray(noise(*image_size, 3))
    views = views_of(image, seed, size=size, second_size=second_size, scale=scale, ratio=ratio)
    for view, view_size, mode in zip(
        views,
        (size, second_size),
        (InterpolationMode.BICUBIC, InterpolationMode.LANCZOS),
        strict=True,
    ):
        torch.manual_seed(seed)
        *_, height, width = RandomResizedCrop.get_params(image, scale, ratio)
        assume(height and width)  # Else torchvision has no crop to resample; see below.
        torch.manual_seed(seed)
        expected = RandomResizedCrop(view_size, scale, ratio, mode)(image)
        np.testing.assert_array_equal(view, np.asarray(expected))


@pytest.mark.parametrize('as_array', [False, True])
@pytest.mark.parametrize('edge', [1, 3])
def test_a_crop_that_rounds_to_no_pixels_takes_one(edge, as_array):
    """torchvision's would be 2 x 0: black or an error, by Pillow's version."""
    pixels = np.array([[[10, 20, 30]], [[50, 60, 70]]], np.uint8)
    for image, ratio in ((pixels, 0.25), (pixels.transpose(1, 0, 2), 4.0)):
        box = RandomResizedCrop.get_params(Image.fromarray(image), [1, 1], [ratio, ratio])
        assert sorted(box) == [0, 0, 0, 2]
        source = image if as_array else Image.fromarray(image)
        whole = dict(scale=(1, 1), ratio=(ratio, ratio))
        views = views_of(source, size=edge, second_size=edge, **whole)
        methods = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
        for view, method in zip(views, methods, strict=True):
            expected = Image.fromarray(image).resize((edge, edge), method)
            np.testing.assert_array_equal(view, np.asarray(expected))


def test_defaults_are_the_papers():
    image = Image.fromarray(noise(300, 400, 3))
    for seed in range(5):
        views = views_of(image, seed)
        for view, size, mode in zip(
            views,
            (224, 112),
            (InterpolationMode.BICUBIC, InterpolationMode.LANCZOS),
            strict=True,
        ):
            torch.manual_seed(seed)
            expected = RandomResizedCrop(size, (0.08, 1), (3 / 4, 4 / 3), mode)(image)
            np.testing.assert_array_equal(view, np.asarray(expected))


# ----------------------------------------------------------------------------------------------
# Resampling
# ----------------------------------------------------------------------------------------------


def lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


def bicubic(x):
    """Keys' cubic with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def bilinear(x):
    return np.clip(1 - np.abs(x), 0, None)


KERNELS = dict(bilinear=bilinear, bicubic=bicubic, lanczos=lanczos)


def resample(image, size, kernel):
    """Weights a filter as wide as an output pixel, rows after columns, rounding both times."""
    for axis in (1, 0):
        length, new_length = image.shape[axis], size[axis]
        stretch = length / new_length
        centres = (np.arange(new_length)[:, None] + 0.5) * stretch
        places = np.arange(length) + 0.5
        weights = kernel((places - centres) / max(stretch, 1))
        weights /= weights.sum(axis=1, keepdims=True)
        image = np.moveaxis(np.tensordot(weights, image, axes=(1, axis)), 0, axis)
        image = np.clip(np.floor(image + 0.5), 0, 255)
    return image


@pytest.mark.parametrize('interpolation', KERNELS)
@pytest.mark.parametrize('source_side', [96, 45, 15])
def test_resampling_is_the_named_filter_widened_to_the_output_pixel(interpolation, source_side):
    image = noise(source_side, source_side, 3)
    views = views_of(
        image,
        size=(40, 30),
        second_size=(16, 24),
        interpolation=interpolation,
        second_interpolation=interpolation,
        **WHOLE,
    )
    for view in views:
        expected = resample(image, view.shape[:2], KERNELS[interpolation])
        # Fixed-point weights may round the other way, once along columns and once along rows.
        assert np.abs(view - expected).max() <= 1
        assert np.abs(view - expected).mean() < 0.02


def test_each_view_has_its_own_interpolation():
    image = noise(96, 96, 3)
    first, second = views_of(
        image,
        size=40,
        second_size=40,
        interpolation='bilinear',
        second_interpolation='bicubic',
        **WHOLE,
    )
    for view, other, kernel in ((first, second, bilinear), (second, first, bicubic)):
        expected = resample(image, (40, 40), kernel)
        assert np.abs(view - expected).max() <= 1
        assert np.abs(other - expected).max() > 10


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_resampling_is_torchs_with_antialiasing(interpolation):
    image = noise(300, 300, 3)
    for view in views_of(
        image,
        size=(120, 90),
        second_size=(56, 64),
        interpolation=interpolation,
        second_interpolation=interpolation,
        **WHOLE,
    ):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double()
        expected = F.interpolate(
            pixels, view.shape[:2], mode=interpolation, antialias=True, align_corners=False
        )
        expected = expected[0].permute(1, 2, 0).clamp(0, 255).numpy()
        # torch computes in floating point here; Pillow rounds twice, half a grey level each time,
        # and the second filter's weights (1.3 in absolute sum at most) carry the first one's.
        assert np.abs(view - expected).max() < 0.5 + 1.3 * 0.5 + 0.1


rows, columns = np.mgrid[:1000, :1000]


@pytest.mark.parametrize(
    'pattern',
    [rows % 2, columns % 2, (rows + columns) % 2],
    ids=['rows', 'columns', 'checkerboard'],
)
@pytest.mark.parametrize('size', [dict(), dict(size=(200, 230), second_size=(110, 90))], ids=str)
def test_detail_finer_than_a_pixel_becomes_grey(pattern, size):
    image = np.repeat(255 * pattern[..., None], 3, axis=-1).astype(np.uint8)
    for view in views_of(image, **size, **WHOLE):
        # Half of the pixels are 255: 127 or 128. Near the edge the filter is cut off at a stripe.
        inner = view[3:-3, 3:-3]
        assert np.abs(inner - 127.5).max() <= 0.5
        # The picture would show it: without the wider filter the same sizes give moire.
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].double()
        aliased = F.interpolate(pixels, view.shape[:2], mode='bicubic', align_corners=False)
        assert aliased.std() > 30


def test_pixels_outside_the_crop_stay_out():
    """A grey image whose every crop is grey, but for a white frame that crops leave out."""
    image = np.full((120, 120), 100, dtype=np.uint8)
    for seed in range(100):
        torch.manual_seed(seed)
        box = RandomResizedCrop.get_params(Image.fromarray(image), (0.1, 0.3), (3 / 4, 4 / 3))
        top, left, height, width = box
        framed = np.full_like(image, 255)
        framed[top : top + height, left : left + width] = 100
        for view in views_of(framed, seed, size=48, second_size=24, scale=(0.1, 0.3)):
            assert (view == 100).all()


# ----------------------------------------------------------------------------------------------
# The sample
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('shape', [(50, 70, 3), (50, 70)], ids=['colour', 'grey'])
def test_array_and_pil_image_give_the_same_views_of_the_type_given(shape):
    array = noise(*shape)
    arguments = dict(size=(24, 36), second_size=(20, 12))
    for seed in range(20):
        from_array = transform(array, seed, **arguments)
        from_pil = transform(Image.fromarray(array), seed, **arguments)
        assert isinstance(from_array['img'], list)
        assert isinstance(from_pil['img'], list)
        for view, pil_view in zip(from_array['img'], from_pil['img'], strict=True):
            assert type(view) is np.ndarray
            assert view.dtype == np.uint8
            assert isinstance(pil_view, Image.Image)
            np.testing.assert_array_equal(view, np.asarray(pil_view))
        assert [view.shape for view in from_array['img']] == [
            (24, 36, *shape[2:]),
            (20, 12, *shape[2:]),
        ]
        # Pillow's order is width, height.
        assert [view.size for view in from_pil['img']] == [(36, 24), (12, 20)]
        assert from_array['img_shape'] == from_pil['img_shape'] == (24, 36)


@pytest.mark.parametrize('channels', [1, 2, 3, 4, 5])
def test_channels_are_resampled_each_on_its_own(channels):
    """A fourth channel is near infrared as soon as alpha; (H, W, C) is what is promised."""
    image = noise(50, 70, channels)
    arguments = dict(size=(24, 36), second_size=(20, 12))
    views = views_of(image, **arguments)
    for channel in range(channels):
        # Contiguous, as Pillow asks of what it is given.
        alone = views_of(np.ascontiguousarray(image[..., channel]), **arguments)
        for view, expected in zip(views, alone, strict=True):
            assert view.shape == (*expected.shape, channels)
            np.testing.assert_array_equal(view[..., channel], expected)


def test_array_that_is_a_view_of_another_is_read_right():
    """Images turned from BGR or flipped by slicing have negative strides."""
    image = noise(50, 70, 3)
    for seen in (image[..., ::-1], image[:, ::-1], image[::2, ::3]):
        arguments = dict(size=24, second_size=12)
        for view, expected in zip(
            views_of(seen, **arguments), views_of(seen.copy(), **arguments), strict=True
        ):
            np.testing.assert_array_equal(view, expected)


def test_array_views_can_be_written_to():
    """As every other transform's result can: later ones change pixels in place."""
    for view in transform(noise(50, 70, 3), size=24, second_size=12)['img']:
        assert view.flags.writeable


def test_rest_of_the_sample_and_the_image_itself_are_left_alone():
    image = noise(50, 70, 3)
    before = image.copy()
    sample = dict(img=image, img_path='photo.jpg', ori_shape=(50, 70), gt_label=3)
    kept = copy.deepcopy({key: value for key, value in sample.items() if key != 'img'})
    results = TwoViewRandomResizedCrop(24, 12)(sample)
    np.testing.assert_array_equal(image, before)
    assert {key: results[key] for key in kept} == kept
    assert set(results) == {*kept, 'img', 'img_shape'}


def test_crops_repeat_with_torchs_seed_and_differ_between_samples():
    crop = TwoViewRandomResizedCrop(24, 12)
    image = noise(50, 70, 3)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append([crop(dict(img=image))['img'][0].tobytes() for _ in range(30)])
    assert runs[0] == runs[1]
    assert len(set(runs[0]) | set(runs[2])) == 60


def test_runner_builds_it_from_a_config():
    # Lists are what a config read from JSON or YAML holds.
    crop = TRANSFORMS.build(
        dict(
            type='beit_mm.TwoViewRandomResizedCrop',
            size=[32, 16],
            second_size=8,
            scale=[0.2, 1.0],
            ratio=[0.5, 2.0],
            interpolation='lanczos',
            second_interpolation='bilinear',
        )
    )
    image = Image.fromarray(noise(50, 70, 3))
    torch.manual_seed(0)
    first, second = crop(dict(img=image))['img']
    for view, size, mode in (
        (first, (32, 16), InterpolationMode.LANCZOS),
        (second, (8, 8), InterpolationMode.BILINEAR),
    ):
        torch.manual_seed(0)
        expected = RandomResizedCrop(size, (0.2, 1), (0.5, 2), mode)(image)
        np.testing.assert_array_equal(np.asarray(view), np.asarray(expected))


def test_it_prints_its_settings():
    text = repr(TwoViewRandomResizedCrop((32, 16), 8, (0.2, 1), (0.5, 2), 'lanczos', 'bilinear'))
    for part in ('(32, 16)', '(8, 8)', '(0.2, 1)', '(0.5, 2)', "'lanczos'", "'bilinear'"):
        assert part in text
    assert text.count('(') == text.count(')')


@pytest.mark.parametrize(
    ('name', 'wrong'),
    [
        ('size', dict(size=0)),
        ('size', dict(size=(-1, 224))),
        ('size', dict(size=(224, 0))),
        ('second_size', dict(second_size=0)),
        ('second_size', dict(second_size=(112, -112))),
        ('scale', dict(scale=(0, 1))),
        ('scale', dict(scale=(-0.1, 1))),
        ('scale', dict(scale=(1, 0.08))),
        ('scale', dict(scale=(math.nan, 1))),
        ('scale', dict(scale=(0.08, math.nan))),
        ('ratio', dict(ratio=(0, 1))),
        ('ratio', dict(ratio=(4 / 3, 3 / 4))),
        ('ratio', dict(ratio=(math.nan, 1))),
        ('interpolation.*nearest', dict(interpolation='nearest')),
        ('interpolation.*cubic', dict(second_interpolation='cubic')),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(name, wrong):
    with pytest.raises(ValueError, match=f'^{name}\\b'):
        TwoViewRandomResizedCrop(**wrong)


def test_unknown_interpolation_lists_the_known():
    with pytest.raises(ValueError, match='bilinear, bicubic, lanczos'):
        TwoViewRandomResizedCrop(interpolation='nearest')


@pytest.mark.parametrize(
    ('name', 'wrong'),
    [
        # Per cent in place of a share: no such crop exists, and torchvision would quietly give
        # the middle of every image.
        ('scale', dict(scale=(8, 100))),
        ('scale', dict(scale=(0.08, 1.5))),
        # Fails in a loader worker, if not here.
        ('scale', dict(scale=(0.08, math.inf))),
        ('ratio', dict(ratio=(1, math.inf))),
        ('size', dict(size=(224.5, 224))),
        ('second_size', dict(second_size=(112, 112.5))),
    ],
    ids=str,
)
def test_settings_that_no_crop_can_meet_are_refused_at_once(name, wrong):
    with pytest.raises((TypeError, ValueError), match=f'^{name}\\b'):
        TwoViewRandomResizedCrop(**wrong)
