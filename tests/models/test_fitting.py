"""Weights from files into backbones: other resolutions, other layouts, what the log says."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import make_interp_spline
from torch import nn

from beit_mm.checkpoints import LAYOUTS, OF_VIT_ALONE, CheckpointError, convert_state_dict
from beit_mm.layers.resize_positions import geometric_coordinates, resize_absolute_positions
from beit_mm.models import BEiT, fitting
from beit_mm.models.fitting import fit_model, fit_state_dict

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
OWN = dict(use_rel_pos_bias=True)
SHARED = dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
ABSOLUTE = dict(use_rel_pos_bias=False, use_abs_pos_emb=True)
WITHOUT_POSITIONS = dict(use_rel_pos_bias=False)
TABLES = [f'blocks.{index}.attn.rel_pos_bias.table' for index in range(2)]


def small_beit(grid, seed=0, **changes):
    """A backbone for a grid of patches, every weight of it random."""
    size = 4 * grid[0], 4 * grid[1]
    model = BEiT(**{**dict(arch=ARCH, img_size=size, patch_size=4, **OWN), **changes})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model


def save(path, weights):
    torch.save(dict(state_dict=weights, meta=dict(epoch=1)), path)
    return str(path)


def naive_resized_table(table, source, target):
    """Each column, then each row, of each head's grid by SciPy's spline."""

    def along_rows(rows, side):
        if rows.shape[1] == 2 * side - 1:
            return rows
        points = geometric_coordinates(rows.shape[1], 2 * side - 1)
        queries = np.clip(np.arange(1 - side, side), points[0], points[-1])
        degree = min(3, len(points) - 1)
        return np.stack([make_interp_spline(points, row, k=degree)(queries) for row in rows])

    heads = []
    for head in table.T:
        grid = head[:-3].reshape(2 * source[0] - 1, 2 * source[1] - 1).double().numpy()
        grid = along_rows(along_rows(grid, target[1]).T, target[0]).T
        heads.append(torch.cat([torch.from_numpy(grid.ravel()), head[-3:].double()]))
    return torch.stack(heads, dim=1).float()


@pytest.fixture
def log(monkeypatch):
    """The lines that are logged."""
    lines = []

    def recorded(message, logger):
        assert logger == 'current'
        lines.append(message)

    monkeypatch.setattr(fitting, 'print_log', recorded)
    return lines


# --- absolute positions -----------------------------------------------------------------------


@pytest.mark.parametrize(('source', 'target'), [((4, 4), (7, 7)), ((3, 5), (2, 9))])
def test_absolute_positions_equal_torchs_bicubic_picture(source, target):
    positions = torch.randn(1, 1 + source[0] * source[1], 6)
    output = resize_absolute_positions(positions, source, target)
    assert output.shape == (1, 1 + target[0] * target[1], 6)
    assert output[:, 0].equal(positions[:, 0])
    for channel in range(6):
        picture = positions[0, 1:, channel].view(1, 1, *source)
        expected = F.interpolate(picture, target, mode='bicubic', align_corners=False)
        torch.testing.assert_close(output[0, 1:, channel].view(target), expected[0, 0])


def test_absolute_positions_of_the_same_grid_are_the_same():
    positions = torch.randn(1, 16, 6)
    assert resize_absolute_positions(positions, (3, 5), (3, 5)).equal(positions)
    half = resize_absolute_positions(positions.bfloat16(), (3, 5), (4, 4))
    assert half.dtype == torch.bfloat16
    exact = resize_absolute_positions(positions.bfloat16().float(), (3, 5), (4, 4))
    assert half.equal(exact.bfloat16())


# --- other resolutions ------------------------------------------------------------------------

# 56 -> 96 as 224 -> 384; smaller; non-square; the same number of rows the other way round.
GRIDS = [((14, 14), (24, 24)), ((6, 6), (4, 5)), ((4, 4), (4, 7)), ((2, 6), (6, 2))]


@pytest.mark.parametrize(('source', 'target'), GRIDS)
@pytest.mark.parametrize('by', ['load_pretrained', 'init_cfg', 'load_state_dict'])
def test_weights_of_one_grid_load_into_another(tmp_path, source, target, by):
    settings = dict(use_abs_pos_emb=True)
    given = small_beit(source, **settings).state_dict()
    path = save(tmp_path / 'weights.pth', given)
    if by == 'init_cfg':
        settings['init_cfg'] = dict(type='Pretrained', checkpoint=path)
    model = small_beit(target, seed=1, **settings)
    if by == 'init_cfg':
        model.init_weights()
    elif by == 'load_pretrained':
        model.load_pretrained(path)
    else:
        model.load_state_dict(given)
    for name, tensor in model.state_dict().items():
        if name in TABLES:
            expected = naive_resized_table(given[name], source, target)
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-4)
            assert tensor[-3:].equal(given[name][-3:])
        elif name == 'pos_embed':
            picture = given[name][:, 1:].transpose(1, 2).reshape(1, 16, *source)
            picture = F.interpolate(picture, target, mode='bicubic', align_corners=False)
            expected = picture.reshape(1, 16, -1).transpose(1, 2)
            torch.testing.assert_close(tensor[:, 1:], expected, rtol=0, atol=1e-5)
            assert tensor[:, :1].equal(given[name][:, :1])
        elif name == 'patch_grid':
            assert tensor.tolist() == list(target)
        else:
            assert tensor.equal(given[name]), name
    # The caller's weights are as they were.
    assert given['patch_grid'].tolist() == list(source)
    for name, tensor in small_beit(source, use_abs_pos_emb=True).state_dict().items():
        assert tensor.equal(given[name]), name


@pytest.mark.parametrize('positions', [OWN, SHARED, ABSOLUTE])
def test_loaded_into_another_size_it_gives_what_it_gives_at_that_size(tmp_path, positions):
    model = small_beit((2, 6), out_type='raw', **positions).eval()
    path = save(tmp_path / 'weights.pth', model.state_dict())
    other = small_beit((6, 2), seed=1, out_type='raw', **positions).eval()
    images = torch.randn(2, 3, 24, 8)
    before = other(images)[0]
    other.load_pretrained(path)
    torch.testing.assert_close(other(images)[0], model(images)[0], rtol=1e-6, atol=1e-6)
    assert (other(images)[0] - before).abs().max() > 1e-2
    # Had the numbers been taken over as they are, the two grids having as many, this would hold.
    name = 'pos_embed' if positions is ABSOLUTE else 'rel_pos_bias.table'
    pairs = [(t, model.state_dict()[n]) for n, t in other.state_dict().items() if name in n]
    assert pairs
    assert not any(ours.equal(theirs) for ours, theirs in pairs)


@pytest.mark.parametrize(('positions', 'name'), [(OWN, 'table'), (ABSOLUTE, 'pos_embed')])
def test_weights_without_a_grid_are_square_or_fit_as_they_are(tmp_path, positions, name):
    def without_grid(grid):
        weights = small_beit(grid, **positions).state_dict()
        del weights['patch_grid']
        return weights

    square, wide = without_grid((4, 4)), without_grid((2, 5))
    model = small_beit((3, 6), seed=1, **positions)
    model.load_state_dict(square)
    expected = small_beit((3, 6), seed=2, **positions)
    expected.load_state_dict(small_beit((4, 4), **positions).state_dict())
    for key, tensor in model.state_dict().items():
        assert tensor.equal(expected.state_dict()[key]), key

    model = small_beit((2, 5), seed=1, **positions)
    model.load_state_dict(wide)
    assert all(model.state_dict()[key].equal(tensor) for key, tensor in wide.items())

    path = save(tmp_path / 'wide.pth', wide)
    model = small_beit((3, 6), seed=1, **positions)
    with pytest.raises(CheckpointError, match=rf'wide\.pth: .*{name}.*not square.*patch_grid'):
        model.load_pretrained(path)
    with pytest.raises(CheckpointError, match=rf'{name}.*not square.*patch_grid'):
        model.load_state_dict(wide)
    unchanged = small_beit((3, 6), seed=1, **positions).state_dict()
    assert all(tensor.equal(unchanged[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize('layout', [each for each in LAYOUTS if each not in OF_VIT_ALONE])
@pytest.mark.parametrize('whole', [False, True])
def test_every_layout_loads_at_another_resolution(tmp_path, layout, whole, log):
    # MMSegmentation's backbone has no norm after the mean.
    form = dict(final_norm=True, out_type='featmap' if layout == 'mmseg' else 'avg_featmap')
    model = small_beit((4, 4), **form)
    weights = model.state_dict()
    given = {f'backbone.{n}': t for n, t in weights.items()} if whole else weights
    path = save(tmp_path / 'weights.pth', convert_state_dict(given, layout))
    loaded, expected = (small_beit((5, 7), seed=s, **form) for s in (1, 2))
    loaded.load_pretrained(path)
    expected.load_state_dict(weights)
    for name, tensor in loaded.state_dict().items():
        assert tensor.equal(expected.state_dict()[name]), name
    assert 'missing none; unused none' in log[0]


# --- fine-tuning from pre-training ------------------------------------------------------------


@pytest.mark.parametrize('prefix', ['backbone.', ''])
def test_fine_tuning_gives_each_block_the_shared_table_at_its_own_size(tmp_path, prefix, log):
    before = small_beit((4, 4), final_norm=True, with_mask_token=True, out_type='raw', **SHARED)
    weights = {prefix + name: tensor for name, tensor in before.state_dict().items()}
    if prefix:
        weights['head.classifier.weight'] = torch.zeros(7, 16)
    path = save(tmp_path / 'mim.pth', weights)
    model = small_beit((6, 5), seed=1)
    fc_norm = model.fc_norm.weight.clone()
    model.load_pretrained(path)
    expected = naive_resized_table(before.rel_pos_bias.table.detach(), (4, 4), (6, 5))
    tables = [block.attn.rel_pos_bias.table for block in model.blocks]
    for table in tables:
        torch.testing.assert_close(table.detach(), expected, rtol=0, atol=1e-4)
    assert tables[0].data_ptr() != tables[1].data_ptr()
    assert model.fc_norm.weight.equal(fc_norm)

    own = len(model.state_dict())
    unused = 'mask_token, norm.weight, norm.bias'
    assert log[0].startswith(f'{path}: layout beit_mm, loaded {own - 2} of {own} tensors; ')
    assert 'resized 2 relative tables 4 x 4 -> 6 x 5; ' in log[0]
    assert 'missing fc_norm.weight, fc_norm.bias; ' in log[0]
    names = set(log[0].split('unused ')[1].split(', '))
    assert names == {*unused.split(', '), *(['head.classifier.weight'] if prefix else [])}
    assert len(log) == 1


def test_the_log_says_when_nothing_was_resized(tmp_path, log):
    model = small_beit((3, 5), use_abs_pos_emb=True)
    path = save(tmp_path / 'same.pth', model.state_dict())
    own = len(model.state_dict())
    small_beit((3, 5), seed=1, use_abs_pos_emb=True).load_pretrained(path)
    expected = f'loaded {own} of {own} tensors; resized nothing; missing none; unused none'
    assert log == [f'{path}: layout beit_mm, {expected}']
    small_beit((2, 4), seed=1, use_abs_pos_emb=True).load_pretrained(path)
    for text in ('2 relative tables 3 x 5 -> 2 x 4', '1 absolute positions 3 x 5 -> 2 x 4'):
        assert text in log[1]


# --- what is refused --------------------------------------------------------------------------


def refused(tmp_path, weights, message):
    path = save(tmp_path / 'other.pth', weights)
    model = small_beit((4, 4), seed=1)
    with pytest.raises(CheckpointError, match=rf'other\.pth.*{message}'):
        model.load_pretrained(path)
    for name, tensor in small_beit((4, 4), seed=1).state_dict().items():
        assert model.state_dict()[name].equal(tensor), name


def test_a_file_of_another_network_is_refused(tmp_path):
    weights = {'layer1.0.conv1.weight': torch.zeros(3), 'norm.weight': torch.ones(16)}
    refused(tmp_path, weights, r'no weights of a Vision Transformer.*layer1\.0\.conv1')


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
@pytest.mark.parametrize(
    'lost', ['blocks.1.mlp.fc1.weight', 'patch_embed.proj.bias', 'blocks.0.gamma_2']
)
def test_a_backbone_that_lacks_weights_of_its_blocks_is_refused(tmp_path, prefix, lost):
    weights = {prefix + name: t for name, t in small_beit((4, 4)).state_dict().items()}
    del weights[prefix + lost]
    refused(tmp_path, weights, rf'lacks (backbone\.)?{lost.split(".")[0]}.*{lost.split(".")[-1]}$')


def test_a_backbone_of_fewer_blocks_is_refused(tmp_path):
    weights = small_beit((4, 4), arch={**ARCH, 'num_layers': 1}).state_dict()
    refused(tmp_path, weights, r'lacks blocks\..*\.gamma_1, .*\.\.\.')


@pytest.mark.parametrize(
    ('changes', 'theirs', 'ours'),
    [
        (dict(arch={**ARCH, 'embed_dims': 24}), r'\(1, 1, 24\)', r'\(1, 1, 16\)'),
        (dict(arch={**ARCH, 'feedforward_channels': 8}), r'\(8, 16\)', r'\(32, 16\)'),
        (dict(patch_size=2, img_size=8), r'\(16, 3, 2, 2\)', r'\(16, 3, 4, 4\)'),
    ],
)
def test_a_backbone_of_other_width_is_refused_by_both_shapes(tmp_path, changes, theirs, ours):
    weights = small_beit((4, 4), **changes).state_dict()
    refused(tmp_path, weights, rf'another size.*{theirs} there and {ours} here')


def test_what_starts_at_zero_may_be_missing(tmp_path, log):
    weights = small_beit((4, 4)).state_dict()
    for name in list(weights):
        if name.endswith(('q_bias', 'v_bias', 'table')):
            del weights[name]
    model = small_beit((5, 5), seed=1)
    model.load_pretrained(save(tmp_path / 'plain.pth', weights))
    assert model.blocks[1].mlp.fc1.weight.equal(weights['blocks.1.mlp.fc1.weight'])
    assert model.blocks[1].attn.q_bias.equal(small_beit((5, 5), seed=1).blocks[1].attn.q_bias)
    for name in ('q_bias', 'v_bias', 'rel_pos_bias.table'):
        assert f'blocks.*.attn.{name} (2)' in log[0].split('missing ')[1].split('unused ')[0]


# --- whole models -----------------------------------------------------------------------------


class Classifier(nn.Module):
    """A backbone and a head, named as MMPretrain's classifiers name them."""

    def __init__(self, grid, classes, seed=0, **changes):
        super().__init__()
        self.backbone = small_beit(grid, seed, **changes)
        self.head = nn.ModuleDict(dict(fc=nn.Linear(16, classes)))


