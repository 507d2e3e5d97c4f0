"""What a wrong config gets: one line, before the first step, that names the key and the remedy."""

import re
import subprocess
import sys
from pathlib import Path

import forked
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import pytest
import torch
from mmengine.config import Config
from mmpretrain.evaluation import Accuracy
from mmseg.evaluation import IoUMetric
from quickstart_pretraining import pretraining_in

from beit_mm.component import Component
from beit_mm.datasets.masks.generators import MaskGenerator
from beit_mm.engine import ConfigError, check_config
from beit_mm.engine.checking.class_check import check_classes_of
from beit_mm.engine.checking.data_check import check_classes
from beit_mm.engine.checking.others_check import check_best
from beit_mm.engine.optimizing.param_groups import share_groups_of_config
from beit_mm.models import BEiT
from beit_mm.registry import MODELS, TRANSFORMS

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cfg(tmp_path):
    return pretraining_in(tmp_path)


def pipeline_step(cfg, suffix):
    """Index and config of the training transform whose type ends so."""
    steps = cfg.train_dataloader.dataset.pipeline
    return next((i, step) for i, step in enumerate(steps) if step.type.endswith(suffix))


def without_data(cfg):
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'] = cfg[f'{split}_cfg'] = None
    cfg.optim_wrapper = cfg.val_evaluator = None


def refusal(cfg, mode='train') -> str:
    with pytest.raises(ConfigError) as caught:
        check_config(cfg, mode)
    return str(caught.value)


def test_a_good_config_passes(cfg):
    check_config(cfg, 'train')


