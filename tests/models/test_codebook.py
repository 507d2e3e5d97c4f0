"""Vectors that follow the data: against distances, a plain average, and on data of their own."""

import pytest
import torch

from beit_mm.models.codebook import DECAY, Codebook


def rows_as_images(rows):
    """(N, D) -> (1, D, N, 1)."""
    return rows.T[None, :, :, None]


def test_the_nearest_code_is_that_of_the_least_distance():
    torch.manual_seed(0)
    codebook = Codebook(20, 5)
    vectors = torch.randn(3, 5, 4, 6)
    distances = torch.cdist(vectors.permute(0, 2, 3, 1).flatten(0, 2), codebook.codes)
    ids = codebook.nearest(vectors)
    assert torch.equal(ids.flatten(), distances.argmin(dim=1))
    assert torch.equal(codebook.look_up(ids).permute(0, 2, 3, 1), codebook.codes[ids])
    # Logits differ from minus the squared distance by a number of the place's own.
    logits = codebook(vectors).permute(0, 2, 3, 1).flatten(0, 2)
    rest = logits + distances.square()
    torch.testing.assert_close(rest, rest[:, :1].expand_as(rest), rtol=1e-4, atol=1e-4)


def test_codes_become_the_means_of_what_falls_to_them():
    torch.manual_seed(0)
    centres = 10 * torch.eye(4)
    codebook = Codebook(4, 4)
    for _ in range(300):
        rows = centres.repeat(25, 1) + 0.5 * torch.randn(100, 4)
        codebook.follow(rows_as_images(rows))
    order = torch.cdist(centres, codebook.codes).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert (codebook.codes[order] - centres).abs().max() < 0.1


def test_averages_move_by_their_decay():
    codebook = Codebook(2, 1)
    codebook.codes.copy_(torch.tensor([[0.0], [10.0]]))
    codebook.uses.fill_(1.0)
    codebook.sums.copy_(codebook.codes)
    codebook.follow(rows_as_images(torch.tensor([[1.0], [2.0], [11.0]])))
    uses = [DECAY + 2 * (1 - DECAY), DECAY + (1 - DECAY)]
    sums = [3 * (1 - DECAY), 10 * DECAY + 11 * (1 - DECAY)]
    assert codebook.uses.tolist() == pytest.approx(uses)
    assert codebook.codes[:, 0].tolist() == pytest.approx(
        [s / u for s, u in zip(sums, uses, strict=True)]
    )


@pytest.mark.parametrize('seed', range(3))
def test_no_code_stays_out_of_use(seed):
    """Data that moves away from all codes, more of it in one place than in all others."""
    torch.manual_seed(seed)
    codebook = Codebook(64, 3)
    codebook.follow(rows_as_images(torch.randn(500, 3)))
    for _ in range(400):
        rows = torch.cat([torch.zeros(400, 3), torch.rand(112, 3) + 5])
        codebook.follow(rows_as_images(rows + 0.01 * torch.randn(512, 3)))
    ids = codebook.nearest(rows_as_images(torch.rand(5000, 3) + 5))
    assert len(ids.unique()) > 40


def test_its_state_is_all_that_a_resumed_run_needs():
    torch.manual_seed(0)
    batches = [rows_as_images(torch.randn(200, 4)) for _ in range(6)]
    whole, stopped = Codebook(16, 4), Codebook(16, 4)

    def follow(codebook, part):
        for number, batch in part:
            torch.manual_seed(number)
            codebook.follow(batch)

    follow(whole, enumerate(batches))
    follow(stopped, list(enumerate(batches))[:3])
    resumed = Codebook(16, 4)
    resumed.load_state_dict(stopped.state_dict())
    follow(resumed, list(enumerate(batches))[3:])
    assert torch.equal(resumed.codes, whole.codes)


@pytest.mark.parametrize('value', [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize('first', [True, False])
def test_vectors_that_are_not_finite_do_not_count(value, first):
    """Nor those whose squares are not; a batch of nothing else leaves the codes where they are."""
    torch.manual_seed(0)
    codebook = Codebook(8, 3)
    rows = torch.randn(40, 3)
    if not first:
        codebook.follow(rows_as_images(rows))
    spoilt = rows.clone()
    spoilt[5, 1] = value
    codebook.follow(rows_as_images(spoilt))
    assert codebook.uses.sum().item() == pytest.approx(39 if first else 39 + DECAY)
    assert all(state.isfinite().all() for state in codebook.state_dict().values())
    before = codebook.codes.clone()
    codebook.follow(rows_as_images(torch.full_like(rows, value)))
    torch.testing.assert_close(codebook.codes, before)
    assert codebook.nearest(rows_as_images(rows)).unique().numel() > 4