def test_a_backbone_of_another_name_takes_this_names_weights_and_the_publics(log):
    model = nn.ModuleDict(dict(encoder=small_beit((5, 5), seed=1)))
    given = small_beit((4, 4)).state_dict()
    expected = small_beit((5, 5), seed=2)
    expected.load_state_dict(given)
    for prefix in ('encoder.', 'backbone.', ''):
        weights = {prefix + name: tensor for name, tensor in given.items()}
        fitted = fit_model(model, 'encoder.', weights, 'given.pth')
        assert fitted.keys() == model.state_dict().keys(), prefix
        for name, tensor in expected.state_dict().items():
            assert fitted[f'encoder.{name}'].equal(tensor), name
    assert all('missing none; unused none' in line for line in log)


@pytest.mark.parametrize('classes', [3, 5])
@pytest.mark.parametrize('layout', ['beit_mm', 'timm', 'mmpretrain', 'huggingface'])
def test_a_head_of_the_same_size_is_taken_and_another_left_out(classes, layout, log):
    given = Classifier((4, 4), 5)
    model = Classifier((6, 6), classes, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = convert_state_dict(given.state_dict(), layout)
    fitted = fit_model(model, 'backbone.', weights, 'given.pth')
    for name, tensor in model.state_dict().items():
        assert tensor.equal(before[name]), name

    head = {'head.fc.weight', 'head.fc.bias'}
    assert fitted.keys() == before.keys() - (head if classes != 5 else set())
    for name, tensor in fitted.items():
        assert tensor.shape == before[name].shape, name
        if not name.endswith(('table', 'patch_grid')):
            assert tensor.equal(given.state_dict()[name]), name
    unused = 'none' if classes == 5 else 'head.fc.weight, head.fc.bias'
    assert log[0].startswith(f'given.pth: layout {layout}, ')
    assert log[0].endswith(f'missing {unused}; unused {unused}')
    missing, unexpected = model.load_state_dict(fitted, strict=False)
    assert set(missing) == (head if classes != 5 else set())
    assert not unexpected
    assert model.backbone.patch_grid.tolist() == [6, 6]


def test_a_bare_backbone_goes_into_a_whole_model(log):
    given = small_beit((4, 4))
    fitted = fit_model(Classifier((4, 4), 3, seed=1), 'backbone.', given.state_dict(), 'bare.pth')
    assert {name: tensor.tolist() for name, tensor in fitted.items()} == {
        f'backbone.{name}': tensor.tolist() for name, tensor in given.state_dict().items()
    }
    assert 'missing head.fc.weight, head.fc.bias; unused none' in log[0]


def test_errors_of_a_whole_model_name_the_source():
    model = Classifier((4, 4), 3, seed=1)
    weights = Classifier((4, 4), 3).state_dict()
    narrow = Classifier((4, 4), 3, arch={**ARCH, 'embed_dims': 24}).state_dict()
    with pytest.raises(CheckpointError, match=r'narrow\.pth.*backbone\.cls_token'):
        fit_model(model, 'backbone.', narrow, 'narrow.pth')
    del weights['backbone.blocks.0.norm1.weight']
    with pytest.raises(
        CheckpointError, match=r'cut\.pth.*lacks backbone\.blocks\..*\.norm1\.weight'
    ):
        fit_model(model, 'backbone.', weights, 'cut.pth')
    with pytest.raises(CheckpointError, match=r'head\.pth: no weights of a Vision Transformer'):
        fit_model(model, 'backbone.', {'head.fc.weight': torch.zeros(3, 16)}, 'head.pth')


def test_fitting_reports_what_it_resized_and_changes_nothing_given():
    weights = small_beit((4, 4), use_abs_pos_emb=True).state_dict()
    names = list(weights)
    model = small_beit((3, 5), seed=1, use_abs_pos_emb=True)
    fitted = fit_state_dict(model, weights)
    assert sorted(fitted.resized) == sorted(
        (name, (4, 4), (3, 5)) for name in ('pos_embed', *TABLES)
    )
    assert list(weights) == names
    assert fitted.state_dict.keys() == model.state_dict().keys()
    same = fit_state_dict(small_beit((4, 4), use_abs_pos_emb=True), weights)
    assert same.resized == []
    assert all(same.state_dict[name].equal(tensor) for name, tensor in weights.items())


@pytest.mark.parametrize('shape', [(), (7,), (1, 50, 2)])
def test_a_table_of_a_strange_shape_is_refused_by_the_files_name(tmp_path, shape):
    weights = small_beit((4, 4)).state_dict()
    weights['blocks.1.attn.rel_pos_bias.table'] = torch.zeros(shape)
    path = save(tmp_path / 'strange.pth', weights)
    with pytest.raises(CheckpointError, match=r'strange\.pth: blocks\.1\.attn.*has the shape'):
        small_beit((4, 4)).load_pretrained(path)


@pytest.mark.parametrize(
    'name', ['cls_token', 'blocks.1.attn.q_bias', 'blocks.0.attn.rel_pos_bias.table']
)
def test_a_backbone_that_lacks_one_weight_is_refused(tmp_path, name):
    weights = small_beit((4, 4)).state_dict()
    del weights[name]
    path = save(tmp_path / 'partial.pth', weights)
    with pytest.raises(CheckpointError, match=rf'partial\.pth: no whole backbone.*{name}'):
        small_beit((4, 4)).load_pretrained(path)


@pytest.mark.parametrize(
    ('form', 'extra'),
    [
        (dict(arch={**ARCH, 'num_layers': 3}), r'blocks\.2\.'),
        (dict(use_abs_pos_emb=True), 'pos_embed'),
    ],
)
def test_a_backbone_with_more_to_it_is_refused(tmp_path, form, extra):
    refused(tmp_path, small_beit((4, 4), **form).state_dict(), f'no place for .*{extra}')


def test_tables_of_other_heads_are_refused(tmp_path):
    weights = small_beit((4, 4), arch={**ARCH, 'num_heads': 4}).state_dict()
    refused(tmp_path, weights, r'table has the shape \(52, 4\).*\(n, 2\)')


def test_tables_of_blocks_have_no_place_in_a_shared_one(tmp_path):
    path = save(tmp_path / 'own.pth', small_beit((4, 4), **OWN).state_dict())
    with pytest.raises(CheckpointError, match=r'own\.pth: of another backbone.*attn\.rel_pos_bias'):
        small_beit((4, 4), seed=1, **SHARED).load_pretrained(path)


@pytest.mark.parametrize('layout', ['beit_mm', 'timm', 'huggingface', 'huggingface5', 'mmpretrain'])
@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        (OWN, WITHOUT_POSITIONS),
        (SHARED, WITHOUT_POSITIONS),
        ({}, dict(layer_scale_init_value=0)),
    ],
)
def test_weights_of_another_function_are_refused(tmp_path, layout, theirs, ours):
    weights = convert_state_dict(small_beit((4, 4), **theirs).state_dict(), layout)
    path = save(tmp_path / 'other.pth', weights)
    with pytest.raises(CheckpointError, match=r'other\.pth: of another backbone.*no place for'):
        small_beit((4, 4), seed=1, **ours).load_pretrained(path)


