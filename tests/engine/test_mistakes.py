"""Ordinary slips with the tool itself: told in a line, exit status 2, and nothing left behind."""

import shutil

import mmpretrain.apis  # noqa: F401, for the processes that are forked
import pytest
from mmengine.config import Config
from toy_run import begin, make_photos, train

from beit_mm.engine import ConfigError
from beit_mm.engine.checking.own_variables import unread_variables
from beit_mm.engine.starting.telling import leaving_nothing


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp('photos'))


# What is set, and what is said of it.
TOLD = {
    'misspelt at the top': (
        ['trian_cfg.max_iters=3'], "trian_cfg.max_iters: nothing reads this key; did you mean"),
    'misspelt section': (
        ['randomnes.seed=3'], "randomnes.seed: nothing reads this key; did you mean 'randomness'?"),
    'misspelt of a loader': (
        ['train_dataloader.nun_workers=3'],
        "train_dataloader.nun_workers: nothing reads this key; did you mean 'num_workers'?"),
    'misspelt in a pipeline': (
        ['train_dataloader.dataset.pipeline.0.as_arry=True'],
        "train_dataloader.dataset.pipeline[0].as_arry: beit_mm.LoadPhoto has no such setting; did "
        "you mean 'as_array'?"),
    'misspelt of a data set': (
        ['train_dataloader.dataset.data_rot=x'],
        "train_dataloader.dataset.data_rot: beit_mm.PhotoFolder has no such setting; did you mean "
        "'data_root'?"),
    'misspelt hook': (
        ['default_hooks.chekpoint.interval=5'],
        "default_hooks.chekpoint would come beside the one that it resembles; did you mean 'check"),
    'misspelt of a loop': (
        ['train_cfg.max_iter=5'],
        "train_cfg.max_iter: IterBasedTrainLoop has no such setting; did you mean 'max_iters'?"),
    'of an optimizer': (
        ['optim_wrapper.optimizer.learning_rate=1'],
        'optim_wrapper.optimizer.learning_rate: beit_mm.FusedAdamW has no such setting'),
    'of a scheduler': (
        ['param_scheduler.Tmax=1'],
        "param_scheduler.Tmax: CosineAnnealingLR has no such setting; did you mean 'T_max'?"),
    'text for a number': (
        ['train_dataloader.batch_size=large'],
        "train_dataloader.batch_size is 'large'; it must be an integer"),
    'text for a switch': (
        ['train_dataloader.dataset.pipeline.0.as_array=maybe'],
        "pipeline[0].as_array is 'maybe'; it must be True or False"),
    'a list of dicts': (
        ['param_scheduler=[dict(type="LinearLR")]'],
        'What --cfg-options cannot say, a config with _base_ can'),
    'a place of a list that is not there': (
        ['custom_hooks.7.interval=3'], 'custom_hooks has no type'),
    'a variable of the config': (
        ['num_classes=3'],
        'num_classes is a variable of the config, which nothing reads any more; set '),
    'a name that nothing has': (
        ['lr=0.1'], 'lr: nothing reads this key; set optim_wrapper.optimizer.lr=0.1'),
    'too few classes': (
        ['model.head.num_classes=2'],
        'model.head.num_classes is 2, and train_dataloader.dataset has 3 classes'),
    'one class': (['model.head.num_classes=1'], 'with one class there is nothing to learn'),
    'fewer images than a batch': (
        ['train_dataloader.batch_size=64', 'train_dataloader.drop_last=True',
         'train_dataloader.sampler.type=DefaultSampler'],
        '36 images make no batch of 64 a process in 1 process(es)'),
    'other channels': (
        ['model.backbone.in_channels=1'],
        'model.backbone.in_channels is 1, and train_dataloader.dataset.pipeline[0] (LoadPhoto) '
        'reads 3 bands; set model.backbone.in_channels=3, or train_dataloader.dataset.pipeline[0]'),
    'another width': (
        ['model.backbone.arch=tiny'],
        'model.head.in_channels is 64; it must be 192, by the width of model.backbone'),
    'a tracker that is not installed': (
        ['visualizer.vis_backends.0.type=ClearMLVisBackend'],
        'visualizer.vis_backends[0] needs the package clearml, which is not installed'),
    'a figure that nobody reports': (
        ['default_hooks.checkpoint.save_best=top1'],
        "default_hooks.checkpoint.save_best is 'top1'; the evaluators report accuracy/top1; did "
        "you mean 'accuracy/top1'?"),
    'an optimizer without a type': (
        ['optim_wrapper.optimizer=dict(lr=3)'],
        "optim_wrapper.optimizer is 'dict(lr=3)'; it must be a dict with a type"),
    'half of a validation': (
        ['val_cfg=None'], 'val_cfg missing, and val_dataloader and val_evaluator given'),
    'a value that a constructor refuses': (
        ['model.backbone.drop_path_rate=3'], 'building the run failed: ValueError'),
}  # fmt: skip


