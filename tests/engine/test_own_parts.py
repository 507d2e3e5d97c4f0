"""Parts of one's own, derived from this project's or beside them, in configs of its tasks."""

import pytest
import torch
from refused_configs import refused
from torch import nn

from beit_mm.datasets.masks.generators import MaskGenerator
from beit_mm.engine.checking import config_check
from beit_mm.models import BEiT, PixelTargetGenerator, VisionTransformer
from beit_mm.registry import MODELS, TRANSFORMS

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


class OwnBEiT(BEiT):
    """Of a size that its constructor says."""

    def __init__(self, **settings):
        super().__init__(arch=ARCH, img_size=32, patch_size=8, out_type='raw', **settings)


class OwnTargets(PixelTargetGenerator):
    """Pixels of patches of 8."""

    def __init__(self, brightness=1.0):
        super().__init__(patch_size=8)


class OwnMask(MaskGenerator):
    """Some rows of a grid, which it calls otherwise."""

    def __init__(self, places, rows):
        self.places, self.rows = places, rows

    def transform(self, results):
        results['mask'] = torch.zeros(self.places, dtype=torch.bool)
        results['mask'][: self.rows] = True
        return results


class OwnDecoder(nn.Module):
    """No Transformer, and no setting of MAE's decoder."""

    def __init__(self, wide, narrow):
        super().__init__()
        self.embed = nn.Linear(wide, narrow)

    def forward(self, encoded, places, grid):
        x = self.embed(encoded)[:, 1:]
        if places is not None:
            full = x.new_zeros(len(x), grid[0] * grid[1], x.shape[2])
            x = full.scatter(1, places.seen[..., None].expand_as(x), x)
        return x + encoded.mean((1, 2))[:, None, None]


@pytest.fixture(autouse=True)
def of_a_project(monkeypatch):
    """Register them as a project of one's own does."""
    own = dict(MODELS=[OwnBEiT, OwnTargets, OwnDecoder], TRANSFORMS=[OwnMask])
    for registry, kinds in ((MODELS, own['MODELS']), (TRANSFORMS, own['TRANSFORMS'])):
        for kind in kinds:
            monkeypatch.setattr(kind, '__module__', 'my_project.parts')
            monkeypatch.setitem(registry._module_dict, kind.__name__, kind)
    monkeypatch.setattr(config_check, 'FOUND', {})


def task(kind, backbone, **parts) -> dict:
    return dict(
        type=f'beit_mm.{kind}',
        backbone=backbone,
        target_generator=dict(type='beit_mm.OwnTargets'),
        **parts,
    )


def head(width, **settings) -> dict:
    return dict(type='beit_mm.PixelHead', embed_dims=width, num_values=192, **settings)


OWN = dict(type='beit_mm.OwnBEiT', with_mask_token=True, final_norm=True)
BEITS = task('MaskedImageModeling', OWN, head=head(16))
PLAIN = dict(type='beit_mm.VisionTransformer', arch=ARCH, img_size=32, patch_size=8, out_type='raw')
MAES = task(
    'MaskedAutoencoder',
    PLAIN,
    head=head(12),
    decoder=dict(type='beit_mm.OwnDecoder', wide=16, narrow=12),
)


def refused_of(model, **views) -> str:
    """What is said against the model with a mask of one's own, and views such as these."""
    steps = [
        {**dict(type='beit_mm.LoadTwoViews', size=32, second_size=32), **views},
        dict(type='beit_mm.OwnMask', places=(4, 4), rows=3),
        dict(type='PackInputs'),
    ]
    return refused(model, steps)


@pytest.mark.parametrize('model', [BEITS, MAES], ids=['BEiT', 'MAE'])
def test_what_constructors_of_ones_own_choose_is_not_refused(model):
    pytest.importorskip('mmpretrain')
    assert refused_of(model) == ''
    built = MODELS.build(model)
    images, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 1:3] = True
    loss = built.loss(images, images, mask)['loss']
    # The error of the hidden patches, from the same hidden states.
    patches = images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).flatten(3)
    hidden = built.hidden_states(images, mask).unflatten(1, (4, 4))
    wanted = (built.head.regressor(hidden)[mask] - patches[mask]).square().mean()
    torch.testing.assert_close(loss, wanted)


def test_what_a_config_says_of_them_is_still_looked_at():
    pytest.importorskip('mmpretrain')
    assert 'model.head.embed_dims is 12; it must be the width of model.backbone, 16' in refused_of(
        task('MaskedImageModeling', {**PLAIN, 'with_mask_token': True}, head=head(12))
    )
    assert 'size is (24, 24); it must be model.backbone.img_size, (32, 32)' in refused_of(
        MAES, size=24
    )
    assert "out_type is 'featmap'" in refused_of(
        dict(MAES, backbone=dict(PLAIN, out_type='featmap'))
    )


def test_a_class_that_takes_all_of_its_bases_settings_is_as_these(monkeypatch):
    """Without a constructor of its own, the defaults are those of the base."""
    pytest.importorskip('mmpretrain')

    class Same(VisionTransformer):
        pass

    monkeypatch.setattr(Same, '__module__', 'my_project.parts')
    monkeypatch.setitem(MODELS._module_dict, 'Same', Same)
    model = task('MaskedImageModeling', dict(PLAIN, type='beit_mm.Same'), head=head(12))
    assert 'it must be the width of model.backbone, 16' in refused_of(model)


def test_a_number_of_tokens_that_ones_own_class_chooses_is_no_width(monkeypatch):
    """DeiT's two tokens, one beside the other, are twice as wide, which only the class knows."""
    pytest.importorskip('mmpretrain')

    class Distilled(VisionTransformer):
        def __init__(self, **settings):
            super().__init__(num_extra_tokens=2, **settings)

    monkeypatch.setattr(Distilled, '__module__', 'my_project.parts')
    monkeypatch.setitem(MODELS._module_dict, 'Distilled', Distilled)
    backbone = dict(type='beit_mm.Distilled', arch=ARCH, img_size=32, out_type='cls_token')
    classifier = dict(type='LinearClsHead', num_classes=3, in_channels=32)
    assert refused_of(dict(type='ImageClassifier', backbone=backbone, head=classifier)) == ''