def test_a_plain_vit_is_refused_by_a_plain_backbone(tmp_path):
    """Its bias on queries, keys and values has other names."""
    form = dict(use_rel_pos_bias=False, use_abs_pos_emb=True, layer_scale_init_value=0)
    weights = small_beit((4, 4), **form).state_dict()
    for n in range(2):
        bias = [weights.pop(f'blocks.{n}.attn.{part}_bias') for part in 'qv']
        weights[f'blocks.{n}.attn.qkv.bias'] = torch.cat([bias[0], bias[0], bias[1]])
    with pytest.raises(CheckpointError, match=r'vit\.pth: '):
        small_beit((4, 4), **form).load_pretrained(save(tmp_path / 'vit.pth', weights))
    del weights['patch_grid']
    with pytest.raises(CheckpointError, match=r'vit\.pth: '):
        small_beit((4, 4), **form).load_pretrained(save(tmp_path / 'vit.pth', weights))


@pytest.mark.parametrize('dtype', [torch.int8, torch.bool, torch.complex64])
@pytest.mark.parametrize('name', ['blocks.1.mlp.fc1.weight', 'blocks.0.attn.rel_pos_bias.table'])
def test_numbers_of_another_kind_are_refused(tmp_path, dtype, name):
    weights = small_beit((4, 4)).state_dict()
    weights[name] = weights[name].to(dtype)
    refused(tmp_path, weights, f'{name} .*{dtype!s}')


