"""A layer for other bands: timm's numbers, and images that give the same output as before."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from timm.models import adapt_input_conv

from beit_mm.layers.fit_bands import BandFit, check_names

RGB = ('red', 'green', 'blue')


def kernels(bands, seed=0):
    return torch.randn(5, bands, 4, 4, generator=torch.Generator().manual_seed(seed)).double()


def images(bands):
    return torch.rand(2, bands, 8, 12, generator=torch.Generator().manual_seed(9)).double()


def apply(layer, pictures):
    return F.conv2d(pictures, layer, stride=4)


def assert_same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize('bands', [1, 2, 3, 4, 5, 7, 13])
def test_three_bands_become_others_exactly_as_in_timm(bands, dtype):
    weight = kernels(3).to(dtype)
    fitted = BandFit(3, bands).inputs(weight)
    assert fitted.dtype == dtype
    assert fitted.equal(adapt_input_conv(bands, weight))


@pytest.mark.parametrize(('old', 'new'), [(3, 1), (1, 3), (1, 13), (4, 1), (2, 6), (3, 9), (3, 3)])
def test_an_image_of_equal_bands_gives_the_same_by_numbers(old, new):
    weight, grey = kernels(old), images(1)
    fitted = BandFit(old, new).inputs(weight)
    assert fitted.shape == (5, new, 4, 4)
    assert_same(apply(fitted, grey.repeat(1, new, 1, 1)), apply(weight, grey.repeat(1, old, 1, 1)))


SOME_NAMES = [
    (RGB, (*RGB, 'nir')),
    (RGB, ('nir', 'blue', 'swir', 'red', 'green')),
    (RGB, ('nir', 'red', 'green')),
    (RGB, ('green',)),
    ((*RGB, 'nir'), RGB),
    (('a', 'b', 'c', 'd', 'e'), ('x', 'd', 'b', 'y')),
]


@pytest.mark.parametrize(('old', 'new'), SOME_NAMES)
def test_an_image_whose_other_bands_equal_the_mean_gives_the_same_by_names(old, new):
    """Whatever its colours: bands that one side alone has equal the mean of what both have."""
    shared = [name for name in old if name in new]
    values = {name: images(len(old))[:, [place]] for place, name in enumerate(old)}
    mean = torch.stack([values[name] for name in shared]).mean(dim=0)
    before, after = (
        torch.cat([values[name] if name in shared else mean for name in names], dim=1)
        for names in (old, new)
    )
    weight = kernels(len(old))
    fitted = BandFit(len(old), len(new), old, new).inputs(weight)
    assert_same(apply(fitted, after), apply(weight, before))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_few_bits_are_rounded_once(dtype):
    weight = kernels(3).to(dtype)
    fit = BandFit(3, 5, RGB, ('nir', *RGB, 'swir'))
    fitted, exact = fit.inputs(weight), fit.inputs(weight.double())
    assert fitted.dtype == dtype
    assert ((fitted - exact).abs() <= 0.51 * torch.finfo(dtype).eps * exact.abs() + 1e-6).all()


def test_with_added_bands_alone_the_mean_is_that_of_all_old_ones():
    pictures, weight = images(3), kernels(3)
    fitted = BandFit(3, 5, RGB, (*RGB, 'nir', 'swir')).inputs(weight)
    added = pictures.mean(dim=1, keepdim=True).repeat(1, 2, 1, 1)
    assert_same(apply(fitted, torch.cat([pictures, added], dim=1)), apply(weight, pictures))
    # Every band has an even share of what is made of the mean, and a new one nothing else.
    assert_same(fitted[:, 3:], weight.mean(dim=1, keepdim=True).repeat(1, 2, 1, 1) * 3 / 5)
    assert_same(fitted[:, :3].mean(dim=1), fitted[:, 3])
    for one, other in itertools.combinations(range(3), 2):
        assert_same(fitted[:, one] - fitted[:, other], weight[:, one] - weight[:, other])


def test_the_same_bands_in_another_order_are_the_same_kernels():
    weight = kernels(3).float()
    fitted = BandFit(3, 3, None, ('blue', 'green', 'red')).inputs(weight)
    assert fitted.equal(weight.flip(1))
    assert BandFit(3, 3, RGB, None).inputs(weight) is weight
    assert BandFit(4, 4, ('a', 'b', 'c', 'd'), None).inputs(weight) is weight


@pytest.mark.parametrize('parts', [1, 2])
def test_what_makes_images_makes_bands_of_a_name_as_before(parts):
    rows = torch.randn(parts * 3, 7, 1, 1)
    hidden = torch.randn(2, 7, 4, 5)
    before = F.conv2d(hidden, rows).chunk(parts, dim=1)
    fitted = BandFit(3, 4, None, ('nir', *RGB)).outputs(rows, parts)
    after = F.conv2d(hidden, fitted).chunk(parts, dim=1)
    for old, new in zip(before, after, strict=True):
        assert_same(new, torch.cat([old.mean(dim=1, keepdim=True), old], dim=1))
    one = F.conv2d(hidden, BandFit(3, 1).outputs(rows, parts)).chunk(parts, dim=1)
    for old, new in zip(before, one, strict=True):
        assert_same(new, old.mean(dim=1, keepdim=True))
    many = BandFit(3, 7).outputs(rows[:, 0, 0, 0], parts).view(parts, 7)
    assert many.equal(rows[:, 0, 0, 0].view(parts, 3)[:, [0, 1, 2, 0, 1, 2, 0]])


@pytest.mark.parametrize(
    ('fit', 'said'),
    [
        (BandFit(3, 1), '3 -> 1 band: their sum'),
        (BandFit(3, 7), '3 -> 7 bands: repeated, times 3/7'),
        (BandFit(3, 4, None, (*RGB, 'nir')),
         '3 -> 4 bands: red, green, blue by name, nir from their mean'),
        (BandFit(4, 3, (*RGB, 'nir'), None), '4 -> 3 bands: red, green, blue by name, without nir'),
        (BandFit(3, 2, None, ('vv', 'vh')), '3 -> 2 bands: repeated, times 3/2'),
    ],
)  # fmt: skip
def test_the_words_say_what_is_done(fit, said):
    assert str(fit) == said


@pytest.mark.parametrize('bands', [['a', 'a'], ['a', ''], ['a', 1], 'ab', [], ['a', 'b\nc']])
def test_what_is_no_list_of_names_is_refused(bands):
    with pytest.raises(ValueError, match='a list of different names'):
        check_names(bands, 2)
    with pytest.raises(ValueError, match='set in_channels=2, or name 3 bands'):
        check_names(['a', 'b'], 3)
