"""Stochastic depth: who survives, and that skipping the work of the others changes nothing else."""

import pytest
import torch
from torch import nn

from beit_mm.layers.drop_path import DropPath, Survivors, add_branch

BATCH = 12


def images(batch=BATCH):
    return torch.randn(batch, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def random_branch():
    torch.manual_seed(0)
    return nn.Linear(4, 4).double(), torch.randn(4, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize('skip', [False, True])
def test_nothing_is_dropped_in_evaluation_or_at_rate_zero(skip):
    assert DropPath(0.5, skip).eval()(images()) is None
    assert DropPath(0.0, skip).train()(images()) is None


def test_each_image_survives_by_itself_at_the_rate_asked_for():
    torch.manual_seed(0)
    drop_path = DropPath(0.25).train()
    scale = torch.stack([drop_path(images()).scale[:, 0, 0] for _ in range(2000)])
    kept = scale > 0
    torch.testing.assert_close(scale[kept], torch.full_like(scale[kept], 4 / 3))
    # 24,000 draws: the standard error is 0.003 overall, 0.01 an image.
    assert kept.double().mean().item() == pytest.approx(0.75, abs=0.012)
    assert (kept.double().mean(0) - 0.75).abs().max() < 0.04
    # Independent: the number of survivors of a batch has the binomial variance 12 * 3/16.
    assert kept.sum(1).double().var().item() == pytest.approx(2.25, abs=0.3)


@pytest.mark.parametrize(('rate', 'kept'), [(0.25, 9), (0.1, 11), (0.5, 6), (0.99, 1)])
def test_skipping_keeps_a_fixed_number_and_every_image_equally_often(rate, kept):
    torch.manual_seed(0)
    drop_path = DropPath(rate, skip=True).train()
    counts = torch.zeros(BATCH)
    for _ in range(2000):
        scale, indices = drop_path(images())
        assert len(indices) == len(indices.unique()) == kept
        assert scale == BATCH / kept
        counts[indices] += 1
    # Six standard errors.
    assert (counts / 2000 - kept / BATCH).abs().max() < 6 * 0.5 / 2000**0.5


def test_a_batch_too_small_to_lose_an_image_loses_none():
    assert DropPath(0.1, skip=True).train()(images(4)) is None


def test_skipping_equals_the_plain_twin_in_outputs_and_gradients():
    _, indices = survivors = DropPath(0.25, skip=True).train()(images())
    scale = torch.zeros(BATCH, 1, 1, dtype=torch.float64)
    scale[indices] = survivors.scale
    results, sizes = [], []
    for these in (survivors, Survivors(scale)):
        layer, gamma = random_branch()
        layer.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
        x = images().requires_grad_()
        output = add_branch(x, layer, gamma, these)
        (output**3).sum().backward()
        results.append([output, x.grad, gamma.grad, layer.weight.grad, layer.bias.grad])
    for ours, plain in zip(*results, strict=True):
        assert plain.abs().max() > 0.1
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    # The work of the others is really left out.
    assert sizes == [9, 12]


def test_without_survivors_every_branch_counts_once():
    layer, gamma = random_branch()
    x = images()
    assert add_branch(x, layer, gamma, None).equal(x + gamma * layer(x))
    assert add_branch(x, layer, 1.0, None).equal(x + layer(x))


def test_half_precision_branches_are_added_in_the_precision_of_the_images():
    layer, gamma = random_branch()
    layer, gamma, x = layer.float(), gamma.detach().float(), images().float()
    survivors = DropPath(0.25, skip=True).train()(x)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = add_branch(x, layer, gamma, survivors)
    assert output.dtype == torch.float32
    exact = add_branch(x, layer, gamma, survivors)
    torch.testing.assert_close(output, exact, rtol=0, atol=0.05)
