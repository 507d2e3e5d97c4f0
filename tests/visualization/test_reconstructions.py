"""The rows of a panel, what is said of predicted tokens, and films of panels."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from beit_mm.models import PixelTargetGenerator
from beit_mm.models.painter import Painter, painter_of
from beit_mm.visualization import filled_in, paste
from beit_mm.visualization.films import durations, frames_of, pictures_of, write_animation
from beit_mm.visualization.picture_rows import GAP, draw_picture_rows
from beit_mm.visualization.predicted_tokens import (
    TOKENS,
    Hits,
    count_hits,
    fillings,
)
from beit_mm.visualization.reconstructions import PASTED


def naive_paste(images, mask, painted):
    wanted = images.clone()
    height, width = (a // b for a, b in zip(images.shape[2:], mask.shape[1:], strict=True))
    for image, row, column in mask.nonzero().tolist():
        rows = slice(row * height, (row + 1) * height)
        columns = slice(column * width, (column + 1) * width)
        wanted[image, :, rows, columns] = painted[image, :, rows, columns]
    return wanted


@pytest.mark.parametrize('size', [(8, 12), (4, 6), (2, 3), (16, 24)])
def test_what_is_pasted_leaves_visible_pixels_exactly(size):
    """Of pictures of the size of the images, of half of it, of a pixel a patch, and of twice."""
    images, mask = torch.rand(2, 3, 8, 12), torch.rand(2, 2, 3) < 0.5
    mask[:, 0, 0], mask[:, 1, 2] = True, False
    painted = torch.rand(2, 3, *size)
    pasted = paste(images, mask, painted)
    if size == (8, 12):
        assert torch.equal(pasted, naive_paste(images, mask, painted))
    elif size == (2, 3):
        whole = painted.repeat_interleave(4, 2).repeat_interleave(4, 3)
        assert torch.equal(pasted, naive_paste(images, mask, whole))
    visible = naive_paste(torch.zeros_like(images), ~mask, torch.ones_like(images)).bool()
    assert torch.equal(pasted[visible], images[visible])
    assert not torch.isclose(pasted[~visible], images[~visible]).all()
    assert pasted.min() >= 0
    assert pasted.max() <= 1


def test_rows_mix_predictions_with_visible_targets():
    """Shares and tokens alike: the painter gets the true token wherever a patch is visible."""
    given = {}

    def paint(values, second):
        given[len(given)] = values
        return torch.full_like(second, len(given) / 10)

    images, mask = torch.rand(1, 3, 8, 8), torch.tensor([[[True, False], [False, False]]])
    targets = torch.tensor([[[1, 2], [3, 0]]])
    shares = torch.full((1, 2, 2, 4), 0.25)
    ways = {'likely': torch.zeros_like(targets), 'mean': shares}
    rows = filled_in(images, images, mask, targets, ways, Painter(paint, 'kept', ''))
    assert list(rows) == ['original', 'masked input', 'kept', 'likely', 'mean', PASTED]
    likely, mean, kept = given.values()
    assert likely.tolist() == [[[0, 2], [3, 0]]]
    assert mean[0, 0, 0].tolist() == [0.25] * 4
    assert mean.argmax(dim=-1)[~mask].tolist() == [2, 3, 0]
    assert mean[~mask].max(dim=-1).values.tolist() == [1, 1, 1]
    assert torch.equal(kept, targets)
    # What is pasted is the last of the ways.
    assert torch.equal(rows[PASTED][..., :4, :4], rows['mean'][..., :4, :4])
    assert not torch.equal(rows['mean'], rows['likely'])


@pytest.mark.parametrize('normalize', [False, True])
def test_perfect_pixels_fill_in_the_original(normalize):
    images, mask = torch.rand(2, 3, 8, 8), torch.rand(2, 2, 2) < 0.5
    generator = PixelTargetGenerator(patch_size=4, normalize=normalize)
    targets = generator(images)
    rows = filled_in(images, images, mask, targets, targets, painter_of(generator))
    assert list(rows) == ['original', 'masked input', 'predicted']
    torch.testing.assert_close(rows['predicted'], images, atol=1e-6, rtol=0)


def test_fillings_are_the_argmax_the_softmax_and_draws_from_it():
    logits = torch.randn(1, 1, 1, 4).expand(20, 10, 10, 4) * 2
    found = fillings(logits, temperature=0.5, seed=3)
    assert torch.equal(found[TOKENS.likely], logits.argmax(dim=-1))
    torch.testing.assert_close(found[TOKENS.mean], logits.softmax(dim=-1))
    drawn = found[TOKENS.drawn.format(0.5)]
    share = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    # Two thousand draws: four standard deviations.
    torch.testing.assert_close(share, (logits[0, 0, 0] * 2).softmax(dim=-1), atol=0.045, rtol=0)
    assert torch.equal(drawn, fillings(logits, 0.5, seed=3)[TOKENS.drawn.format(0.5)])
    assert not torch.equal(drawn, fillings(logits, 0.5, seed=4)[TOKENS.drawn.format(0.5)])
    assert list(fillings(logits)) == [TOKENS.likely, TOKENS.mean]
    assert list(found) == [TOKENS.likely, TOKENS.drawn.format(0.5), TOKENS.mean]
    # Odds of 1 to 2 at the temperature 1 are of 1 to 4 at 0.5.
    logits = torch.tensor([1.0, 2.0]).log().expand(50, 20, 20, 2)
    for temperature, expected in ((1.0, 2 / 3), (0.5, 4 / 5)):
        drawn = fillings(logits, temperature)[TOKENS.drawn.format(temperature)]
        assert drawn.float().mean() == pytest.approx(expected, abs=0.015)


def test_hits_are_those_of_scikit_learn():
    torch.manual_seed(0)
    targets, mask = torch.randint(0, 9, (3, 4, 4)), torch.rand(3, 4, 4) < 0.5
    logits = torch.randn(3, 4, 4, 9)
    parts = [count_hits(logits[i], targets[i], mask[i]) for i in (slice(0, 2), slice(2, 3))]
    hits = Hits.sum_of(parts)
    for found, k in ((hits.first, 1), (hits.among, 5)):
        for image in range(3):
            here = mask[image]
            wanted = top_k_accuracy_score(
                targets[image][here], logits[image][here], k=k, normalize=False, labels=range(9)
            )
            assert found[image] == wanted
    commonest = np.bincount(targets[mask]).max() / mask.sum()
    assert f'the most common one is {commonest:.1%} of the {mask.sum()}' in hits.line()
    assert hits.line().startswith(f'hidden tokens predicted: {hits.first.sum() / mask.sum():.1%}')


def test_a_mosaic_shows_every_pixel_of_small_images():
    rows = {'a': torch.rand(2, 3, 32, 32), 'b': torch.rand(2, 3, 16, 16)}
    figure = draw_picture_rows(rows, titles=['one', 'two\nlines'], note='that gives it away')
    (axis,) = figure.axes
    shown = np.asarray(axis.images[0].get_array())
    assert shown.shape == (2 * 128 + GAP, 2 * 128 + GAP, 3)
    wanted = (rows['b'][1].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(shown[128 + GAP :: 8, 128 + GAP :: 8], wanted)
    # A pixel of it is a pixel of the picture, so that none is lost or doubled.
    box = axis.get_window_extent()
    assert (round(box.height), round(box.width)) == shown.shape[:2]
    texts = [text.get_text() for text in figure.texts]
    assert texts == ['a', 'b', 'one', 'two\nlines', 'that gives it away']


def write_frame(work_dir, start, iteration, grey, name='learning', size=(301, 101)):
    folder = work_dir / start / 'vis_data' / 'vis_image'
    folder.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (grey,) * 3).save(folder / f'{name}_{iteration}.png')


def test_frames_of_resumed_runs_are_in_order(tmp_path):
    for iteration in (0, 100, 900, 1000):
        write_frame(tmp_path, '20260101_000000', iteration, 10)
    # Resumed at a checkpoint of iteration 850, and later once more.
    for iteration in (900, 1000, 1100):
        write_frame(tmp_path, '20260101_120000', iteration, 20)
    write_frame(tmp_path, '20260102_000000', 1200, 30)
    write_frame(tmp_path, '20260102_000000', 5, 0, name='learning_of_others')
    frames = frames_of(tmp_path, 'learning')
    assert [frame.iteration for frame in frames] == [0, 100, 900, 1000, 1100, 1200]
    starts = [frame.path.parts[-4] for frame in frames]
    assert starts == ['20260101_000000'] * 2 + ['20260101_120000'] * 3 + ['20260102_000000']
    # Begun anew in the same folder: nothing of what was there before.
    write_frame(tmp_path, '20260103_000000', 0, 40)
    assert [f.path.parts[-4] for f in frames_of(tmp_path, 'learning')] == ['20260103_000000']


def test_frames_of_a_film_have_one_even_size_and_say_how_far_the_run_is(tmp_path):
    for number, size in enumerate([(301, 101), (301, 101), (150, 50), (602, 202)]):
        write_frame(tmp_path, '20260101_000000', 100 * number, 90, size=size)
    for number, frame in enumerate(pictures_of(frames_of(tmp_path, 'learning'))):
        assert frame.size == (300, 134)
        pixels = np.asarray(frame).astype(int)
        assert (pixels[-100:] == 90).all()
        # The bar is blue as far as the run is, and grey from there on.
        bar = pixels[17, 190:289]
        blue = bar[:, 2] > bar[:, 0]
        assert blue.mean() == pytest.approx(number / 3, abs=0.02)
        assert (np.diff(blue.astype(int)) <= 0).all()


@pytest.mark.parametrize('kind', ['GIF', 'WEBP'])
def test_a_film_shows_its_frames_in_order_and_holds_the_last(kind, tmp_path):
    greys = (40, 90, 140, 250)
    for number, grey in enumerate(greys):
        write_frame(tmp_path, '20260101_000000', 100 * number, grey)
    frames = frames_of(tmp_path, 'learning')
    path = tmp_path / f'film.{kind.lower()}'
    write_animation(frames, path, kind)
    with Image.open(path) as film:
        assert film.n_frames == 4
        shown, lasts = [], []
        for number in range(4):
            film.seek(number)
            film.load()
            lasts.append(film.info['duration'])
            frame = np.asarray(film.convert('RGB')).astype(int)
            shown.append(frame[-40:].mean())
            assert frame[:30].min() < 100, 'the iteration stands above'
    np.testing.assert_allclose(shown, greys, atol=4)
    assert lasts == durations(4)
    assert lasts[-1] > 2 * lasts[0]