def test_types_of_the_default_scope_are_known_in_a_fresh_process():
    """Registries fill up as packages are imported; a test before this one may have done that."""
    code = (
        'from mmengine.config import Config; from beit_mm.engine import check_config;'
        f'cfg = Config.fromfile({str(ROOT / "configs/quickstart/scratch.py")!r});'
        'cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None;'
        'cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None; check_config(cfg, "train")'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_mask_grid_must_be_the_patch_grid(cfg):
    index, step = pipeline_step(cfg, 'MaskGenerator')
    step.grid_size = (7, 9)
    message = refusal(cfg)
    assert f'train_dataloader.dataset.pipeline[{index}].grid_size is (7, 9)' in message
    assert 'img_size / patch_size' in message


@pytest.mark.parametrize('predict_all', [False, True])
def test_head_must_have_room_for_the_places_to_predict(cfg, predict_all):
    index, step = pipeline_step(cfg, 'MaskGenerator')
    cfg.model.predict_all = predict_all
    places = 16 if predict_all else step.num_masked
    for enough in (None, places, places + 1):
        cfg.model.head.num_masked = enough
        check_config(cfg, 'train')
    cfg.model.head.num_masked = places - 1
    message = refusal(cfg)
    assert f'model.head.num_masked is {places - 1}; it must be at least {places}' in message
    assert predict_all or f'train_dataloader.dataset.pipeline[{index}].num_masked' in message


views = pytest.mark.parametrize('views', ['TwoViewRandomResizedCrop', 'LoadTwoViews'])


@views
def test_second_view_must_give_one_token_a_patch(cfg, views):
    index, step = pipeline_step(cfg, 'TwoViewRandomResizedCrop')
    step.type = f'beit_mm.{views}'
    step.second_size = 24
    message = refusal(cfg)
    assert f'pipeline[{index}].second_size is (24, 24)' in message
    assert 'it must be (16, 16)' in message


@pytest.mark.parametrize('name', ['PixelTargetGenerator', 'MeanColorTargetGenerator'])
def test_second_view_must_give_a_patch_of_pixels_a_place(cfg, name):
    cfg.model.target_generator = dict(type=f'beit_mm.{name}', patch_size=8)
    index, step = pipeline_step(cfg, 'TwoViewRandomResizedCrop')
    assert step.second_size == 16
    assert f'pipeline[{index}].second_size is (16, 16); it must be (32, 32)' in refusal(cfg)


@views
def test_first_view_must_be_the_backbones_size(cfg, views):
    _, step = pipeline_step(cfg, 'TwoViewRandomResizedCrop')
    step.type = f'beit_mm.{views}'
    step.size = 64
    assert 'size is (64, 64); it must be model.backbone.img_size, (32, 32)' in refusal(cfg)


def test_head_and_tokenizer_must_share_the_vocabulary(cfg):
    cfg.model.head.vocab_size = 100
    message = refusal(cfg)
    assert 'model.head.vocab_size is 100' in message
    assert 'model.target_generator.tokenizer.vocab_size, 128' in message


def test_image_must_divide_into_patches(cfg):
    cfg.model.backbone.img_size = 30
    assert 'model.backbone.img_size is 30 x 30; it must be a multiple' in refusal(cfg)


def test_missing_data_folder(cfg):
    cfg.train_dataloader.dataset.data_root = '/no/such/folder'
    message = refusal(cfg)
    assert "train_dataloader.dataset.data_root/data_prefix is '/no/such/folder/train'" in message
    assert '--cfg-options train_dataloader.dataset.data_root=' in message


def test_batch_augmentations_are_known():
    """MMPretrain keeps mixup and cutmix in a registry that is no child of mmengine's."""
    cfg = Config.fromfile(ROOT / 'configs/quickstart/scratch.py')
    without_data(cfg)
    cfg.model.train_cfg = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix')])
    check_config(cfg, 'train')
    cfg.model.train_cfg.augments[0].type = 'MixUpp'
    assert "model.train_cfg.augments[0].type is 'MixUpp'" in refusal(cfg)


def test_testing_takes_a_test_set(cfg):
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    assert 'test_dataloader is missing' in refusal(cfg, 'test')


def test_head_must_have_the_backbones_width(cfg):
    cfg.model.head.embed_dims = 768
    assert 'model.head.embed_dims is 768; it must be the width' in refusal(cfg)


def test_missing_pretrained_weights(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/quickstart/finetune.py')
    without_data(cfg)
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'none.pth')
    message = refusal(cfg)
    assert f'model.backbone.init_cfg.checkpoint: {tmp_path}/none.pth: no such checkpoint' in message


def test_missing_annotation_file(cfg):
    cfg.train_dataloader.dataset.ann_file = 'nobody.txt'
    assert 'train_dataloader.dataset.ann_file is' in refusal(cfg)


@pytest.mark.parametrize('checkpoint', ['/no/such/tokenizer.pth', None])
def test_missing_tokenizer_says_where_to_get_one(cfg, checkpoint):
    cfg.model.target_generator.checkpoint = checkpoint
    message = refusal(cfg)
    assert f'model.target_generator.checkpoint is {checkpoint!r}' in message
    assert 'dalle_encoder.pth' in message
    assert 'configs/dvae_train.py' in message


def test_unknown_type_is_named_with_a_suggestion(cfg):
    cfg.model.backbone.type = 'beit_mm.BEit'
    message = refusal(cfg)
    assert "model.backbone.type is 'beit_mm.BEit', which is not registered" in message
    assert "did you mean 'beit_mm.BEiT'?" in message


def test_misspelt_setting_is_named_with_a_suggestion(cfg):
    cfg.model.backbone.drop_path = 0.1
    index, step = pipeline_step(cfg, 'MaskGenerator')
    step.num_mask = 5
    message = refusal(cfg)
    assert 'model.backbone.drop_path: beit_mm.BEiT has no such setting' in message
    assert "did you mean 'drop_path_rate'?" in message
    wanted = (
        f"pipeline[{index}].num_mask: {step.type} has no such setting; did you mean 'num_masked'"
    )
    assert wanted in message
    assert len(message.splitlines()) == 2


def test_all_that_is_wrong_is_told_at_once(cfg):
    cfg.model.head.vocab_size = 100
    cfg.model.head.embed_dims = 768
    cfg.train_dataloader.dataset.data_root = '/no/such/folder'
    assert len(refusal(cfg).splitlines()) == 3


def test_a_component_brings_its_own_check(cfg):
    """As MODELS or any other registry may gain; the engine knows nothing of it."""

    class Picky(torch.nn.Module):
        __module__ = 'beit_mm.models.picky'

        def __init__(self, width=3):
            super().__init__()

        @staticmethod
        def check_config(component, plan):
            if component['width'] != 4:
                yield f'{component.key}.width is {component["width"]}; it must be 4'

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS._module_dict, 'Picky', Picky)
        cfg.variable = dict(type='beit_mm.Picky')
        check_config(cfg, 'train')  # nobody builds it
        cfg.visualizer = dict(type='beit_mm.Picky')
        assert refusal(cfg) == 'visualizer.width is 3; it must be 4'
        cfg.visualizer.width = 4
        check_config(cfg, 'train')


