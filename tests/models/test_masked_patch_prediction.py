"""Masked patch prediction beside the paper's description written out (2010.11929, B.1.2)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample
from torch import nn

from beit_mm.component import ConfigError
from beit_mm.datasets import corrupt_patches
from beit_mm.engine import check_config
from beit_mm.engine.measuring.metrics import MIMAccuracy
from beit_mm.models import (
    MaskedPatchPrediction,
    MeanColorTargetGenerator,
    VisionTransformer,
    load,
)
from beit_mm.models.masked_patch_prediction import move_patches
from beit_mm.models.painter import painter_of

RECIPE = Path(__file__).parents[2] / 'configs' / 'vit_masked_patch_pretrain.py'
SIZE, PATCH, GRID = (32, 48), 8, (4, 6)
ARCH = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
COLORS = dict(type='beit_mm.MeanColorTargetGenerator', patch_size=PATCH)
CLASSES = dict(type='beit_mm.MIMHead', embed_dims=32, vocab_size=512)
TARGETS = dict(
    color=(COLORS, CLASSES),
    cells=(dict(COLORS, cells=4), dict(CLASSES, tokens_per_place=16)),
    pixels=(
        dict(type='beit_mm.PixelTargetGenerator', patch_size=PATCH),
        dict(type='beit_mm.PixelHead', embed_dims=32, num_values=3 * PATCH**2),
    ),
)


def task(targets='color', num_masked=None, **settings):
    torch.manual_seed(0)
    generator, head = TARGETS[targets]
    backbone = dict(
        type='beit_mm.VisionTransformer', arch=ARCH, img_size=SIZE, patch_size=PATCH,
        positions='learned', out_type='raw', with_mask_token=True,
    )  # fmt: skip
    preprocessor = dict(type='beit_mm.TwoViewDataPreprocessor', mean=[127.5], std=[127.5])
    return MaskedPatchPrediction(
        dict(backbone, **settings), generator, dict(head, num_masked=num_masked), preprocessor
    )


def batch(seed=1):
    """Images in [0, 1], masks, sources."""
    images = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(seed))
    rng = np.random.default_rng(seed)
    shares = dict(mask_share=0.5, other_share=0.3)
    masks, sources = zip(
        *(corrupt_patches(GRID, 0.5, rng=rng, **shares) for _ in images), strict=True
    )
    return images, torch.from_numpy(np.stack(masks)), torch.from_numpy(np.stack(sources))


def plain_color(pixels):
    """Class of the mean of (3, h, w) pixels in [0, 1], three bits a channel, by plain averaging."""
    bits = ''
    for channel in pixels.tolist():
        values = [value for row in channel for value in row]
        bits += f'{min(7, int(sum(values) / len(values) * 8)):03b}'
    return int(bits, 2)


def plain_loss(model, targets, images, mask, sources):
    """The paper's task, an image and a patch at a time, with nothing of the model but weights."""

    def attention(block, x):
        heads, parts = block.attn.num_heads, []
        q, k, v = (x @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=1)
        width = q.shape[1] // heads
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[:, part] @ k[:, part].T / math.sqrt(width)
            parts.append(scores.softmax(dim=1) @ v[:, part])
        return block.attn.proj(torch.cat(parts, dim=1))

    vit, losses = model.backbone, []
    for image, corrupted, source in zip(images, mask.flatten(1), sources.flatten(1), strict=True):
        patches = [
            image[:, top : top + PATCH, left : left + PATCH]
            for top in range(0, image.shape[1], PATCH)
            for left in range(0, image.shape[2], PATCH)
        ]
        projection = vit.patch_embed.proj
        embedded = [
            (projection.weight * (patch * 2 - 1)).sum(dim=(1, 2, 3)) + projection.bias
            for patch in patches
        ]
        tokens = [vit.mask_token[0, 0] if s < 0 else embedded[s] for s in source.tolist()]
        x = torch.stack([vit.cls_token[0, 0], *tokens]) + vit.pos_embed[0]
        for block in vit.blocks:
            x = x + attention(block, block.norm1(x))
            x = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
        hidden = vit.norm(x)[1:]
        for place, patch in enumerate(patches):
            if not corrupted[place]:
                continue
            if targets == 'pixels':
                predicted = model.head.regressor(hidden[place])
                losses.append((predicted - patch.permute(1, 2, 0).flatten()).square().mean())
                continue
            side = PATCH if targets == 'color' else PATCH // 4
            parts = [
                patch[:, top : top + side, left : left + side]
                for top in range(0, PATCH, side)
                for left in range(0, PATCH, side)
            ]
            logits = model.head.classifier(hidden[place]).split(512)
            for scores, part in zip(logits, parts, strict=True):
                losses.append(scores.exp().sum().log() - scores[plain_color(part)])
    return torch.stack(losses).mean()


