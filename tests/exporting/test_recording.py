"""The backbone and models around it go through torch.export, torch.compile and torch.jit.trace."""

import pytest
import torch
from mmengine.utils import digit_version
from small_models import ARCH, build, classifier, segmentor

from beit_mm.exporting.formats import MIN_TORCH
from beit_mm.layers.relative_position import relative_positions
from beit_mm.layers.resize_positions import axis_matrix, matrices_of_every_size
from beit_mm.models import BEiT

NEW = digit_version(torch.__version__) >= digit_version(MIN_TORCH)
needs_new_torch = pytest.mark.skipif(not NEW, reason=f'sizes are left open by PyTorch {MIN_TORCH}')
POSITIONS = dict(
    tables=dict(),
    shared=dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True, out_type='raw'),
    absolute=dict(use_rel_pos_bias=False, use_abs_pos_emb=True, out_type='featmap'),
)


def make(**settings) -> BEiT:
    backbone = BEiT(ARCH, img_size=(64, 48), drop_path_rate=0.5, **settings)
    torch.manual_seed(0)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return backbone.eval()


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@needs_new_torch
@torch.no_grad()
@pytest.mark.parametrize('kind', POSITIONS)
def test_export_of_any_batch_and_any_size(kind):
    from torch.export import Dim, export

    backbone = make(**POSITIONS[kind])
    sizes = {
        0: Dim('batch', max=99),
        2: 16 * Dim('rows', min=2, max=64),
        3: 16 * Dim('cols', min=2, max=64),
    }
    program = export(backbone, (torch.rand(2, 3, 64, 48),), dynamic_shapes=(sizes,)).module()
    # Its own grid, as wide as it goes, and one smaller than that of the positions.
    for batch, size in ((3, (64, 48)), (1, (32, 1024)), (5, (96, 32))):
        images = torch.rand(batch, 3, *size)
        # What is kept between calls must not be the exporter's tensors, which hold no numbers.
        assert_same(program(images), backbone(images))


@needs_new_torch
@torch.no_grad()
@pytest.mark.parametrize('make_config', [classifier, segmentor], ids=['classifier', 'segmentor'])
def test_export_of_models_around_it_with_any_batch(make_config):
    from torch.export import Dim, export

    model = build(make_config())
    shapes = ({0: Dim('batch', max=99)},)
    program = export(model, (torch.rand(2, 3, 64, 64),), dynamic_shapes=shapes)
    images = torch.rand(3, 3, 64, 64)
    assert_same([program.module()(images)], [model(images)])


@torch.no_grad()
@pytest.mark.parametrize('size', [(64, 48), (96, 80)], ids=['own', 'other'])
def test_trace_of_one_size_and_any_batch(size):
    """torch.jit.trace runs the model twice, and refuses graphs that differ."""
    backbone = make()
    traced = torch.jit.trace(backbone, torch.rand(2, 3, *size))
    images = torch.rand(3, 3, *size)
    assert_same(traced(images), backbone(images))


@pytest.mark.parametrize('training', [False, True])
def test_compiled_without_a_break(training):
    backbone = make().train(training)
    compiled = torch.compile(backbone, fullgraph=True, backend='aot_eager')
    images = torch.rand(2, 3, 64, 48)
    results = []
    for model in (backbone, compiled):
        torch.manual_seed(1)
        results.append(model(images))
    assert_same(results[1], results[0])


@torch.no_grad()
def test_compiled_by_inductor():
    backbone = make()
    images = torch.rand(2, 3, 64, 48)
    assert_same(torch.compile(backbone, fullgraph=True)(images), backbone(images))


def test_matrices_of_every_size_are_those_of_each():
    matrices = matrices_of_every_size(7)
    assert len(matrices) == 64**2
    for target in (1, 2, 7, 8, 64):
        assert torch.equal(matrices[(target - 1) ** 2 : target**2], axis_matrix(7, target))


def test_positions_are_kept_between_calls():
    device = torch.device('cpu')
    assert relative_positions((3, 5), (4, 4), device) is relative_positions((3, 5), (4, 4), device)