def test_missing_package_is_named_with_its_distribution(cfg, monkeypatch):
    find_spec = __import__('importlib.util').util.find_spec
    monkeypatch.setattr(
        'importlib.util.find_spec', lambda name: None if name == 'mmseg' else find_spec(name)
    )
    cfg.model.head.type = 'mmseg.FCNHead'
    assert 'model.head.type needs the package mmseg' in refusal(cfg)
    assert 'pip install onedl-mmsegmentation' in refusal(cfg)


def test_the_command_line_prints_one_line_and_writes_nothing(tmp_path):
    """Without data the tool stops with its message alone, no traceback and no work directory."""
    work_dir = tmp_path / 'run'
    result = forked.run(
        [sys.executable, ROOT / 'tools/train.py', ROOT / 'configs/quickstart/dvae.py',
         '--work-dir', work_dir],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert 'train_dataloader.dataset.data_root/data_prefix is' in result.stderr
    assert 'Traceback' not in result.stderr
    assert not work_dir.exists()


def test_a_work_directory_of_another_run_is_left_alone(tmp_path):
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    (work_dir / 'last_checkpoint').write_text('epoch_3.pth')
    result = forked.run(
        [sys.executable, ROOT / 'tools/train.py', ROOT / 'configs/quickstart/dvae.py',
         '--work-dir', work_dir],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert '--resume' in result.stderr
    assert [path.name for path in work_dir.iterdir()] == ['last_checkpoint']


class Rows(MaskGenerator):
    """A mask of one's own, which knows no number of patches."""

    def __init__(self, grid_size=(4, 4), num_rows=1):
        self.grid_size = grid_size

    def transform(self, results):
        return results


class Wider(BEiT):
    """A backbone of one's own that hands its settings on."""

    def __init__(self, extra=1, **settings):
        super().__init__(**settings)


@pytest.fixture
def own_components():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRANSFORMS._module_dict, 'Rows', Rows)
        patch.setitem(MODELS._module_dict, 'Wider', Wider)
        yield


@pytest.mark.usefixtures('own_components')
def test_components_of_ones_own_are_asked_for_what_they_have(cfg):
    index, _ = pipeline_step(cfg, 'MaskGenerator')
    cfg.train_dataloader.dataset.pipeline[index] = dict(type='beit_mm.Rows')
    cfg.model.head.num_masked = 6
    cfg.model.backbone.type = 'beit_mm.Wider'
    del cfg.model.backbone['patch_size']
    cfg.model.backbone.img_size = 64  # a grid of 4 x 4 by the default of the class it hands on to
    assert 'size is (32, 32); it must be model.backbone.img_size, (64, 64)' in refusal(cfg)
    cfg.model.backbone.extra = 2
    assert 'extra' not in refusal(cfg)


@pytest.mark.parametrize(
    ('key', 'value', 'said'),
    [
        ('model.backbone.arch', 'bse', r"model: arch 'bse' is none of"),
        ('train_dataloader.dataset.pipeline.MASK.grid_size', 13, 'model: cannot unpack'),
    ],
)
def test_values_that_cannot_be_read_are_complaints_among_others(cfg, key, value, said):
    index, _ = pipeline_step(cfg, 'MaskGenerator')
    cfg.merge_from_dict({key.replace('MASK', str(index)): value})
    cfg.train_dataloader.dataset.data_root = '/no/such/folder'
    lines = refusal(cfg).splitlines()
    assert len(lines) == 2
    assert re.match(said, lines[1])


def test_configs_that_runs_have_dumped_pass(cfg):
    cfg.optim_wrapper.type = 'beit_mm.BFloat16OptimWrapper'
    share_groups_of_config(cfg)
    check_config(cfg, 'train')


@pytest.mark.parametrize('name', ['random_masks', 'pixels_random_masks'])
def test_variables_that_nobody_builds_are_not_asked(name, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/claims/{name}.py')
    cfg.train_dataloader.dataset.data_root = cfg.val_dataloader.dataset.data_root = ''
    cfg.train_dataloader.dataset.data_prefix = cfg.val_dataloader.dataset.data_prefix = ''
    cfg.load_from = 'somewhere'
    if name == 'random_masks':
        cfg.model.target_generator.checkpoint = None
    check_config(cfg, 'train')


def test_a_hook_that_draws_classes_is_refused_in_pretraining(cfg):
    cfg.default_hooks.visualization = dict(type='VisualizationHook', enable=True)
    assert 'default_hooks.visualization: VisualizationHook draws the classes' in refusal(cfg)
    cfg.default_hooks.visualization.enable = False
    check_config(cfg, 'train')


@pytest.mark.parametrize('wrapper', ['ConcatDataset', 'RepeatDataset'])
def test_data_sets_inside_of_others_are_checked_as_one_alone(cfg, wrapper):
    inner = cfg.train_dataloader.dataset.to_dict()
    inner['data_root'] = '/no/such/folder'
    index, _ = pipeline_step(cfg, 'MaskGenerator')
    inner['pipeline'][index]['grid_size'] = (7, 9)
    if wrapper == 'ConcatDataset':
        cfg.train_dataloader.dataset = dict(type=wrapper, datasets=[inner])
        key = 'train_dataloader.dataset.datasets[0]'
    else:
        cfg.train_dataloader.dataset = dict(type=wrapper, times=2, dataset=inner)
        key = 'train_dataloader.dataset.dataset'
    message = refusal(cfg)
    assert f"{key}.data_root/data_prefix is '/no/such/folder/train'" in message
    assert f'{key}.pipeline[{index}].grid_size is (7, 9)' in message


def test_segmentation_heads_and_classes():
    cfg = Config.fromfile(ROOT / 'configs/camvid/scratch.py')
    without_data(cfg)
    cfg.model.decode_head.num_classes = 1
    assert 'model.decode_head.num_classes is 1: with one class' in refusal(cfg)
    cfg.model.decode_head.loss_decode.use_sigmoid = True
    check_config(cfg, 'train')
    cfg.model.decode_head.num_classes = 'two'
    assert "model.decode_head.num_classes is 'two'; it must be an integer" in refusal(cfg)
    cfg.model.decode_head.num_classes = 11
    cfg.model.decode_head.in_channels = 5
    assert 'model.decode_head.in_channels is 5; it must be' in refusal(cfg)


@pytest.mark.parametrize(
    ('head', 'told'),
    [
        (dict(type='LinearClsHead'), True),
        (dict(type='MultiLabelLinearClsHead'), False),
        (dict(type='LinearClsHead', loss=dict(type='CrossEntropyLoss', use_sigmoid=True)), False),
    ],
)
def test_one_class_is_too_few_but_for_yes_or_no(head, told):
    model = Component('model', dict(head=dict(head, num_classes=1)), lambda name: None)
    assert bool(list(check_classes_of({}, model))) == told


@pytest.mark.parametrize(
    ('evaluator', 'figure', 'told'),
    [
        (dict(type='IoUMetric', iou_metrics=['mDice']), 'mDice', False),
        (dict(type='IoUMetric', iou_metrics=['mFscore']), 'mPrecision', False),
        (dict(type='IoUMetric'), 'mIoU', False),
        (dict(type='IoUMetric'), 'mDice', True),
        (dict(type='Accuracy', thrs=(0.5, 0.7)), 'accuracy/top1_thr-0.50', False),
        (dict(type='Accuracy', topk=(1, 3)), 'accuracy/top3', False),
        (dict(type='Accuracy', topk=(1, 3)), 'accuracy/top5', True),
        (dict(type='Somebodys'), 'anything', False),
    ],
)
def test_figures_of_others_metrics(evaluator, figure, told):
    cfg = Config(dict(default_hooks=dict(checkpoint=dict(save_best=figure))))
    cfg.val_evaluator = evaluator
    find = {'IoUMetric': IoUMetric, 'Accuracy': Accuracy}.get
    assert bool(list(check_best(cfg, find))) == told


def test_lists_of_data_sets_that_are_not_mmpretrains_are_let_be(tmp_path):
    (tmp_path / 'list.txt').write_text('a.png\t1 2\n')
    head = dict(type='LinearClsHead', num_classes=3)
    model = Component('model', dict(head=head), lambda name: None)

    def told(kind, line):
        (tmp_path / 'list.txt').write_text(line)
        dataset = dict(type=kind, data_root=str(tmp_path), ann_file='list.txt')
        return list(check_classes_of(dict(train_dataloader=dict(dataset=dataset)), model))

    assert told('TabList', 'a.png\t1 2\n') == []
    assert told('CustomDataset', 'a.png 2 \n') == []
    assert told('CustomDataset', '\ufeff\na.png 2\n\n') == []
    assert 'has the label 3; labels are 0 to 2' in told('CustomDataset', 'a.png 3\n')[0]
    assert 'line 1 of' in told('CustomDataset', 'a.png\n')[0]


def test_a_preprocessor_beside_the_model_counts():
    """MMPretrain's recipes have it there, and the Runner gives it to the model."""
    model = dict(train_cfg=dict(augments=[]), head=dict(num_classes=3))
    model['train_cfg']['augments'] = [dict(type='Mixup')]
    assert list(check_classes(model, dict(num_classes=3))) == []
    (line,) = check_classes(model, dict(num_classes=4))
    assert line.startswith('data_preprocessor.num_classes is 4')


@pytest.mark.parametrize(
    ('as_array', 'step', 'told'),
    [
        (False, dict(type='RandomFlip', prob=0.5), True),
        (True, dict(type='RandomFlip', prob=0.5), False),
        (True, dict(type='torchvision/RandomHorizontalFlip', p=0.5), True),
        (False, dict(type='torchvision/RandomHorizontalFlip', p=0.5), False),
        (False, dict(type='PILToNumpy', to_bgr=True), False),
        (False, dict(type='PackInputs'), False),
    ],
)
def test_a_photo_is_loaded_as_what_the_next_step_takes(as_array, step, told):
    cfg = Config.fromfile(ROOT / 'configs/quickstart/scratch.py')
    without_data(cfg)
    load = dict(type='beit_mm.LoadPhoto', as_array=as_array)
    dataset = dict(type='CustomDataset', pipeline=[load, step], with_label=False)
    cfg.test_dataloader = dict(dataset=dataset, sampler=dict(type='DefaultSampler'))
    if not told:
        check_config(cfg, 'test')
        return
    given = 'an array' if as_array else 'a PIL image'
    key = 'test_dataloader.dataset.pipeline[0]'
    said = f'{key} gives {given}, and {step["type"]} after it takes the other kind'
    assert f'{said}; set {key}.as_array={not as_array}' in refusal(cfg, 'test')