@pytest.mark.parametrize('name', ['cls_token', 'fc_norm.weight'])
def test_a_weight_outside_the_blocks_of_another_size_is_refused(tmp_path, name):
    weights = small_beit((4, 4)).state_dict()
    weights[name] = weights[name][..., :8]
    refused(tmp_path, weights, rf'another size: {name} is .*\b8,?\) there')


@pytest.mark.parametrize(
    'grid', [[0, 1], [4.0, 4.0], [4, 4, 1], [-4, 4], 16], ids=['zero', 'float', '3', 'minus', '0-d']
)
def test_a_patch_grid_that_is_none_is_refused(tmp_path, grid):
    weights = {**small_beit((4, 4)).state_dict(), 'patch_grid': torch.tensor(grid)}
    refused(tmp_path, weights, 'patch_grid is .*height and width')


def test_weights_under_a_prefix_of_ones_own(tmp_path):
    given = small_beit((4, 4))
    weights = {f'student.{n}': t for n, t in given.state_dict().items()}
    weights |= {f'teacher.{n}': torch.zeros_like(t) for n, t in given.state_dict().items()}
    path = save(tmp_path / 'both.pth', weights)
    init = dict(type='Pretrained', checkpoint=path, prefix='student')
    model = small_beit((4, 4), seed=1, init_cfg=init)
    model.init_weights()
    for name, tensor in given.state_dict().items():
        assert model.state_dict()[name].equal(tensor), name
    with pytest.raises(CheckpointError, match=r"both\.pth holds no weights.*'mine\.'"):
        model.load_pretrained(path, prefix='mine.')