@pytest.mark.parametrize('num_masked', [12, None])
@pytest.mark.parametrize('targets', TARGETS)
def test_loss_and_gradients_are_the_papers(targets, num_masked):
    model = task(targets, num_masked).double()
    images, mask, sources = batch()
    images = images.double()
    views = [images * 2 - 1, images]
    loss = model(views, mode='loss', mask=mask, sources=sources)['loss']
    names, weights = zip(*model.named_parameters(), strict=True)
    ours = torch.autograd.grad(loss, weights)
    expected = plain_loss(model, targets, images, mask, sources)
    # Of pixels targets and predictions are float32.
    torch.testing.assert_close(loss, expected.to(loss.dtype), rtol=1e-6, atol=1e-6)
    for name, one, other in zip(names, ours, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7, msg=name)


def test_embeddings_stand_where_they_are_put_with_the_positions_of_the_place():
    backbone, (images, mask, sources) = task().backbone, batch()
    tokens = backbone.embed(*task().given(images, mask, dict(sources=sources)))
    found = (tokens - backbone.pos_embed)[:, 1:]
    own = backbone.patch_embed(images)
    for image, flat in enumerate(sources.flatten(1).tolist()):
        for place, source in enumerate(flat):
            expected = backbone.mask_token[0, 0] if source < 0 else own[image, source]
            torch.testing.assert_close(found[image, place], expected)


def test_moved_pixels_are_those_of_the_source():
    images, _, sources = batch()
    moved = move_patches(images, sources)
    for image, row, column in np.ndindex(2, *GRID):
        source = int(sources[image, row, column])
        if source >= 0:
            top, left = (PATCH * at for at in divmod(source, GRID[1]))
            here = moved[image, :, row * PATCH :, column * PATCH :][:, :PATCH, :PATCH]
            there = images[image, :, top : top + PATCH, left : left + PATCH]
            assert torch.equal(here, there)


@pytest.mark.parametrize(('bands', 'levels'), [(3, 8), (1, 8), (5, 3)])
def test_cells_are_the_plain_averages_of_any_bands(bands, levels):
    generator = MeanColorTargetGenerator(PATCH, bands, levels, cells=4)
    images = torch.rand(2, bands, *SIZE)
    # Each cell of the image averaged by a peer, an image of a pixel a cell.
    means = nn.functional.avg_pool2d(images.double(), 2)
    found = generator(images)
    assert found.shape == (2, *GRID, 16)
    for image, row, column, cell in np.ndindex(found.shape):
        down, right = divmod(cell, 4)
        color = 0
        for mean in means[image, :, 4 * row + down, 4 * column + right].tolist():
            color = color * levels + min(levels - 1, int(mean * levels))
        assert found[image, row, column, cell] == color
    # And back to a picture, no colour further off than half a level.
    painted = painter_of(generator).paint(found, images)
    assert (painted - means).abs().max() <= 0.5 / levels + 1e-6
    shares = nn.functional.one_hot(found, levels**bands).float()
    torch.testing.assert_close(painter_of(generator).paint(shares, images), painted)


