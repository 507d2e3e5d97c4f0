"""ViT's trunk: dropout against timm's, positions against the formula, initial values, read-outs."""

import copy
import itertools
import math

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTModel

from beit_mm.checkpoints import CheckpointError, convert_state_dict
from beit_mm.engine.optimizing.layer_decay import LayerDecayOptimWrapperConstructor
from beit_mm.layers.positions import POSITIONS, AxisPositions
from beit_mm.models import MaskedAutoencoder, VisionTransformer, load
from beit_mm.models.fitting import fit_model
from beit_mm.models.reading_shapes import positions_of

# A width whose number of heads load() knows.
ARCH = dict(embed_dims=192, num_layers=3, num_heads=3, feedforward_channels=96)
GRID = (3, 5)
# Every setting of table 8 that has absolute positions.
LEARNED = [
    dict(positions=kind, positions_at=place)
    for kind, place in itertools.product(
        ('learned', 'learned-2d'), ('input', 'every_block', 'every_block_shared')
    )
]


def vit(grid=GRID, **changes) -> VisionTransformer:
    torch.manual_seed(0)
    settings = dict(positions='learned', out_type='raw', img_size=(8 * grid[0], 8 * grid[1]))
    return VisionTransformer(ARCH, patch_size=8, **{**settings, **changes})


def images(grid=GRID) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 8 * grid[0], 8 * grid[1], generator=generator)


def name_of(settings) -> str:
    return ' '.join(map(str, settings.values()))


# ----------------------------------------------------------------------------------------------
# Dropout
# ----------------------------------------------------------------------------------------------


def timms(model: VisionTransformer, drop_rate: float) -> nn.Module:
    """timm's Transformer with the weights and the dropout of ours."""
    theirs = timm.models.VisionTransformer(
        img_size=(24, 40), patch_size=8, embed_dim=192, depth=3, num_heads=3, mlp_ratio=0.5,
        num_classes=0, global_pool='', pos_drop_rate=drop_rate, proj_drop_rate=drop_rate,
    )  # fmt: skip
    theirs.load_state_dict(convert_state_dict(model.state_dict(), 'timm'))
    return theirs


@pytest.mark.parametrize('drop_rate', [0.0, 0.3])
def test_dropout_is_timms(drop_rate):
    """Where both drop the same things they draw the same numbers in the same order."""
    model = vit(drop_rate=drop_rate)
    theirs = timms(model, drop_rate)
    x = images()
    outputs, gradients = [], []
    for network in (model.train(), theirs.train()):
        torch.manual_seed(7)
        output = network(x)
        output = output[0] if isinstance(output, tuple) else output
        output.square().sum().backward()
        outputs.append(output.detach())
        gradients.append([block.mlp.fc1.weight.grad for block in network.blocks])
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    without = vit(drop_rate=0.0).train()(x)[0]
    assert torch.allclose(outputs[0], without, atol=1e-3) == (drop_rate == 0.0)
    # In evaluation nothing is dropped.
    assert model.eval()(x)[0].equal(vit().eval()(x)[0])


def test_dropout_survives_recomputed_blocks():
    results = []
    for with_cp in (False, True):
        model = vit(drop_rate=0.3, with_cp=with_cp).train()
        torch.manual_seed(7)
        model(images())[0].square().sum().backward()
        results.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*results)


# ----------------------------------------------------------------------------------------------
# Positions
# ----------------------------------------------------------------------------------------------


def table_of(stored, grid) -> torch.Tensor:
    """(1 + h w, C) by loops."""
    if not isinstance(stored, AxisPositions):
        return stored[0]
    rows = [stored.cls[0, 0]]
    for row, column in itertools.product(range(grid[0]), range(grid[1])):
        rows.append(torch.cat([stored.rows[0, row], stored.columns[0, column]]))
    return torch.stack(rows)


@pytest.mark.parametrize('settings', LEARNED, ids=name_of)
def test_positions_are_added_where_the_paper_adds_them(settings):
    model = vit(**settings).eval()
    x = images()
    tokens = torch.cat([model.cls_token.expand(2, -1, -1), model.patch_embed(x)], dim=1)
    for index, block in enumerate(model.blocks):
        stored = {
            'input': model.pos_embed if index == 0 else None,
            'every_block': block.pos_embed,
            'every_block_shared': model.pos_embed_shared,
        }[settings['positions_at']]
        if stored is not None:
            tokens = tokens + table_of(stored, GRID)
        tokens = block(tokens, None, None)
    torch.testing.assert_close(model(x)[0], model.norm(tokens))
    numbers = sum(p.numel() for n, p in model.named_parameters() if 'pos_embed' in n)
    once = 192 + 96 * (3 + 5) if settings['positions'] == 'learned-2d' else 192 * 16
    assert numbers == once * (3 if settings['positions_at'] == 'every_block' else 1)


