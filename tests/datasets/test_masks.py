"""Masks: their promises on any grid, and their distribution against the authors' algorithm."""

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner, set_random_seed
from scipy import stats

from beit_mm.datasets import (
    BlockwiseMaskGenerator,
    RandomMaskGenerator,
    blockwise_mask,
    grid_mask,
    plain_blockwise_mask,
    random_mask,
)
from beit_mm.datasets.masks.fast_blockwise import Blocks

# The same examples on every run, nothing written to the checkout, nothing timed.
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=300)

# Seeds are fixed, so a statistical test passes always or never. The level only says how likely
# another release of NumPy, with another stream of random numbers, is to meet one that fails.
LEVEL = 1e-4


# ----------------------------------------------------------------------------------------------
# Promises on any grid
# ----------------------------------------------------------------------------------------------


@st.composite
def tasks(draw):
    """A grid of 1 to 24 patches a side and a number of them to hide."""
    grid_size = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    return grid_size, draw(st.integers(0, grid_size[0] * grid_size[1]))


@st.composite
def block_settings(draw):
    """Blocks of any size and shape, far more extreme than anyone would ask for."""
    min_block = draw(st.integers(1, 40) | st.integers(41, 1000))
    max_block = draw(st.none() | st.integers(min_block, 2 * min_block + 20))
    ratio = st.floats(-6, 6).map(math.exp)
    return dict(
        min_block=min_block,
        max_block=max_block,
        aspect_ratio=tuple(sorted((draw(ratio), draw(ratio)))),
    )


seeds = st.integers(0, 2**32 - 1)


class CountingGenerator(np.random.Generator):
    """Counts draws, and stops the test where an endless loop would hang it."""

    def __init__(self, seed, most):
        super().__init__(np.random.PCG64(seed))
        self.left = most

    def _count(self):
        self.left -= 1
        assert self.left >= 0, 'more draws than hiding one patch after another takes'

    def random(self, *args, **kwargs):
        self._count()
        return super().random(*args, **kwargs)

    def uniform(self, *args, **kwargs):
        self._count()
        return super().uniform(*args, **kwargs)

    def integers(self, *args, **kwargs):
        self._count()
        return super().integers(*args, **kwargs)

    def choice(self, *args, **kwargs):
        self._count()
        return super().choice(*args, **kwargs)


@repeatable
@given(tasks(), block_settings(), seeds)
def test_blockwise_mask_hides_exactly_what_was_asked(task, blocks, seed):
    grid_size, num_masked = task
    # Ten tries of four numbers (area, ratio, top, left) and at most ten more for another way out
    # must hide one patch or more: that is what "always terminates" means.
    rng = CountingGenerator(seed, most=50 * num_masked)
    mask = blockwise_mask(grid_size, num_masked, **blocks, rng=rng)
    assert mask.shape == grid_size
    assert mask.dtype == np.bool_
    assert mask.sum() == num_masked


@repeatable
@given(tasks(), block_settings(), seeds)
def test_inexact_mask_hides_at_most_what_was_asked_and_the_exact_one_adds_to_it(task, blocks, seed):
    grid_size, num_masked = task
    rng = CountingGenerator(seed, most=50 * num_masked + 40)
    mask = blockwise_mask(grid_size, num_masked, **blocks, exact=False, rng=rng)
    assert mask.shape == grid_size
    assert mask.dtype == np.bool_
    assert mask.sum() <= num_masked
    # The two differ only after the released algorithm gives up.
    exact = blockwise_mask(grid_size, num_masked, **blocks, rng=np.random.default_rng(seed))
    assert (exact >= mask).all()


@repeatable
@given(tasks(), seeds)
def test_random_mask_hides_exactly_what_was_asked(task, seed):
    grid_size, num_masked = task
    mask = random_mask(grid_size, num_masked, rng=np.random.default_rng(seed))
    assert mask.shape == grid_size
    assert mask.dtype == np.bool_
    assert mask.sum() == num_masked


def test_defaults_are_the_papers():
    assert blockwise_mask().shape == random_mask().shape == (14, 14)
    assert blockwise_mask().sum() == random_mask().sum() == 75


make_mask = pytest.mark.parametrize(
    'make_mask',
    [blockwise_mask, lambda **kwargs: blockwise_mask(exact=False, **kwargs), random_mask],
    ids=['blockwise', 'blockwise_inexact', 'random'],
)


