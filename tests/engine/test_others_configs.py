"""MMPretrain's and MMSegmentation's own recipes, as their users would give them to the tools."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from refused_configs import refused

from beit_mm.component import Component
from beit_mm.engine import ConfigError, check_config
from beit_mm.engine.checking import config_check
from beit_mm.engine.checking.data_check import check_data
from beit_mm.engine.checking.names_check import wrong_kind
from beit_mm.engine.checking.own_variables import unread_options, unread_variables

# Of what one has to install, or of what mmengine refuses too.
MEANT = ('which is not registered', 'val_cfg missing', 'train_cfg and optim_wrapper missing')


def recipes(package, folders):
    spec = importlib.util.find_spec(package)
    root = Path(spec.origin).parent / '.mim/configs' if spec else Path('/nowhere')
    return [path for folder in folders for path in sorted(root.glob(f'{folder}/*.py'))[:2]]


RECIPES = [
    *recipes('mmpretrain', [
        'vision_transformer', 'deit', 'beit', 'mae', 'simmim', 'mocov3', 'byol', 'swin_transformer',
        'resnet', 'convnext', 'twins', 'dinov2', 'lenet', 'barlowtwins', 'clip', 'arcface',
    ]),
    *recipes('mmseg', ['vit', 'beit', 'mae', 'upernet', 'segformer', 'setr', 'unet', 'point_rend']),
]  # fmt: skip


def test_they_are_there():
    """Packages without their recipes would leave nothing to try."""
    assert len(RECIPES) > 30


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_they_are_not_refused(path, monkeypatch):
    monkeypatch.setattr(config_check, 'check_data', lambda *args: iter(()))
    monkeypatch.setattr(config_check, 'check_pretrained', lambda *args: iter(()))
    cfg = Config.fromfile(path)
    assert list(unread_variables(cfg)) == []
    try:
        check_config(cfg, 'train')
    except ConfigError as error:
        said = [line for line in str(error).splitlines() if not any(m in line for m in MEANT)]
        assert said == []


def test_options_that_mmengine_reads_of_the_whole_config_are_known():
    cfg = Config(dict(model=dict(type='A')))
    options = ('compile', 'sync_bn', 'activation_checkpointing', 'efficient_conv_bn_eval')
    assert list(unread_options(cfg, dict.fromkeys(options, 'x'))) == []


def test_a_variable_that_somebody_elses_hook_may_read_is_a_note():
    cfg = Config(dict(model=dict(type='A'), my_table='a.csv'))
    (note,) = unread_options(cfg, {'my_table': 'b.csv'})
    assert isinstance(note, config_check.Note)


# ----------------------------------------------------------------------------------------------
# Data sets
# ----------------------------------------------------------------------------------------------


def said_of(scope, dataset, **model) -> list[str]:
    """What is said of a data set to train on that is not there, or not right."""
    find = config_check._Types(scope).find
    return list(check_data('train_dataloader', dataset, Component('model', model, find)))


@pytest.mark.parametrize('kind', ['CUB', 'Flowers102', 'VOC', 'StanfordCars'])
def test_a_split_is_a_folder_of_imagenet_alone(kind, tmp_path):
    pytest.importorskip('mmpretrain')
    where = dict(data_root=str(tmp_path), split='train')
    assert said_of('mmpretrain', dict(type=kind, **where)) == []
    (said,) = said_of('mmpretrain', dict(type='ImageNet', **where))
    assert f"data_root/split is '{tmp_path}/train'" in said


def test_what_is_downloaded_need_not_be_there(tmp_path):
    pytest.importorskip('mmpretrain')
    cifar = dict(type='CIFAR10', data_root=str(tmp_path / 'cifar10'), split='train')
    assert said_of('mmpretrain', cifar) == []
    assert len(said_of('mmpretrain', dict(cifar, download=False))) == 1


def test_settings_of_ones_own_data_set_mean_what_it_says():
    class Packed:
        def __init__(self, data_root, split):
            pass

    Packed.__module__ = 'my_project.data'
    dataset = dict(type='Packed', data_root='photos.h5', split='train')
    model = Component('model', {}, lambda name: Packed)
    assert list(check_data('train_dataloader', dataset, model)) == []


def write_pairs(root: Path, endings: tuple[str, str], labels: list[int]) -> dict:
    """Two photos and their annotations in stripes of these labels; the folders of a data set."""
    for folder, ending in zip(('photos', 'masks'), endings, strict=True):
        (root / folder).mkdir(parents=True)
        for name in 'ab':
            stripes = np.repeat(np.array(labels, np.uint8), 4)[None].repeat(8, axis=0)
            Image.fromarray(stripes).save(root / folder / f'{name}{ending}')
    return dict(data_root=str(root), data_prefix=dict(img_path='photos', seg_map_path='masks'))


def labels_of(dataset: dict) -> set[int]:
    """Labels that MMSegmentation's own data set and step give the loss."""
    from mmseg.registry import DATASETS

    from beit_mm.engine.checking.config_check import enter_scope

    enter_scope('mmseg')
    steps = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    built = DATASETS.build(dict(dataset, pipeline=steps))
    assert len(built) == 2
    return {int(label) for sample in built for label in np.unique(sample['gt_seg_map'])}