def test_without_positions_patches_are_a_bag():
    model = vit(positions=None).eval()
    with torch.no_grad():
        nn.init.normal_(model.cls_token)
    x = images()
    patches = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    order = torch.randperm(15)
    shuffled = patches[:, order].unflatten(1, GRID).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)
    # [S] does not see the order, and does where there are positions.
    torch.testing.assert_close(model(x)[0][:, 0], model(shuffled)[0][:, 0], rtol=1e-4, atol=1e-5)
    other = vit().eval()
    assert (other(x)[0][:, 0] - other(shuffled)[0][:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize('settings', LEARNED, ids=name_of)
def test_other_sizes_resample_every_table(settings, tmp_path):
    """On the way through, at loading, and by hand: the same."""
    model = vit(**settings).eval()
    target = (6, 4)
    x = images(target)
    made_for_it = vit(target, **settings).eval()
    made_for_it.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(x)[0], made_for_it(x)[0], rtol=1e-4, atol=1e-5)
        # Kept, and forgotten with the weights.
        for parameter in model.parameters():
            parameter.mul_(0.9)
        made_for_it.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(x)[0], made_for_it(x)[0], rtol=1e-4, atol=1e-5)
    resampled = [(n, p) for n, p in made_for_it.named_parameters() if 'pos_embed' in n]
    for name, parameter in resampled:
        stored = model.get_parameter(name)[0].T  # (C, n)
        if name.endswith(('cls', 'rows', 'columns')):
            size = (parameter.shape[1], 1)
            expected = F.interpolate(stored[None, :, :, None], size, mode='bicubic')
        else:
            assert parameter[0, 0].equal(stored[:, 0])
            grid = stored[:, 1:].unflatten(1, GRID)[None]
            expected = F.interpolate(grid, target, mode='bicubic')
            expected = torch.cat([stored[None, :, :1], expected.flatten(2)], dim=2)[..., None]
        torch.testing.assert_close(parameter[0].T, expected[0, :, :, 0])
    # A file alone tells what it is of.
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    again = load(tmp_path / 'a.pth')
    assert (again.positions, again.positions_at) == tuple(settings.values())
    assert again.grid == GRID
    with torch.no_grad():
        assert again(x)[0].equal(model(x)[0])
    assert positions_of(model.state_dict()) == settings


@pytest.mark.parametrize('settings', LEARNED, ids=name_of)
def test_positions_are_not_decayed_and_have_the_rates_of_their_depth(settings):
    model = vit(**settings)
    build = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1)), dict(layer_decay_rate=0.5)
    )
    found = {
        id(p): (group['weight_decay'], group['depth'])
        for group in build(model).optimizer.param_groups
        for p in group['params']
    }
    for name, parameter in model.named_parameters():
        if 'pos_embed' in name:
            depth = int(name.split('.')[1]) + 1 if name.startswith('blocks') else 0
            assert found[id(parameter)] == (0.0, depth)


@pytest.mark.parametrize('settings', LEARNED[1:], ids=name_of)
def test_positions_that_others_do_not_have_are_refused(settings):
    weights = vit(**settings).state_dict()
    for to in ('timm', 'huggingface', 'mmpretrain'):
        with pytest.raises(CheckpointError, match=f'{to} has no place for .*pos_embed'):
            convert_state_dict(weights, to)


@pytest.mark.parametrize('frozen_stages', [0, 1])
@pytest.mark.parametrize('settings', LEARNED, ids=name_of)
def test_frozen_stages_freeze_their_positions(settings, frozen_stages):
    model = vit(**settings, frozen_stages=frozen_stages)
    trained = {n for n, p in model.named_parameters() if 'pos_embed' in n and p.requires_grad}
    blocks = {n for n, _ in model.named_parameters() if 'pos_embed' in n and 'blocks' in n}
    assert trained == {n for n in blocks if int(n.split('.')[1]) >= frozen_stages}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(positions='1d'), "positions '1d' is none of sine-cosine, learned, learned-2d, None"),
        (dict(positions_at='end'), "positions_at 'end' is none of input, every_block"),
        (dict(positions=None, positions_at='every_block'), 'there are none to add'),
        (dict(positions='sine-cosine', positions_at='every_block'), "take 'every_block_shared'"),
        (dict(drop_rate=1.0), r'drop_rate is 1.0; it must be in \[0, 1\)'),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        vit(**changes)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('settings', LEARNED, ids=name_of)
