"""k-means and the mean patch: against scikit-learn and closed forms, and in the metric's report."""

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement
from sklearn.cluster import KMeans

from beit_mm.engine.measuring.yardsticks import kmeans, nearest, patches_of, yardsticks


def clusters(number, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(number, 6, generator=torch.Generator().manual_seed(1))
    rows = centres[torch.randint(number, (count,), generator=generator)]
    return rows + 0.01 * torch.randn(count, 6, generator=generator)


def test_patches_are_cut_row_by_row():
    images = torch.arange(2 * 3 * 4 * 6).float().view(2, 3, 4, 6)
    patches = patches_of(images, 2)
    assert patches.shape == (2 * 2 * 3, 12)
    assert torch.equal(patches[7].view(3, 2, 2), images[1, :, :2, 2:4])


@pytest.mark.parametrize('num_codes', [8, 20])
def test_kmeans_is_as_good_as_scikit_learns(num_codes):
    rows = clusters(12, 2000)
    codes = kmeans(rows, num_codes)
    error = (rows - codes[nearest(rows, codes)]).square().sum()
    theirs = KMeans(num_codes, init='random', n_init=3, random_state=0).fit(rows.numpy())
    assert error < 1.1 * theirs.inertia_ + 1e-3


def test_yardsticks_are_of_the_held_out_patches():
    fitted, held_out = clusters(12, 2000), clusters(12, 500, seed=3)
    found = yardsticks(fitted, held_out, 12)
    assert found['mean_mse'] == pytest.approx((held_out - fitted.mean(0)).square().mean().item())
    assert found['kmeans_mse'] == pytest.approx(0.01**2, rel=0.2)
    assert 10 < found['kmeans_perplexity'] <= 12
    assert set(yardsticks(fitted, held_out, 501)) == {'mean_mse'}


def test_the_metric_reports_them_beside_the_tokenizer():
    """Images of two plain halves: k-means is exact, the mean is off by half the contrast."""
    evaluator = Evaluator(dict(type='beit_mm.TokenizerMetric'))
    images = torch.zeros(8, 3, 4, 8, dtype=torch.uint8)
    images[:, :, :, 4:] = 255
    for _ in range(2):
        for part in images.split(4):
            samples = [
                BaseDataElement(tokens=torch.zeros(1, 2), recon_mse=0.5, vocab_size=2) for _ in part
            ]
            evaluator.process(samples, data_batch=dict(inputs=list(part)))
        report = evaluator.evaluate(8)
        assert report['tokenizer/mean_mse'] == pytest.approx(0.25)
        assert report['tokenizer/kmeans_mse'] == pytest.approx(0.0, abs=1e-6)
        assert report['tokenizer/kmeans_perplexity'] == pytest.approx(2)
