"""MAE beside transformers' and MMPretrain's, and beside the paper's formula written out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from beit_mm.checkpoints import convert_state_dict, find_layout
from beit_mm.component import ConfigError
from beit_mm.engine import check_config
from beit_mm.layers.sine_cosine import sine_cosine
from beit_mm.models import MAEDecoder, MaskedAutoencoder, VisionTransformer
from beit_mm.models.masked_autoencoder import split_places, take

RECIPE = Path(__file__).parents[2] / 'configs' / 'mae_pretrain.py'
SIZE, PATCH, PLACES, HIDDEN = (32, 48), 8, 24, 18
ARCH = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
VALUES = 3 * PATCH**2


def autoencoder(size=SIZE, normalize=True, num_masked=HIDDEN, seed=0, **settings):
    torch.manual_seed(seed)
    space = dict(img_size=size, patch_size=PATCH)
    backbone = dict(type='beit_mm.VisionTransformer', arch=ARCH, out_type='raw', **space)
    backbone.update(settings.pop('backbone', {}))
    decoder = dict(type='beit_mm.MAEDecoder', encoder_dims=32, embed_dims=16, num_heads=2, **space)
    return MaskedAutoencoder(
        backbone,
        dict(decoder, num_layers=3),
        dict(type='beit_mm.PixelTargetGenerator', patch_size=PATCH, normalize=normalize),
        dict(type='beit_mm.PixelHead', embed_dims=16, num_values=VALUES, num_masked=num_masked),
        **settings,
    )


def images_and_mask(size=SIZE, hidden=HIDDEN):
    """Two images, masks by sorted noise, and the noise."""
    rng = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *size, generator=rng)
    grid = size[0] // PATCH, size[1] // PATCH
    noise = torch.rand(2, grid[0] * grid[1], generator=rng)
    mask = noise.argsort(1).argsort(1) >= noise.shape[1] - hidden
    return images, mask.unflatten(1, grid), noise


def plain_loss(model, images, mask):
    """The paper's task, an image and a patch at a time, with nothing of the model but weights."""

    def attention(block, x):
        heads = block.attn.num_heads
        q, k, v = (x @ block.attn.qkv.weight.T + block.attn.qkv.bias).chunk(3, dim=1)
        mixed = []
        for head in range(heads):
            part = slice(head * len(q[0]) // heads, (head + 1) * len(q[0]) // heads)
            scores = q[:, part] @ k[:, part].T / math.sqrt(len(q[0]) // heads)
            mixed.append(scores.softmax(dim=1) @ v[:, part])
        return block.attn.proj(torch.cat(mixed, dim=1))

    def transformer(blocks, x):
        for block in blocks:
            x = x + attention(block, block.norm1(x))
            x = x + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(x))))
        return x

    encoder, decoder, errors = model.backbone, model.decoder, []
    for image, hidden in zip(images, mask.flatten(1), strict=True):
        patches = [
            image[:, top : top + PATCH, left : left + PATCH]
            for top in range(0, image.shape[1], PATCH)
            for left in range(0, image.shape[2], PATCH)
        ]
        projection = encoder.patch_embed.proj
        tokens = [
            (projection.weight * patch).sum(dim=(1, 2, 3)) + projection.bias + position
            for patch, position in zip(patches, encoder.pos_embed[0, 1:], strict=True)
        ]
        seen = [place for place in range(len(patches)) if not hidden[place]]
        first = encoder.cls_token[0, 0] + encoder.pos_embed[0, 0]
        x = transformer(encoder.blocks, torch.stack([first, *(tokens[p] for p in seen)]))
        x = decoder.embed(encoder.norm(x))
        filled = [decoder.mask_token[0, 0]] * len(patches)
        for place, token in zip(seen, x[1:], strict=True):
            filled[place] = token
        x = torch.stack([x[0], *filled]) + decoder.pos_embed[0]
        predicted = model.head.regressor(decoder.norm(transformer(decoder.blocks, x)))[1:]
        for place, patch in enumerate(patches):
            if hidden[place]:
                target = patch.permute(1, 2, 0).flatten()
                target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
                errors.append((predicted[place] - target).square().mean())
    return torch.stack(errors).mean()