def test_positions_load_without_those_of_tokens_that_are_not_there(settings):
    model, other = vit(**settings).eval(), vit((6, 4), num_extra_tokens=0, **settings).eval()
    weights = fit_model(other, '', model.state_dict(), 'file')
    other.load_state_dict(weights)
    made_for_it = vit((6, 4), **settings)
    made_for_it.load_state_dict(model.state_dict())
    for own, theirs in zip(
        *([p for n, p in m.named_parameters() if 'pos_embed' in n] for m in (other, made_for_it)),
        strict=True,
    ):
        torch.testing.assert_close(own, theirs[:, theirs.shape[1] - own.shape[1] :])


def test_a_masked_autoencoder_takes_positions_at_the_input_alone():
    with pytest.raises(ValueError, match="positions_at='input'"):
        MaskedAutoencoder(
            backbone=dict(type='beit_mm.VisionTransformer', arch=ARCH, img_size=32, patch_size=8,
                          out_type='raw', positions='learned', positions_at='every_block'),
            decoder=dict(type='beit_mm.MAEDecoder', encoder_dims=192, embed_dims=16, num_layers=1,
                         num_heads=2, img_size=32, patch_size=8),
            target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=8),
            head=dict(type='beit_mm.PixelHead', embed_dims=16, num_values=192),
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------
# Initial values, read-outs
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('positions', POSITIONS)
def test_initial_values_are_vits_without_maes_positions(positions):
    arch = dict(embed_dims=256, num_layers=1, num_heads=4, feedforward_channels=1024)
    torch.manual_seed(0)
    model = VisionTransformer(arch, 128, 8, positions=positions)
    of_mae = positions == 'sine-cosine'
    assert model.cls_token.any() == of_mae
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            rows, columns = layer.weight.flatten(1).shape
            bound = math.sqrt(6 / (rows + columns))
            assert layer.weight.abs().max() <= bound
            assert abs(layer.weight.std() / (bound / math.sqrt(3)) - 1) < 0.02
            if 'mlp' in name and not of_mae:
                # Four standard deviations of the estimate.
                assert abs(layer.bias.std() / 1e-6 - 1) < 4 / math.sqrt(2 * len(layer.bias))
            else:
                assert not layer.bias.any()
    for name, parameter in model.named_parameters():
        if 'pos_embed' in name and not of_mae:
            spread = 4 / math.sqrt(2 * parameter.numel())
            assert abs(parameter.std() / 0.02 - 1) < spread
            # Normal: 4.6 % lie beyond two standard deviations, of a truncated one none or few.
            beyond = (parameter.abs() > 0.04).float().mean()
            assert abs(beyond - 0.0455) < 4 * math.sqrt(0.0455 / parameter.numel())


@pytest.mark.parametrize('out_type', ['cls_token', 'avg_featmap'])
def test_read_outs_are_those_of_transformers(out_type):
    model = vit(out_type=out_type, final_norm=out_type == 'cls_token').eval()
    config = ViTConfig(
        hidden_size=192, num_hidden_layers=3, num_attention_heads=3, intermediate_size=96,
        image_size=(24, 40), patch_size=8, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = ViTModel(config, add_pooling_layer=False).eval()
    weights = {n: p for n, p in model.state_dict().items() if not n.startswith('fc_norm')}
    # Versions of transformers differ in their names.
    old = any(name.startswith('encoder.') for name in theirs.state_dict())
    names = convert_state_dict(weights, 'huggingface' if old else 'huggingface5')
    theirs.load_state_dict(
        {n.removeprefix('vit.'): p for n, p in names.items()}, strict=out_type == 'cls_token'
    )
    if out_type == 'avg_featmap':
        theirs.layernorm = nn.Identity()
    with torch.no_grad():
        expected = theirs(images()).last_hidden_state
        if out_type == 'avg_featmap':
            expected = F.layer_norm(expected[:, 1:].mean(dim=1), (192,), eps=1e-6)
        else:
            expected = expected[:, 0]
        torch.testing.assert_close(model(images())[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('settings', LEARNED, ids=name_of)
def test_it_is_copied_and_trains_at_two_sizes(settings):
    model = vit(**settings, drop_rate=0.1)
    with torch.no_grad():
        model.eval()(images((4, 4)))
    model = copy.deepcopy(model).train()
    for grid in (GRID, (4, 4)):
        model.zero_grad()
        model(images(grid))[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