@pytest.mark.parametrize('lost', ['pos_embed', 'v_bias'])
def test_positions_and_half_of_the_biases_may_not_be_missing(tmp_path, lost):
    form = dict(use_abs_pos_emb=True)
    weights = {
        n: t for n, t in small_beit((4, 4), **form).state_dict().items() if not n.endswith(lost)
    }
    path = save(tmp_path / 'less.pth', weights)
    with pytest.raises(CheckpointError, match=rf'less\.pth: no whole backbone.*{lost}'):
        small_beit((4, 4), **form).load_pretrained(path)


@pytest.mark.parametrize('shape', [(1, 17, 0), (1, 17, 8), (2, 17, 16)])
def test_absolute_positions_of_a_strange_shape_are_refused_by_the_files_name(tmp_path, shape):
    weights = {**small_beit((4, 4), **ABSOLUTE).state_dict(), 'pos_embed': torch.zeros(shape)}
    path = save(tmp_path / 'strange.pth', weights)
    with pytest.raises(CheckpointError, match=r'strange\.pth: pos_embed has the shape'):
        small_beit((5, 5), **ABSOLUTE).load_pretrained(path)


def test_averages_of_torch_load(tmp_path):
    given = small_beit((4, 4))
    torch.save(torch.optim.swa_utils.AveragedModel(given).state_dict(), tmp_path / 'averaged.pth')
    model = small_beit((4, 4), seed=1)
    model.load_pretrained(str(tmp_path / 'averaged.pth'))
    for name, tensor in given.state_dict().items():
        assert model.state_dict()[name].equal(tensor), name


def test_a_backbone_called_encoder_takes_hugging_faces_names():
    given = small_beit((4, 4))
    model = nn.ModuleDict(dict(encoder=small_beit((4, 4), seed=1)))
    weights = convert_state_dict(given.state_dict(), 'huggingface')
    fitted = fit_model(model, 'encoder.', weights, 'given.pth')
    for name, tensor in given.state_dict().items():
        assert fitted[f'encoder.{name}'].equal(tensor), name