@make_mask
def test_same_generator_seed_gives_same_mask(make_mask):
    for seed in range(50):
        mask, again = (make_mask(rng=np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(mask, again)


@make_mask
def test_one_generator_gives_mask_after_mask(make_mask):
    rng = np.random.default_rng(0)
    masks = {make_mask(rng=rng).tobytes() for _ in range(200)}
    # Two of 200 alike are less likely than a cosmic ray.
    assert len(masks) == 200


@make_mask
def test_global_random_state_is_neither_read_nor_changed(make_mask):
    masks = []
    for global_seed in (0, 1):
        np.random.seed(global_seed)
        random.seed(global_seed)
        before = np.random.get_state(), random.getstate()
        masks.append(np.stack([make_mask(rng=np.random.default_rng(seed)) for seed in range(20)]))
        after = np.random.get_state(), random.getstate()
        np.testing.assert_equal(after, before)
    np.testing.assert_array_equal(*masks)


@make_mask
def test_without_generator_every_mask_is_fresh(make_mask):
    masks = set()
    for _ in range(20):
        np.random.seed(0)
        masks.add(make_mask().tobytes())
    assert len(masks) == 20


IMPOSSIBLE_BUDGETS = {
    'grid_size': [
        dict(grid_size=(0, 14), num_masked=0),
        dict(grid_size=(14, 0), num_masked=0),
        dict(grid_size=(-14, -14)),
    ],
    'num_masked': [
        dict(num_masked=-1),
        dict(num_masked=197),
        dict(grid_size=(3, 5), num_masked=16),
        dict(num_masked=math.nan),
    ],
}
IMPOSSIBLE_BLOCKS = {
    'min_block': [dict(min_block=0), dict(min_block=-4)],
    'max_block': [dict(max_block=15), dict(min_block=5, max_block=4), dict(max_block=0)],
    'aspect_ratio': [
        dict(aspect_ratio=(0, 1)),
        dict(aspect_ratio=(-1, 1)),
        dict(aspect_ratio=(2, 0.5)),
        dict(aspect_ratio=(0.3, math.inf)),
        dict(aspect_ratio=(math.inf, math.inf)),
        dict(aspect_ratio=(math.nan, 1)),
        dict(aspect_ratio=(1, math.nan)),
    ],
}
# A share in place of a number (0.4, 0.4 * 196) and a true division (224 / 16) are the slips that
# a config invites.
NOT_WHOLE = {
    'grid_size': [dict(grid_size=(14.0, 14)), dict(grid_size=(14, 14.0))],
    'num_masked': [dict(num_masked=0.4), dict(num_masked=0.4 * 196)],
}


def by_argument(*cases):
    """Parametrize with (argument to be named, settings that are wrong about it)."""
    return pytest.mark.parametrize(
        ('name', 'wrong'),
        [(name, wrong) for part in cases for name, many in part.items() for wrong in many],
        ids=str,
    )


@by_argument(IMPOSSIBLE_BUDGETS, IMPOSSIBLE_BLOCKS)
@pytest.mark.parametrize('exact', [True, False])
def test_impossible_blockwise_mask_is_refused_by_name(name, wrong, exact):
    with pytest.raises(ValueError, match=name):
        blockwise_mask(**wrong, exact=exact)


@by_argument(IMPOSSIBLE_BUDGETS)
def test_impossible_random_mask_is_refused_by_name(name, wrong):
    with pytest.raises(ValueError, match=name):
        random_mask(**wrong)


def test_numpys_whole_numbers_are_as_good_as_pythons():
    settings = dict(grid_size=(13, 14), num_masked=75, min_block=16, max_block=50)
    for seed in range(20):
        numpys = {
            name: np.array(value) if name == 'grid_size' else np.int64(value)
            for name, value in settings.items()
        }
        # First, as what is kept of it must serve the other.
        mask = blockwise_mask(**numpys, rng=np.random.default_rng(seed))
        assert np.array_equal(mask, blockwise_mask(**settings, rng=np.random.default_rng(seed)))
        assert np.array_equal(
            random_mask(numpys['grid_size'], np.int64(75), rng=np.random.default_rng(seed)),
            random_mask((13, 14), 75, rng=np.random.default_rng(seed)),
        )


@by_argument(NOT_WHOLE)
@make_mask
def test_numbers_that_are_not_whole_are_refused_by_name(make_mask, name, wrong):
    with pytest.raises((TypeError, ValueError), match=name):
        make_mask(**wrong)


def test_errors_state_the_value_and_the_limit():
    with pytest.raises(ValueError, match=r'16.*\b15\b'):
        random_mask((3, 5), 16)
    with pytest.raises(ValueError, match=r'4.*5'):
        blockwise_mask(min_block=5, max_block=4)


# ----------------------------------------------------------------------------------------------
# Blocks whose size and shape are known
# ----------------------------------------------------------------------------------------------


def bounding_box(mask):
    """(top, left, height, width) of what is hidden."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize(
    ('ratio', 'expected'), [(1, (4, 4)), (4, (8, 2)), (1 / 4, (2, 8))], ids=str
)
def test_aspect_ratio_is_height_over_width(ratio, expected):
    """An area of 16 and one ratio leave one shape."""
    for seed in range(20):
        mask = blockwise_mask(
            (12, 12), 16, aspect_ratio=(ratio, ratio), rng=np.random.default_rng(seed)
        )
        assert bounding_box(mask)[2:] == expected


def test_block_lands_on_every_place_equally_often():
    """Blocks of 4 x 4 in 6 x 7: 3 x 4 places, the last row and column among them."""
    counts = np.zeros((3, 4), dtype=int)
    for seed in range(6_000):
        mask = blockwise_mask((6, 7), 16, aspect_ratio=(1, 1), rng=np.random.default_rng(seed))
        counts[bounding_box(mask)[:2]] += 1
    assert stats.chisquare(counts.ravel()).pvalue > LEVEL


@pytest.mark.parametrize('grid_size', [(4, 9), (9, 4)])
def test_no_block_spans_the_grid_in_the_released_algorithm(grid_size):
    """Blocks of 4 x 4: the released comparison is strict, so none fits a side of 4."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = blockwise_mask(grid_size, 16, aspect_ratio=(1, 1), exact=False, rng=rng)
        assert not mask.any()


def test_block_that_rounding_makes_larger_than_the_limit_is_not_taken():
    """An area of 3 at ratio 1 is rounded to 2 x 2, one patch more than a block may add."""
    for seed in range(20):
        mask = blockwise_mask(
            min_block=3,
            max_block=3,
            aspect_ratio=(1, 1),
            exact=False,
            rng=np.random.default_rng(seed),
        )
        assert not mask.any()


# ----------------------------------------------------------------------------------------------
# The distribution of masks
# ----------------------------------------------------------------------------------------------


def released_mask(source, grid_size, num_masked, min_block, max_block, aspect_ratio):
    """The authors' algorithm, as FACTS tells it: (mask, (height, width) of its first block)."""
    height, width = grid_size
    if max_block is None:
        max_block = num_masked
    hidden = set()
    first_block = None
    while len(hidden) < num_masked:
        most = min(num_masked - len(hidden), max_block)
        added = 0
        for _ in range(10):
            area = source.uniform(min_block, most)
            ratio = math.exp(source.uniform(math.log(aspect_ratio[0]), math.log(aspect_ratio[1])))
            block_h = round(math.sqrt(area * ratio))
            block_w = round(math.sqrt(area / ratio))
            if block_h < height and block_w < width:
                top = source.randint(0, height - block_h)
                left = source.randint(0, width - block_w)
                new = {
                    (y, x)
                    for y in range(top, top + block_h)
                    for x in range(left, left + block_w)
                    if (y, x) not in hidden
                }
                if 0 < len(new) <= most:
                    added = len(new)
                    hidden |= new
                    first_block = first_block or (block_h, block_w)
                    break
        if added == 0:
            break
    mask = np.zeros(grid_size, dtype=bool)
    for place in hidden:
        mask[place] = True
    return mask, first_block


PAPER = dict(
    grid_size=(14, 14), num_masked=75, min_block=16, max_block=None, aspect_ratio=(0.3, 1 / 0.3)
)
TALL_GRID = dict(
    grid_size=(12, 7), num_masked=50, min_block=4, max_block=None, aspect_ratio=(0.5, 3.0)
)
LIMITED_BLOCK = dict(
    grid_size=(14, 14), num_masked=90, min_block=9, max_block=30, aspect_ratio=(0.3, 1 / 0.3)
)
NUM_MASKS = {'paper': 20_000, 'tall_grid': 8_000, 'limited_block': 5_000}
CASES = {'paper': PAPER, 'tall_grid': TALL_GRID, 'limited_block': LIMITED_BLOCK}


def make_masks(case, make_mask=blockwise_mask, **settings):
    rng = np.random.default_rng(2)
    return np.stack([make_mask(**CASES[case], **settings, rng=rng) for _ in range(NUM_MASKS[case])])


def make_released_masks(case):
    source = random.Random(1)
    return [released_mask(source, **CASES[case]) for _ in range(NUM_MASKS[case])]


@pytest.fixture(scope='module', params=[*CASES, 'plain'])
def samples(request):
    """Masks (N, h, w) of ``exact=False``, or of its plain twin, and of the released algorithm."""
    case = 'limited_block' if request.param == 'plain' else request.param
    released = make_released_masks(case)
    if request.param == 'plain':
        masks = make_masks(case, plain_blockwise_mask)
    else:
        masks = make_masks(case, exact=False)
    return SimpleNamespace(
        num_masked=CASES[case]['num_masked'],
        masks=masks,
        released=np.stack([mask for mask, _ in released]),
        released_first=np.array([block for _, block in released if block]),
    )


@pytest.fixture(scope='module')
def paper_samples():
    """Masks (N, h, w) of the default, of the released algorithm and of random patches."""
    rng = np.random.default_rng(3)
    return SimpleNamespace(
        exact=make_masks('paper'),
        released=np.stack([mask for mask, _ in make_released_masks('paper')]),
        random=np.stack([random_mask(rng=rng) for _ in range(NUM_MASKS['paper'])]),
    )


def number_hidden(masks):
    return masks.sum(axis=(1, 2))


def number_of_borders(masks):
    """Pairs of neighbouring patches of which one is hidden: few where a mask is blocky."""
    vertical = masks[:, 1:] != masks[:, :-1]
    horizontal = masks[:, :, 1:] != masks[:, :, :-1]
    return vertical.sum(axis=(1, 2)) + horizontal.sum(axis=(1, 2))


def same_distribution(values, expected):
    """Smaller p-value of two two-sample tests of integers: KS, and chi-square on their counts.

    KS sees a shift, chi-square a change of any single value; values met fewer than 20 times in
    all are counted as one, for chi-square's approximation to hold.
    """
    _, codes = np.unique(np.concatenate([values, expected]), return_inverse=True)
    table = np.stack(
        [
            np.bincount(part, minlength=codes.max() + 1)
            for part in (codes[: len(values)], codes[len(values) :])
        ]
    )
    rare = table.sum(axis=0) < 20
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    assert table.shape[1] > 1, 'nothing to compare'
    return min(stats.ks_2samp(values, expected).pvalue, stats.chi2_contingency(table).pvalue)


def coverage_deviations(masks, expected):
    """How often each patch is hidden, one sample against another, in standard errors."""
    share, expected_share = masks.mean(axis=0), expected.mean(axis=0)
    pooled = (share + expected_share) / 2
    variance = pooled * (1 - pooled) * (1 / len(masks) + 1 / len(expected))
    return (share - expected_share) / np.sqrt(variance)


def normal_bound(number):
    """What the largest of ``number`` standard normal deviations stays below, but for LEVEL."""
    return stats.norm.isf(LEVEL / (2 * number))


@pytest.mark.parametrize('case', CASES)
def test_the_fast_masks_are_distributed_as_their_plain_twins(case):
    """What is hidden, where, and in how many pieces."""
    fast, plain = make_masks(case, exact=False), make_masks(case, plain_blockwise_mask)
    for measure in (number_hidden, number_of_borders):
        assert same_distribution(measure(fast), measure(plain)) > LEVEL
    deviations = coverage_deviations(fast, plain)
    assert np.abs(deviations).max() < normal_bound(deviations.size)


def test_number_hidden_is_distributed_as_released(samples):
    numbers, expected = number_hidden(samples.masks), number_hidden(samples.released)
    assert numbers.max() == samples.num_masked
    assert same_distribution(numbers, expected) > LEVEL


def test_coverage_map_is_the_released_one(samples):
    deviations = coverage_deviations(samples.masks, samples.released)
    assert np.abs(deviations).max() < normal_bound(deviations.size)


def test_coverage_map_is_the_released_one_as_a_whole(samples):
    """Hotelling's test: patches hide together, so single deviations miss what their sum shows."""
    masks, expected = (
        part.reshape(len(part), -1).astype(float) for part in (samples.masks, samples.released)
    )
    difference = masks.mean(axis=0) - expected.mean(axis=0)
    covariance = np.cov(masks.T) / len(masks) + np.cov(expected.T) / len(expected)
    statistic = difference @ np.linalg.solve(covariance, difference)
    assert stats.chi2.sf(statistic, difference.size) > LEVEL


def test_borders_are_distributed_as_released(samples):
    """The number of borders tells how many blocks there are and how they overlap."""
    borders, expected = number_of_borders(samples.masks), number_of_borders(samples.released)
    assert same_distribution(borders, expected) > LEVEL


class FirstBlockRecorder:
    """Wraps ``Blocks.draw`` to tell the first block of a mask: what it hides of a bare grid."""

    def __init__(self):
        self.draw = Blocks.draw

    def __call__(self, blocks, largest, visible, number):
        block = self.draw(blocks, largest, visible, number)
        if visible == (1 << blocks.patches) - 1:
            height, width = blocks.grid_size
            bits = np.array([block >> k & 1 for k in range(height * width)], bool)
            self.first = bounding_box(bits.reshape(height, width))[2:] if block else None
        return block


@pytest.fixture(scope='module', params=['paper', 'tall_grid'])
def first_blocks(request):
    """(height, width) of the first blocks, (N, 2), here and in the released algorithm."""
    arguments = CASES[request.param]
    rng = np.random.default_rng(4)
    first = []
    with pytest.MonkeyPatch.context() as patch:
        recorder = FirstBlockRecorder()
        patch.setattr(Blocks, 'draw', lambda *arguments: recorder(*arguments))
        for _ in range(10_000):
            mask = blockwise_mask(**arguments, exact=False, rng=rng)
            if mask.any():
                height, width = recorder.first
                # What was recorded was indeed laid down, somewhere.
                windows = np.lib.stride_tricks.sliding_window_view(mask, (height, width))
                assert windows.all(axis=(2, 3)).any()
                first.append(recorder.first)
    released = [block for _, block in make_released_masks(request.param) if block]
    return SimpleNamespace(ours=np.array(first), released=np.array(released))


def test_area_of_first_block_is_distributed_as_released(first_blocks):
    areas, expected = (blocks.prod(axis=1) for blocks in vars(first_blocks).values())
    assert same_distribution(areas, expected) > LEVEL


def test_aspect_ratio_of_first_block_is_distributed_as_released(first_blocks):
    ratios, expected = (
        np.log(blocks[:, 0] / blocks[:, 1]) for blocks in vars(first_blocks).values()
    )
    assert same_distribution(ratios, expected) > LEVEL


def test_height_and_width_of_first_block_are_jointly_distributed_as_released(first_blocks):
    shapes, expected = (blocks @ [100, 1] for blocks in vars(first_blocks).values())
    assert same_distribution(shapes, expected) > LEVEL


def test_exact_masks_cover_the_grid_as_the_released_ones_do(paper_samples):
    """The released masks fall short by half a patch; making that up must not favour a place."""
    exact, released = paper_samples.exact, paper_samples.released
    short = 75 - number_hidden(released).mean()
    assert 0 < short < 1
    added = exact.mean(axis=0) - released.mean(axis=0)
    # If all places gained alike each would gain short / 196. The border is hidden less often, so
    # more of it is left to gain: twice as much at most, beyond what chance explains.
    standard_error = added / coverage_deviations(exact, released)
    assert (np.abs(added - short / 196) < short / 196 + normal_bound(196) * standard_error).all()


def test_exact_masks_stay_blocky(paper_samples):
    borders = number_of_borders(paper_samples.exact)
    # A pair of neighbours differs in a random mask with probability 2 * 75 * 121 / (196 * 195),
    # and there are 2 * 14 * 13 pairs: 173 borders.
    random_borders = number_of_borders(paper_samples.random)
    expected = 2 * 75 * 121 / (196 * 195) * 2 * 14 * 13
    assert random_borders.mean() == pytest.approx(expected, rel=0.01)
    # Not one mask of blocks is as torn as the least torn of random patches.
    assert borders.max() < random_borders.min()
    # A patch adds four borders at most: making up half a patch adds two to the released 40.
    released = paper_samples.released
    short = 75 - number_hidden(released).mean()
    assert borders.mean() < number_of_borders(released).mean() + 4 * short


@pytest.mark.parametrize(
    'hard',
    [
        dict(num_masked=180),
        dict(min_block=400, max_block=500),
        dict(min_block=60, aspect_ratio=(0.2, 0.2)),
        dict(grid_size=(4, 40), num_masked=70, min_block=16, aspect_ratio=(1, 1)),
    ],
    ids=str,
)
def test_masks_stay_blocky_where_the_released_algorithm_gives_up(hard):
    """Budgets, sizes and shapes that leave most of a mask to what fills it up."""
    arguments = PAPER | hard
    rng = np.random.default_rng(0)
    released = np.stack([blockwise_mask(**arguments, exact=False, rng=rng) for _ in range(300)])
    assert number_hidden(released).mean() < arguments['num_masked'] - 2
    masks = np.stack([blockwise_mask(**arguments, rng=rng) for _ in range(300)])
    torn = np.stack(
        [random_mask(arguments['grid_size'], arguments['num_masked'], rng=rng) for _ in range(300)]
    )
    assert number_of_borders(masks).mean() < number_of_borders(torn).mean() / 2


def test_random_mask_hides_every_patch_equally_often():
    rng = np.random.default_rng(0)
    number, patches, hidden = 20_000, 12 * 9, 40
    counts = sum(random_mask((12, 9), hidden, rng=rng).astype(int) for _ in range(number))
    # Drawn without replacement: the variance of a count is N p (1 - p), and counts repel each
    # other by 1 / (patches - 1), which takes one degree of freedom and scales the rest.
    share = hidden / patches
    deviations = (counts - number * share) / math.sqrt(number * share * (1 - share))
    assert np.abs(deviations).max() < normal_bound(patches)
    statistic = (deviations**2).sum() * (patches - 1) / patches
    assert LEVEL < stats.chi2.sf(statistic, patches - 1) < 1 - LEVEL


def test_random_mask_hides_every_set_of_patches_equally_often():
    rng = np.random.default_rng(0)
    counts = {}
    for _ in range(6_000):
        mask = random_mask((2, 3), 2, rng=rng).tobytes()
        counts[mask] = counts.get(mask, 0) + 1
    assert len(counts) == math.comb(6, 2)
    assert stats.chisquare(list(counts.values())).pvalue > LEVEL


# ----------------------------------------------------------------------------------------------
# Transforms
# ----------------------------------------------------------------------------------------------


generators = pytest.mark.parametrize(
    'name', ['beit_mm.BlockwiseMaskGenerator', 'beit_mm.RandomMaskGenerator']
)


def build(name, **arguments):
    """As the stock Runner builds a pipeline's transforms."""
    return TRANSFORMS.build(dict(type=name, **arguments))


@generators
def test_transform_adds_a_mask_and_keeps_the_rest(name):
    # Lists are what a config read from JSON or YAML holds.
    transform = build(name, grid_size=[6, 9], num_masked=20)
    image = np.zeros((2, 2, 3))
    results = transform(dict(img=image, img_path='photo.jpg'))
    assert set(results) == {'img', 'img_path', 'mask'}
    assert results['img'] is image
    assert results['img_path'] == 'photo.jpg'
    assert results['mask'].shape == (6, 9)
    assert results['mask'].dtype == np.bool_
    assert results['mask'].sum() == 20


@generators
def test_transform_defaults_are_the_papers(name):
    mask = build(name)({})['mask']
    assert mask.shape == (14, 14)
    assert mask.sum() == 75


@generators
def test_transform_repeats_with_the_global_seed(name):
    transform = build(name)
    runs = []
    for seed in (0, 0, 1):
        set_random_seed(seed)  # as mmengine's loader workers do
        runs.append([transform({})['mask'].tobytes() for _ in range(50)])
    assert runs[0] == runs[1]
    # All samples of a run differ, and no sample of one run comes back in another.
    assert len(set(runs[0]) | set(runs[2])) == 100


def test_transforms_make_the_kind_of_mask_they_are_named_after():
    set_random_seed(0)
    blocky, torn = (
        number_of_borders(np.stack([transform({})['mask'] for _ in range(200)]))
        for transform in (BlockwiseMaskGenerator(), RandomMaskGenerator())
    )
    assert blocky.max() < torn.min()


def test_blockwise_transform_uses_its_settings():
    random.seed(0)
    # An area of 16 at ratio 4 is 8 x 2.
    shape = dict(min_block=16, max_block=16, aspect_ratio=[4, 4])
    mask = build('beit_mm.BlockwiseMaskGenerator', grid_size=(20, 9), num_masked=16, **shape)
    assert bounding_box(mask({})['mask'])[2:] == (8, 2)
    # Of 49 patches one square block takes 6 x 6 at a time and more; blocks of 4 x 4 would need
    # four of them, one over each corner, overlapping so that the budget suffices.
    limited, free = (
        build(
            'beit_mm.BlockwiseMaskGenerator',
            grid_size=(30, 30),
            num_masked=49,
            min_block=16,
            max_block=max_block,
            aspect_ratio=(1, 1),
        )
        for max_block in (16, None)
    )
    assert not any(has_square(limited({})['mask'], 6) for _ in range(50))
    assert any(has_square(free({})['mask'], 6) for _ in range(50))
    # 4 x 4 does not fit strictly inside 4 x 9: the released algorithm leaves it empty.
    inexact, exact = (
        build(
            'beit_mm.BlockwiseMaskGenerator',
            grid_size=(4, 9),
            num_masked=16,
            aspect_ratio=(1, 1),
            exact=exact,
        )
        for exact in (False, True)
    )
    assert inexact({})['mask'].sum() == 0
    assert exact({})['mask'].sum() == 16


def has_square(mask, side):
    return np.lib.stride_tricks.sliding_window_view(mask, (side, side)).all(axis=(2, 3)).any()


class SampleNumbers:
    """A dataset of nothing but a transform's masks."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return self.transform({})['mask'].tobytes()


@generators
def test_masks_of_a_run_repeat_and_differ_between_workers(name):
    """Through mmengine's own loader, the place where generators of workers often coincide."""
    runs = []
    # mmengine seeds worker i by seed + i: seeds next to each other would share workers.
    for seed in (0, 0, 100):
        loader = Runner.build_dataloader(
            dict(
                dataset=SampleNumbers(build(name)),
                batch_size=2,
                num_workers=2,
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='pseudo_collate'),
            ),
            seed=seed,
        )
        runs.append([mask for batch in loader for mask in batch])
    assert runs[0] == runs[1]
    assert len(set(runs[0]) | set(runs[2])) == 24


@by_argument(IMPOSSIBLE_BUDGETS, IMPOSSIBLE_BLOCKS)
def test_blockwise_transform_refuses_impossible_settings_at_once(name, wrong):
    with pytest.raises(ValueError, match=name):
        BlockwiseMaskGenerator(**wrong)


@by_argument(IMPOSSIBLE_BUDGETS)
def test_random_transform_refuses_impossible_settings_at_once(name, wrong):
    with pytest.raises(ValueError, match=name):
        RandomMaskGenerator(**wrong)


@by_argument(NOT_WHOLE)
@pytest.mark.parametrize('generator', [BlockwiseMaskGenerator, RandomMaskGenerator])
def test_transforms_refuse_numbers_that_are_not_whole_at_once(generator, name, wrong):
    with pytest.raises((TypeError, ValueError), match=name):
        generator(**wrong)


@generators
def test_transform_prints_its_settings(name):
    text = repr(build(name, grid_size=(6, 9), num_masked=20))
    assert text.startswith(name.removeprefix('beit_mm.'))
    assert '(6, 9)' in text
    assert 'num_masked=20' in text


# ----------------------------------------------------------------------------------------------
# Grids
# ----------------------------------------------------------------------------------------------


@repeatable
@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 24))
def test_a_grid_shows_the_first_of_every_square(height, width, k):
    def shown_of(k):
        return {(y, x) for y in range(height) for x in range(width) if y % k == 0 == x % k}

    mask = grid_mask((height, width), height * width - len(shown_of(k)))
    # Of several that show as many, the densest.
    shown = next(s for s in map(shown_of, range(1, 25)) if len(s) == len(shown_of(k)))
    assert {tuple(place) for place in np.argwhere(~mask).tolist()} == shown


def test_a_grid_of_three_quarters_and_one_that_is_none():
    settings = dict(type='beit_mm.GridMaskGenerator', grid_size=(14, 14), num_masked=147)
    generator = TRANSFORMS.build(settings)
    first, second = (generator.transform({})['mask'] for _ in range(2))
    assert first.sum() == 147
    assert not first[::2, ::2].any()
    first[:] = True
    assert second.sum() == 147, 'samples share no memory'
    with pytest.raises(ValueError, match=r'num_masked is 98; .* 14 x 14 hides 0, 147, 171'):
        TRANSFORMS.build({**settings, 'num_masked': 98})