def test_every_corrupted_patch_is_scored_in_validation():
    model, (images, mask, sources) = task('cells').eval(), batch()
    samples = []
    for each, of in zip(mask, sources, strict=True):
        samples.append(DataSample().set_mask(each))
        samples[-1].set_field(of, 'sources')
    pixels = images * 255
    outputs = model.val_step(dict(inputs=[pixels, pixels], data_samples=samples))
    metric = MIMAccuracy()
    metric.process({}, [each.to_dict() for each in outputs])
    report = metric.compute_metrics(metric.results)
    targets = outputs[0].targets, outputs[1].targets
    predicted = model(images * 2 - 1, mode='predict', mask=mask, sources=sources)
    assert predicted.shape == (2, *GRID, 16)
    hits = [(predicted[i] == targets[i])[mask[i]] for i in range(2)]
    assert report['acc'] == pytest.approx(100 * torch.cat(hits).float().mean().item())
    assert report['places'] == 16 * mask.sum()
    # Those that stay are predicted by what is there, so what is given matters.
    assert not torch.equal(predicted, model(images * 2 - 1, mode='predict', mask=mask))
    hidden = model(images * 2 - 1, samples, mode='tensor')[0]
    torch.testing.assert_close(
        hidden, model.backbone(move_patches(images * 2 - 1, sources), sources < 0)[0]
    )


def test_a_checkpoint_is_one_of_a_vision_transformer(tmp_path):
    model = task().eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'run.pth')
    found = load(tmp_path / 'run.pth', out_type='raw', num_heads=4, img_size=SIZE).eval()
    assert type(found) is VisionTransformer
    images = torch.rand(1, 3, *SIZE)
    torch.testing.assert_close(found(images)[0], model(images)[0])


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'model.target_generator.cells': 3}, 'patch_size is 16; it must be a multiple of cells'),
        ({'model.target_generator.cells': 4}, 'tokens_per_place is 1; it must be model.target'),
        ({'model.head.num_masked': 97}, 'num_masked is 97; it must be at least 98'),
        ({'model.head.vocab_size': 64}, 'vocab_size is 64; it must be'),
        ({'model.backbone.with_mask_token': False}, 'with_mask_token is False; it must be True'),
        ({'train_dataloader.dataset.pipeline.1.share': 1.5}, 'share is 1.5; it must be between'),
        ({'train_dataloader.dataset.pipeline.1.other_share': 0.4}, 'their sum at most 1'),
        ({'train_dataloader.dataset.pipeline.2.algorithm_keys': ()}, r"algorithm_keys=\('sources"),
        (
            {'train_dataloader.dataset.pipeline.1': dict(type='beit_mm.RandomMaskGenerator')},
            'train_dataloader has beit_mm.RandomMaskGenerator; .* PatchCorruptionGenerator|takes',
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_the_run(change, said, tmp_path):
    cfg = Config.fromfile(RECIPE)
    for key, value in change.items():
        at = cfg
        *path, last = key.split('.')
        for name in path:
            at = at[int(name)] if isinstance(at, list) else at[name]
        at[int(last) if isinstance(at, list) else last] = value
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    (tmp_path / 'train').mkdir()
    with pytest.raises(ConfigError, match=said):
        check_config(cfg, 'train')


def test_what_does_not_fit_is_told_when_it_is_built_or_run():
    with pytest.raises(ValueError, match='it must be a multiple of cells, 4'):
        MeanColorTargetGenerator(patch_size=6, cells=4)
    model, (images, mask, sources) = task(), batch()
    with pytest.raises(ValueError, match="mode 'loss' takes a mask and the sources"):
        model([images, images], mode='loss', mask=mask)
    with pytest.raises(ValueError, match='the corruption is of 2 x 6 patches, the image has 4 x 6'):
        model([images, images], mode='loss', mask=mask, sources=sources[:, :2])


def test_the_recipe_is_the_papers():
    cfg = Config.fromfile(RECIPE)
    optimizer = build_optim_wrapper(task(), cfg.optim_wrapper).optimizer
    assert {group['lr'] for group in optimizer.param_groups} == {2e-4}
    # Steps of 4096 of ImageNet's 1,281,167 images.
    steps = 1_281_167 // 4096
    assert cfg.custom_hooks[0].global_batch_size == 4096
    assert abs(steps * cfg.train_cfg.max_epochs - 1e6) < 5e3
    assert abs(steps * cfg.param_scheduler[0].end - 1e4) < 100
    corruption = cfg.train_dataloader.dataset.pipeline[1]
    assert (corruption.share, corruption.mask_share, corruption.other_share) == (0.5, 0.8, 0.1)