def test_endings_are_those_of_the_data_sets_class(tmp_path):
    """Cityscapes has photos with a long ending of their own."""
    pytest.importorskip('mmseg')
    endings = ('_leftImg8bit.png', '_gtFine_labelTrainIds.png')
    dataset = dict(type='CityscapesDataset', **write_pairs(tmp_path, endings, [0, 18, 255]))
    assert labels_of(dataset) == {0, 18, 255}
    head = dict(num_classes=19)
    assert [s for s in said_of('mmseg', dataset, decode_head=head) if 'do not occur' not in s] == []
    (tmp_path / 'masks/b_gtFine_labelTrainIds.png').unlink()
    (said,) = said_of('mmseg', dataset, decode_head=head)
    assert 'b_leftImg8bit.png has no annotation' in said


def test_what_the_class_of_a_data_set_tells_its_base_counts(tmp_path):
    """As MMSegmentation's guide has it: endings and zeros stand in the constructor."""
    mmseg = pytest.importorskip('mmseg.datasets')
    from mmseg.registry import DATASETS

    class Background(mmseg.BaseSegDataset):
        METAINFO = dict(classes=('sky', 'tree', 'road'), palette=[[0] * 3, [1] * 3, [2] * 3])

        def __init__(self, **settings):
            super().__init__(
                img_suffix='.png', seg_map_suffix='.mask.png', reduce_zero_label=True, **settings
            )

    DATASETS.register_module(module=Background, force=True)
    try:
        dataset = dict(
            type='Background', **write_pairs(tmp_path, ('.png', '.mask.png'), [0, 1, 2, 3])
        )
        assert labels_of(dataset) == {255, 0, 1, 2}
        assert said_of('mmseg', dataset, decode_head=dict(num_classes=3)) == []
        (said,) = said_of('mmseg', dataset, decode_head=dict(num_classes=2))
        assert 'has the label(s) 3' in said
    finally:
        DATASETS.module_dict.pop('Background')
        config_check.FOUND.pop(('mmseg', 'Background'), None)


def test_classes_that_a_data_set_leaves_out_are_no_labels(tmp_path):
    pytest.importorskip('mmseg')
    dataset = dict(
        type='PotsdamDataset',
        metainfo=dict(classes=('building', 'tree')),
        **write_pairs(tmp_path, ('.png', '.png'), [1, 2, 3, 4, 5, 6]),
    )
    assert labels_of(dataset) == {0, 1, 255}
    said = said_of('mmseg', dataset, decode_head=dict(num_classes=2))
    assert [line for line in said if 'are ignored' not in line] == []


# ----------------------------------------------------------------------------------------------
# Settings
# ----------------------------------------------------------------------------------------------

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
BEIT = dict(type='beit_mm.BEiT', arch=ARCH, img_size=32)
TWO_TOKENS = dict(
    type='beit_mm.VisionTransformer', arch=ARCH, img_size=32, out_type='cls_token',
    num_extra_tokens=2, positions='learned',
)  # fmt: skip


def classifier(backbone=BEIT, in_channels=16, **settings) -> dict:
    head = dict(type='LinearClsHead', num_classes=3, in_channels=in_channels, topk=1)
    return dict(type='ImageClassifier', backbone=backbone, head=head, **settings)


def loss_of(model) -> float:
    """Of a step, where MMPretrain builds the model."""
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample

    config_check.enter_scope('mmpretrain')
    samples = [DataSample().set_gt_label(label) for label in (0, 2)]
    return float(MODELS.build(model).loss(torch.rand(2, 3, 32, 32), samples)['loss'])


@pytest.mark.parametrize(
    'model',
    [
        classifier(neck=dict(type='LinearNeck', in_channels=16, out_channels=8), in_channels=8),
        classifier(TWO_TOKENS, 32),
        classifier(dict(type='LoRAModel', module=BEIT, rank=2, targets=[dict(type='qkv')])),
        classifier(dict(type='LoRAModel', module=BEIT, rank=2, targets=[dict(type='.*qkv')])),
    ],
    ids=['neck', 'two tokens', 'LoRA', 'LoRA by a pattern'],
)
def test_models_that_mmpretrain_trains_are_not_refused(model):
    pytest.importorskip('mmpretrain')
    assert loss_of(model) > 0
    assert refused(model) == ''