@pytest.mark.parametrize('num_masked', [HIDDEN, None])
def test_loss_and_gradients_are_the_papers(num_masked):
    model = autoencoder(num_masked=num_masked).double()
    images, mask, _ = images_and_mask()
    images = images.double()
    loss = model(images, mode='loss', mask=mask)['loss']
    names, weights = zip(*[n for n in model.named_parameters() if n[1].requires_grad], strict=True)
    ours = torch.autograd.grad(loss, weights)
    expected = plain_loss(model, images, mask)
    # Targets are float32.
    torch.testing.assert_close(loss, expected.to(loss.dtype), rtol=1e-6, atol=1e-6)
    for name, one, other in zip(names, ours, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.parametrize('normalize', [True, False])
def test_loss_and_predictions_are_those_of_transformers(normalize):
    transformers = pytest.importorskip('transformers')
    size = (32, 32)
    torch.manual_seed(3)
    peer = transformers.ViTMAEForPreTraining(
        transformers.ViTMAEConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            image_size=32, patch_size=PATCH, decoder_hidden_size=16, decoder_num_hidden_layers=3,
            decoder_num_attention_heads=2, decoder_intermediate_size=64, mask_ratio=0.75,
            norm_pix_loss=normalize, layer_norm_eps=1e-6,
        )
    ).eval()  # fmt: skip
    ours = autoencoder(size, normalize, num_masked=12).eval()
    # It leaves them at zero until weights are loaded.
    for parameter in (peer.vit.embeddings.position_embeddings, peer.decoder.decoder_pos_embed):
        nn.init.normal_(parameter)
    theirs = peer.state_dict()
    ours.load_state_dict(convert_state_dict(theirs, 'beit_mm'))
    peer.load_state_dict(convert_state_dict(ours.state_dict(), find_layout(theirs)))
    images, mask, noise = images_and_mask(size, hidden=12)
    theirs = peer(images, noise=noise)
    assert torch.equal(theirs.mask.bool(), mask.flatten(1))
    loss = ours(images, mode='loss', mask=mask)['loss']
    torch.testing.assert_close(loss, theirs.loss, rtol=1e-6, atol=1e-6)
    predicted = ours(images, mode='predict', mask=mask).flatten(1, 2)
    torch.testing.assert_close(predicted, theirs.logits, rtol=1e-5, atol=1e-6)


def test_loss_and_gradients_are_those_of_mmpretrain(monkeypatch):
    size = (32, 32)
    ours = autoencoder(size, num_masked=12)
    peer = MODELS.build(
        dict(
            type='mmpretrain.MAE',
            backbone=dict(type='MAEViT', arch=ARCH, img_size=32, patch_size=PATCH, mask_ratio=0.75),
            neck=dict(type='MAEPretrainDecoder', num_patches=16, patch_size=PATCH, embed_dim=32,
                      decoder_embed_dim=16, decoder_depth=3, decoder_num_heads=2, mlp_ratio=4.0),
            head=dict(type='MAEPretrainHead', norm_pix=True, patch_size=PATCH,
                      loss=dict(type='PixelReconstructionLoss', criterion='L2')),
        )
    )  # fmt: skip
    peer.load_state_dict(convert_state_dict(ours.state_dict(), 'mmpretrain'))
    ours.load_state_dict(convert_state_dict(peer.state_dict(), 'beit_mm'))
    images, mask, noise = images_and_mask(size, hidden=12)
    monkeypatch.setattr(torch, 'rand', lambda *size, device=None: noise)
    theirs = peer(images, None, mode='loss')['loss']
    monkeypatch.undo()
    theirs.backward()
    loss = ours(images, mode='loss', mask=mask)['loss']
    loss.backward()
    torch.testing.assert_close(loss, theirs, rtol=1e-6, atol=1e-6)
    gradients = {n: p.grad for n, p in ours.named_parameters() if p.requires_grad}
    for name, gradient in convert_state_dict(gradients, 'mmpretrain').items():
        expected = peer.get_parameter(name).grad
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_seen_and_hidden_places_are_put_back_where_they_were():
    _, mask, _ = images_and_mask()
    places = split_places(mask)
    tokens = torch.arange(2 * PLACES * 4.0).view(2, PLACES, 4)
    for row, hidden in enumerate(mask.flatten(1)):
        assert places.seen[row].tolist() == (~hidden).nonzero().flatten().tolist()
        assert places.hidden[row].tolist() == hidden.nonzero().flatten().tolist()
        # The plain twin of the gather: indexing.
        assert torch.equal(take(tokens, places.seen)[row], tokens[row][~hidden])
    assert torch.equal(take(tokens, torch.cat(places, 1)).gather(1, torch.cat(places, 1).argsort(1)[
        ..., None].expand(-1, -1, 4)), tokens)  # fmt: skip


def test_masks_of_different_numbers_are_refused():
    mask = torch.tensor([[[True, False]], [[True, True]]])
    with pytest.raises(ValueError, match=r'the masks hide \[1, 2\] patches'):
        split_places(mask)
    with pytest.raises(RuntimeError, match='not as many masked places'):
        split_places(mask, 1)