@pytest.mark.parametrize('case', TOLD)
def test_told_in_a_line(photos, tmp_path, case):
    options, said = TOLD[case]
    with pytest.raises(ConfigError) as stop, leaving_nothing(tmp_path / 'run', 'own.py', bool):
        begin(photos, tmp_path / 'run', *options)
    assert any(said in line for line in str(stop.value).splitlines()), str(stop.value)
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('case', ['misspelt section', 'another width'])
def test_the_tool_tells_it_without_a_traceback(photos, tmp_path, case):
    """Before a Runner is there, and with one."""
    options, said = TOLD[case]
    result = train(photos, tmp_path / 'run', *options)
    assert result.returncode == 2, result.stdout[-2000:]
    assert said in result.stderr
    assert 'Traceback' not in result.stderr
    assert not (tmp_path / 'run').exists()


def test_the_traceback_on_demand(photos, tmp_path):
    result = train(photos, tmp_path / 'run', 'model.backbone.drop_path_rate=3', debug=True)
    assert result.returncode == 1
    assert 'Traceback' in result.stderr
    assert 'beit.py' in result.stderr


@pytest.mark.parametrize(
    'options',
    [
        ['train_cfg.max_iters=1'],
        ['train_dataloader.persistent_workers=True', 'train_dataloader.prefetch_factor=2'],
        ['default_hooks.checkpoint.save_best=auto'],
        ['my_own_note=3'],
    ],
)
def test_what_is_no_mistake_just_runs(photos, tmp_path, options):
    text = 'my_own_note = 1\nstill_mine = dict(a=1)\n' if 'my_own' in options[0] else ''
    if text:
        options = []
    result = train(photos, tmp_path / 'run', *options, text=text)
    assert result.returncode == 0, result.stderr[-2000:]
    assert list((tmp_path / 'run').glob('iter_*.pth'))


def test_a_variable_given_anew_in_a_config_is_told(tmp_path):
    """The base has read it already: the run would go on with the old one in silence."""
    photos = make_photos(tmp_path)
    (tmp_path / 'middle.py').write_text(
        "_base_ = ['./base.py']\nnum_labels = 3\nmodel = dict(head=dict(num_classes=num_labels))\n"
    )
    result = train(photos, tmp_path / 'run', text='')
    assert result.returncode == 0, result.stderr[-2000:]
    own = tmp_path / 'own.py'
    for text, told in (
        ("_base_ = ['./middle.py']\nnum_labels = 5\n", True),
        ("_base_ = ['./middle.py']\nnum_labels = 3\n", False),
        ("_base_ = ['./middle.py']\nnum_labels = 5\nuse = dict(n=num_labels)\n", False),
        ("_base_ = ['./middle.py']\nother = 5\n", False),
    ):
        own.write_text(text)
        said = list(unread_variables(Config.fromfile(own)))
        assert bool(said) == told, text
        if told:
            assert 'num_labels is a variable of the base' in said[0]
            assert 'model.head.num_classes' in said[0]


def test_a_variable_of_a_recipe_given_anew_is_told(tmp_path):
    """By the name that the recipes go by in configs of one's own, from any folder."""
    own = tmp_path / 'own.py'
    own.write_text("_base_ = 'beit_mm::mae_pretrain.py'\nglobal_batch_size = 16\nnum_masked = 48\n")
    batch, masked = unread_variables(Config.fromfile(own))
    assert batch.endswith('; set custom_hooks.0.global_batch_size')
    assert 'model.head.num_masked, train_dataloader.dataset.pipeline.1.num_masked' in masked
    own.write_text("_base_ = 'beit_mm::mae_pretrain.py'\nglobal_batch_size = 4096\nmine = 1\n")
    assert list(unread_variables(Config.fromfile(own))) == []


@pytest.mark.parametrize('lost', ['bee', 'cow'])
def test_a_class_that_one_side_lacks_is_told(tmp_path, lost):
    """It would shift the labels of all classes behind it."""
    photos = make_photos(tmp_path)
    shutil.rmtree(photos / 'val' / lost)
    result = train(photos, tmp_path / 'run')
    assert result.returncode == 2
    assert f"{photos / 'val'} lacks '{lost}'" in result.stderr
    shutil.rmtree(photos / 'train' / lost)
    (photos / 'train/dog').mkdir()
    (photos / 'val/dog').mkdir()
    result = train(photos, tmp_path / 'run')
    assert result.returncode == 2
    assert f"{photos / 'train'} has no image of 'dog'" in result.stderr


def test_classes_that_never_occur_are_noted(photos, tmp_path):
    result = train(photos, tmp_path / 'run', 'model.head.num_classes=5')
    assert result.returncode == 0
    assert 'model.head.num_classes is 5' in result.stdout
    assert '2 will never be seen' in result.stdout