@pytest.mark.parametrize(('model', 'wanted'), [
    (classifier(in_channels=8), 16),
    (classifier(TWO_TOKENS, 16), 32),
    (classifier(neck=dict(type='GlobalAveragePooling'), in_channels=8), 16),
])  # fmt: skip
def test_heads_of_another_width_are_refused_as_before(model, wanted):
    pytest.importorskip('mmpretrain')
    assert f'model.head.in_channels is {model["head"]["in_channels"]}; it must be {wanted}' in (
        refused(model)
    )


def test_gradients_may_be_clipped_by_value():
    pytest.importorskip('mmpretrain')
    assert refused(classifier(), clip_grad=dict(type='value', clip_value=0.1)) == ''
    assert 'clip_valeu' in refused(classifier(), clip_grad=dict(type='value', clip_valeu=0.1))


def test_text_is_right_where_it_is_the_default():
    def takes(bias: bool = 'qv_bias'): ...

    parameter = inspect.signature(takes).parameters['bias']
    assert wrong_kind(parameter, 'qv_bias', exactly=False) == ''


def test_weights_of_others_backbones_are_mmengines_to_find():
    pytest.importorskip('mmpretrain')
    start = dict(type='Pretrained', checkpoint='open-mmlab://resnet50')
    resnet = classifier(dict(type='ResNet', depth=50, init_cfg=start), 2048)
    assert refused(resnet) == ''
    assert 'model.backbone.init_cfg.checkpoint: open-mmlab://' in (
        refused(classifier(dict(BEIT, init_cfg=start)))
    )
    missing = dict(type='Pretrained', checkpoint='nowhere.pth')
    assert 'nowhere.pth: no such checkpoint' in (
        refused(classifier(dict(type='ResNet', depth=50, init_cfg=missing), 2048))
    )


@pytest.mark.parametrize('kind', ['mmseg.EncoderDecoder', 'mmseg.CascadeEncoderDecoder'])
def test_weights_at_mmsegmentations_place_are_told_where_to_go(kind):
    """Its segmentors hand ``pretrained`` to the backbone, whose recipe of BEiT has it."""
    pytest.importorskip('mmpretrain')
    pytest.importorskip('mmseg')
    segmentor = dict(type=kind, backbone=BEIT)
    assert 'pretrained' not in refused(dict(segmentor, pretrained=None))
    said = refused(dict(segmentor, pretrained='beit.pth'))
    assert "model.backbone.init_cfg to dict(type='Pretrained', checkpoint='beit.pth')" in said


def test_weights_of_a_whole_classifier_stay_where_mmpretrain_takes_them(tmp_path):
    """Its ``pretrained`` is the ``init_cfg`` of the classifier, head included."""
    pytest.importorskip('mmpretrain')
    from mmpretrain.registry import MODELS

    config_check.enter_scope('mmpretrain')
    weights = MODELS.build(classifier()).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'classifier.pth')
    model = classifier(pretrained=str(tmp_path / 'classifier.pth'))
    assert refused(model) == ''
    built = MODELS.build(model)
    built.init_weights()
    torch.testing.assert_close(built.state_dict(), weights)


@pytest.mark.skipif(importlib.util.find_spec('mmdet') is not None, reason='mmdet is there')
def test_a_part_of_a_package_that_is_missing_names_the_package():
    pytest.importorskip('mmpretrain')
    said = refused(classifier(neck=dict(type='mmdet.FPN')))
    assert 'needs the package mmdet, which is not installed: pip install onedl-mmdetection' in said


# ----------------------------------------------------------------------------------------------
# Views
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('inner', [None, dict(mean=[120.0] * 3, std=[60.0] * 3)])
def test_views_are_normalised_as_images_are_without_them(inner, tmp_path):
    """Of a model's own preprocessor and one beside it the model's counts, with --tta too."""
    pytest.importorskip('mmpretrain')
    from mmengine.runner import Runner

    from beit_mm.engine import average_over_views

    config_check.enter_scope('mmpretrain')
    beside = dict(mean=[10.0] * 3, std=[20.0] * 3)
    data = dict(type='ConcatDataset', datasets=[dict(type='CUB', pipeline=[]) for _ in range(2)])
    cfg = Config(
        dict(
            model=classifier(**({} if inner is None else dict(data_preprocessor=inner))),
            data_preprocessor=beside,
            test_dataloader=dict(dataset=data),
            tta_model=dict(type='AverageClsScoreTTA'),
            tta_pipeline=[dict(type='TestTimeAug')],
        )
    )

    def built():
        settings = {name: cfg[name] for name in ('model', 'data_preprocessor')}
        return Runner.from_cfg(
            Config(dict(settings, default_scope='mmpretrain', work_dir=str(tmp_path)))
        ).model

    wanted = built().data_preprocessor
    average_over_views(cfg)
    given = built().module.data_preprocessor
    assert given.mean.flatten().tolist() == wanted.mean.flatten().tolist()
    assert given.mean.flatten().tolist() == (inner or beside)['mean']
    every = cfg.test_dataloader.dataset.datasets
    assert [dataset.pipeline for dataset in every] == [cfg.tta_pipeline] * 2