def test_hidden_pixels_do_not_reach_the_encoder():
    model = autoencoder(num_masked=None).eval()
    images, mask, _ = images_and_mask()
    pixels = mask.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)[:, None]
    changed = torch.where(pixels, torch.randn_like(images), images)
    predicted = model(images, mode='predict', mask=mask)
    assert torch.equal(predicted, model(changed, mode='predict', mask=mask))
    assert not torch.equal(predicted, model(changed, mode='predict'))


def test_the_encoder_may_be_given_mask_tokens():
    whole = autoencoder(encode_all=True, backbone=dict(with_mask_token=True), num_masked=None)
    images, mask, _ = images_and_mask()
    loss = whole(images, mode='loss', mask=mask)['loss']
    loss.backward()
    assert whole.backbone.mask_token.grad.abs().sum() > 0
    assert whole.decoder.mask_token.grad is None


def test_positions_are_those_of_the_formula():
    positions = sine_cosine((2, 3), 8)[0]
    assert not positions[0].any()
    for row in range(2):
        for column in range(3):
            expected = [
                wave(place / 10_000 ** (channel / 2))
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for channel in range(2)
            ]
            np.testing.assert_allclose(positions[1 + row * 3 + column], expected, atol=1e-6)
    with pytest.raises(ValueError, match='multiple of 4'):
        sine_cosine((2, 2), 6)


def test_fixed_positions_are_not_trained_and_learned_ones_are():
    fixed, learned, none = (
        VisionTransformer(ARCH, 32, PATCH, positions=positions)
        for positions in ('sine-cosine', 'learned', None)
    )
    assert not fixed.pos_embed.requires_grad
    assert learned.pos_embed.requires_grad
    assert none.pos_embed is None
    assert abs(learned.pos_embed.std() - 0.02) < 2e-3


def test_initial_values_have_the_papers_distributions():
    arch = dict(embed_dims=256, num_layers=1, num_heads=4, feedforward_channels=1024)
    torch.manual_seed(0)
    encoder = VisionTransformer(arch, 32, PATCH)
    decoder = MAEDecoder(256, 128, num_layers=1, num_heads=4, img_size=32, patch_size=PATCH)
    for model in (encoder, decoder):
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                rows, columns = module.weight.flatten(1).shape
                bound = math.sqrt(6 / (rows + columns))
                assert module.weight.abs().max() <= bound
                # Of a uniform distribution.
                assert abs(module.weight.std() / (bound / math.sqrt(3)) - 1) < 0.02
                assert module.bias is None or not module.bias.any()
    for token in (encoder.cls_token, decoder.mask_token):
        assert abs(token.std() / 0.02 - 1) < 0.2


@pytest.mark.parametrize('size', [(48, 48), (24, 64)])
def test_other_sizes_than_the_positions_are_made_for(size):
    model = autoencoder(num_masked=None)
    images, mask, _ = images_and_mask(size, hidden=6)
    model(images, mode='loss', mask=mask)['loss'].backward()
    assert model(images, mode='predict', mask=mask).shape == (2, size[0] // 8, size[1] // 8, VALUES)


def test_relative_positions_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match='add them at fine-tuning'):
        autoencoder(backbone=dict(use_rel_pos_bias=True))


def test_a_stem_that_sees_what_is_hidden_is_refused():
    stem = dict(type='beit_mm.HybridStem', stages=(1,))
    with pytest.raises(ValueError, match='convolutions see what is hidden'):
        autoencoder(backbone=dict(stem=stem))


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ('model.decoder.embed_dims=510', 'must be a multiple of num_heads, 16, and of 4'),
        ('model.decoder.encoder_dims=512', 'must be the width of model.backbone, 768'),
        ('model.decoder.patch_size=8', 'must be model.backbone.patch_size, 16'),
        ('model.head.embed_dims=768', 'must be the width of model.decoder, 512'),
        ('model.head.num_masked=75', 'num_masked, 147, or None to count'),
        ('train_dataloader.dataset.pipeline.1.num_masked=196', 'some must be hidden and some seen'),
        (
            'model.target_generator.patch_size=8',
            r'8 x 8 pixels; .* the patch of model.backbone, 16 x 16',
        ),
    ],
)
def test_what_does_not_fit_is_told_before_the_run(change, said, tmp_path):
    cfg = Config.fromfile(RECIPE)
    key, _, value = change.partition('=')
    cfg.merge_from_dict({key: int(value)})
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    (tmp_path / 'train').mkdir()
    with pytest.raises(ConfigError, match=said):
        check_config(cfg, 'train')


def test_weights_decay_as_the_authors_have_them():
    cfg = Config.fromfile(RECIPE)
    model = autoencoder()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = optimizer.param_groups
    decays = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert decays.pop(id(parameter)) == (0.0 if parameter.ndim == 1 else 0.05), name
    assert not decays
    assert {group['lr'] for group in groups} == {2.4e-3}
    assert {tuple(group['betas']) for group in groups} == {(0.9, 0.95)}
