"""Resuming with another config: what differs is listed and takes effect."""

import copy
import json
import shutil
from types import SimpleNamespace

import mmengine
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import (
    CosineAnnealingLR,
    CosineAnnealingMomentum,
    LinearLR,
    OptimWrapper,
    OptimWrapperDict,
    ReduceOnPlateauLR,
    build_optim_wrapper,
)
from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from mmengine.utils import digit_version
from PIL import Image
from toy_run import config, make_photos, train, write_config

from beit_mm import engine
from beit_mm.checkpoints import CheckpointError
from beit_mm.config_text import settings_in_text
from beit_mm.engine import ResumedChangesHook
from beit_mm.engine.running.resumed_changes import differences


@pytest.fixture(scope='module')
def stopped(tmp_path_factory):
    """Four of eight iterations, with a warm-up and a cosine."""
    root = make_photos(tmp_path_factory.mktemp('photos'))
    result = train(root, root / 'run', text=SCHEDULE + stop_at(4))
    assert result.returncode == 0, result.stderr[-2000:]
    return root


SCHEDULE = """
param_scheduler = dict(_delete_=True, type='PolyLR', by_epoch=False, begin=0, end=8, eta_min=0.0)
"""


def polynomial(rate, end, first, last):
    """mmengine's of power 1, which is 0 one iteration before its end."""
    return [rate * max(0.0, 1 - done / (end - 1)) for done in range(first, last)]


def stop_at(iterations):
    return f'train_cfg = dict(max_iters={iterations}, val_interval=100)\n'


@pytest.fixture
def resume(stopped, tmp_path):
    """Go on with a copy of the run; what was said, and the learning rate of each iteration."""

    def resume(text='', photos=stopped):
        for name in ('train', 'val'):
            if not (tmp_path / name).exists():
                shutil.copytree(photos / name, tmp_path / name)
        shutil.copytree(stopped / 'run', tmp_path / 'run')
        marker = tmp_path / 'run/last_checkpoint'
        marker.write_text(str(tmp_path / 'run/iter_4.pth'))
        log = 'default_hooks = dict(logger=dict(interval=1))\n'
        result = train(tmp_path, tmp_path / 'run', text=text + log, resume=True)
        rates = {}
        for path in sorted((tmp_path / 'run').glob('*/vis_data/scalars.json')):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            rates |= {row['step']: row['lr'] for row in rows if 'lr' in row}
        return result, rates

    return resume


def test_nothing_is_said_where_nothing_differs(resume):
    result, rates = resume(SCHEDULE + stop_at(8) + 'my_variable = 3\n')
    assert result.returncode == 0, result.stderr[-2000:]
    changed = [line for line in result.stdout.splitlines() if ' -> ' in line]
    # The photos of this copy lie elsewhere.
    assert {line.split(':')[0].strip() for line in changed} == {
        'train_cfg.max_iters', 'train_dataloader.dataset.data_root',
        'val_dataloader.dataset.data_root',
    }  # fmt: skip
    assert [rates[step] for step in (5, 6, 7, 8)] == pytest.approx(polynomial(2e-3, 8, 4, 8))


def test_a_new_learning_rate_is_taken_where_the_run_stands(resume):
    new = 'optim_wrapper = dict(optimizer=dict(lr=1e-2, weight_decay=0.3))\n'
    result, rates = resume(SCHEDULE + stop_at(8) + new)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'optim_wrapper.optimizer.lr: 0.002 -> 0.01, taken' in result.stdout
    assert 'optim_wrapper.optimizer.weight_decay: 0.05 -> 0.3, taken' in result.stdout
    assert [rates[step] for step in (5, 6, 7, 8)] == pytest.approx(polynomial(1e-2, 8, 4, 8))


def test_a_longer_run_has_a_longer_schedule(resume, tmp_path):
    longer = SCHEDULE.replace('end=8', 'end=16')
    result, rates = resume(longer + stop_at(10))
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'param_scheduler.end: 8 -> 16, taken, and the schedules laid out anew' in result.stdout
    assert [rates[step] for step in range(5, 11)] == pytest.approx(polynomial(2e-3, 16, 4, 10))
    saved = torch.load(tmp_path / 'run/iter_10.pth', weights_only=False)
    assert saved['optimizer']['param_groups'][0]['weight_decay'] == 0.05


def test_another_optimizer_is_refused(resume):
    other = "optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1))\n"
    result, _ = resume(SCHEDULE + stop_at(8) + other)
    assert result.returncode == 2
    assert "optim_wrapper.optimizer.type was 'beit_mm.FusedAdamW' and is 'SGD'" in result.stderr


@pytest.mark.parametrize('change', [-20, +9])
def test_photos_come_and_go(tmp_path, change):
    """A run that counts epochs goes on at the beginning of its epoch, and finishes them all."""
    photos = make_photos(tmp_path)
    by_epoch = """
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs={}, val_interval=1)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=True, T_max=4,
                       convert_to_iter_based=True)
train_dataloader = dict(sampler=dict(type='DefaultSampler'))
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1), logger=dict(interval=1))
"""
    result = train(photos, tmp_path / 'run', text=by_epoch.format(2))
    assert result.returncode == 0, result.stderr[-2000:]
    files = sorted((photos / 'train').glob('*/*.png'))
    for path in files[: max(0, -change)]:
        path.unlink() if path.name != '0.png' else None
    for index in range(max(0, change)):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(photos / f'train/bee/new{index}.png')
    now = len(list((photos / 'train').glob('*/*.png')))
    assert now != 36
    result = train(photos, tmp_path / 'run', text=by_epoch.format(4), resume=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert f'train_dataloader.dataset had 36 samples and has {now}' in result.stdout
    rows = []
    for path in sorted((tmp_path / 'run').glob('*/vis_data/scalars.json'))[-1:]:
        rows += [json.loads(line) for line in path.read_text().splitlines()]
    per_epoch = -(-now // 8)
    steps = [row['iter'] if 'iter' in row else row['step'] for row in rows if 'loss' in row]
    assert steps == list(range(2 * per_epoch + 1, 4 * per_epoch + 1))
    assert (tmp_path / 'run/epoch_4.pth').is_file()


def test_a_run_that_counts_iterations_goes_on_with_other_photos_and_keeps_its_seed(
    stopped, resume, tmp_path
):
    shutil.copytree(stopped / 'train', tmp_path / 'train')
    (tmp_path / 'train/ant/3.png').unlink()
    result, rates = resume(SCHEDULE + stop_at(8) + 'randomness = dict(seed=9)\n')
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'randomness.seed: 0 -> 9, kept at 0\n' in result.stdout
    assert 'had 36 samples and has 35: the run goes on at its iteration, in another order' in (
        result.stdout
    )
    assert [rates[step] for step in (5, 6, 7, 8)] == pytest.approx(polynomial(2e-3, 8, 4, 8))


def by_epochs(number, batch_size, accumulated=1):
    return f"""
optim_wrapper = dict(accumulative_counts={accumulated})
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs={number}, val_interval=100)
param_scheduler = dict(_delete_=True, type='PolyLR', by_epoch=True, end=4, eta_min=0.0,
                       convert_to_iter_based=True)
train_dataloader = dict(sampler=dict(type='DefaultSampler'), batch_size={batch_size})
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1), logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def two_epochs(tmp_path_factory):
    """36 photos in batches of 4: nine iterations an epoch, of each a checkpoint."""
    root = make_photos(tmp_path_factory.mktemp('two_epochs'))
    result = train(root, root / 'run', text=by_epochs(2, 4))
    assert result.returncode == 0, result.stderr[-2000:]
    return root


@pytest.mark.parametrize(
    ('checkpoint', 'begin'), [('iter_9.pth', 3), ('iter_12.pth', 4), ('iter_10.pth', None)]
)
def test_other_batches_go_on_behind_the_images_seen(two_epochs, tmp_path, checkpoint, begin):
    """Nine iterations an epoch at first, then three."""
    shutil.copytree(two_epochs / 'run', tmp_path / 'run')
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run' / checkpoint))
    result = train(two_epochs, tmp_path / 'run', text=by_epochs(4, 12), resume=True)
    rows = []
    for path in sorted((tmp_path / 'run').glob('*/vis_data/scalars.json'))[1:]:
        rows += [json.loads(line) for line in path.read_text().splitlines()]
    if begin is None:
        assert result.returncode == 2
        assert 'an iteration had 4 images and would have 12' in result.stderr
        return
    assert result.returncode == 0, result.stderr[-2000:]
    rates = [row['lr'] for row in rows if 'loss' in row]
    assert rates == pytest.approx(polynomial(2e-3, 12, begin, 12))


def test_the_last_batch_of_an_epoch_may_have_been_short(tmp_path):
    """36 photos in batches of 8 are five iterations, of 40 places; in batches of 4 nine."""
    photos = make_photos(tmp_path)
    result = train(photos, tmp_path / 'run', text=by_epochs(1, 8))
    assert result.returncode == 0, result.stderr[-2000:]
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/iter_5.pth'))
    result = train(photos, tmp_path / 'run', text=by_epochs(2, 4), resume=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'at iteration 9 in place of 5' in result.stdout
    assert 'samples and has' not in result.stdout
    assert (tmp_path / 'run/iter_18.pth').is_file()
    assert not (tmp_path / 'run/iter_9.pth').exists(), 'nothing of the first epoch is seen again'


def test_photos_go_in_the_middle_of_accumulated_gradients(tmp_path):
    """Steps are counted from where the run goes on, and its last one is made."""
    photos = make_photos(tmp_path)
    result = train(photos, tmp_path / 'run', text=by_epochs(2, 4, accumulated=4))
    assert result.returncode == 0, result.stderr[-2000:]
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/iter_14.pth'))
    for path in sorted((photos / 'train/ant').glob('*.png'))[:4]:
        path.unlink()
    result = train(photos, tmp_path / 'run', text=by_epochs(4, 4, accumulated=4), resume=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'had 36 samples and has 32' in result.stdout
    assert 'are left out: the run goes on elsewhere' in result.stdout
    assert 'count on' not in result.stdout
    assert (tmp_path / 'run/iter_32.pth').is_file()


class Loop:
    """Where a run stands, as far as schedules ask."""

    def __init__(self, iteration):
        self._iter = iteration


def run_of(schedule, iteration=0):
    """A Runner's optimizer and schedules, and the hook that has seen them new."""
    weight = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.1, momentum=0.9))
    runner = SimpleNamespace(
        optim_wrapper=wrapper, param_schedulers=schedule(wrapper), train_loop=Loop(iteration)
    )
    hook = ResumedChangesHook()
    hook.before_run(runner)
    return runner, hook


def test_schedules_laid_out_anew_are_what_they_were_bit_for_bit():
    def schedule(wrapper):
        return [
            LinearLR(wrapper, start_factor=0.01, begin=0, end=10, by_epoch=False),
            CosineAnnealingLR(wrapper, T_max=40, begin=10, end=50, by_epoch=False),
            CosineAnnealingMomentum(wrapper, T_max=50, eta_min=0.5, by_epoch=False),
        ]

    runner, hook = run_of(schedule, iteration=33)
    for _ in range(33):
        for scheduler in runner.param_schedulers:
            scheduler.step()
    before = copy.deepcopy([g | {'params': 0} for g in runner.optim_wrapper.param_groups])
    states = [scheduler.state_dict() for scheduler in runner.param_schedulers]
    states = copy.deepcopy(states)
    hook._lay_out_anew(runner)
    assert [g | {'params': 0} for g in runner.optim_wrapper.param_groups] == before
    assert [scheduler.state_dict() for scheduler in runner.param_schedulers] == states


def test_a_schedule_that_follows_a_figure_keeps_its_rate():
    runner, hook = run_of(lambda w: [ReduceOnPlateauLR(w, monitor='loss', patience=0)], 60)
    for _ in range(4):
        runner.param_schedulers[0].step({'loss': 1.0})
    rate = runner.optim_wrapper.param_groups[0]['lr']
    assert rate < 0.1
    hook._lay_out_anew(runner)
    assert runner.optim_wrapper.param_groups[0]['lr'] == rate
    assert 'stay the checkpoint' in hook._fate(runner, 'optim_wrapper.optimizer.lr', 0.1)
    assert hook._fate(runner, 'train_cfg.val_interval', 3) == 'taken'


@MODELS.register_module()
class TwoParts(BaseModel):
    """Each with an optimizer of its own."""

    def __init__(self):
        super().__init__(data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'))
        self.one, self.other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        colors = inputs.float().mean((2, 3)) / 255
        return dict(loss=(self.one(colors) - self.other(colors)).square().mean())

    def train_step(self, data, optim_wrapper):
        losses = self(**self.data_preprocessor(data, True))
        optim_wrapper.zero_grad()
        losses['loss'].backward()
        for wrapper in optim_wrapper.values():
            wrapper.step()
        return losses


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneForEachPart:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.settings = dict(optim_wrapper_cfg, type='OptimWrapper')

    def __call__(self, model):
        parts = dict(one=model.one, other=model.other)
        built = {name: build_optim_wrapper(part, self.settings) for name, part in parts.items()}
        return OptimWrapperDict(**built)


# What validates is of a classifier, and NonFiniteHook of one optimizer.
WITH_TWO_PARTS = """
model = dict(_delete_=True, type='TwoParts')
val_cfg = val_dataloader = val_evaluator = test_cfg = test_dataloader = test_evaluator = None
optim_wrapper = dict(
    _delete_=True, constructor='OneForEachPart', optimizer=dict(type='SGD', lr={rate}))
param_scheduler = None
default_hooks = dict(
    _delete_=True,
    checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=1),
    logger=dict(type='LoggerHook', interval=1), timer=dict(type='IterTimerHook'),
    runtime_info=dict(type='beit_mm.RuntimeInfoHook'))
"""


def test_several_optimizers_keep_the_rates_of_the_checkpoint(tmp_path):
    photos = make_photos(tmp_path)

    def train_two(iterations, rate, resume):
        text = WITH_TWO_PARTS.format(rate=rate) + stop_at(iterations)
        cfg = Config.fromfile(write_config(photos, text))
        cfg.update(work_dir=str(tmp_path / 'run'), launcher='none', resume=resume)
        cfg.experiment_name = f'two_parts_{resume}'
        engine.train(cfg)
        return (max((tmp_path / 'run').glob('*/*.log'))).read_text()

    train_two(2, 0.1, resume=False)
    log = train_two(3, 0.3, resume=True)
    said = "lr: 0.1 -> 0.3, taken, but for rates and schedules, which stay the checkpoint's"
    assert f'optim_wrapper.optimizer.{said}' in log
    saved = torch.load(tmp_path / 'run/iter_3.pth', weights_only=False)['optimizer']
    assert {n: s['param_groups'][0]['lr'] for n, s in saved.items()} == dict(one=0.1, other=0.1)


@pytest.mark.parametrize(
    ('before', 'now', 'refused'),
    [
        ("'AdamW'", "'torch.optim.AdamW'", False),
        ("'AdamW'", "'beit_mm.FusedAdamW'", False),
        ("'AdamW'", "'Adam'", False),
        ("'AdamW'", "'SGD'", True),
    ],
)
def test_an_optimizer_goes_on_with_a_state_like_its_own(before, now, refused):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type=now.strip("'")))))
    kind = OPTIMIZERS.get(now.strip("'"))
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.ones(3)
    saved = torch.optim.AdamW([weight])
    saved.step()
    runner = SimpleNamespace(
        cfg=cfg, _load_from='a.pth', optim_wrapper=OptimWrapper(kind([weight], lr=0.1))
    )
    hook = ResumedChangesHook()
    hook.saved = settings_in_text(f'optim_wrapper = dict(optimizer=dict(type={before}))')
    if refused:
        with pytest.raises(CheckpointError, match="was 'AdamW' and is 'SGD'"):
            hook._refuse_other_state(runner, dict(optimizer=saved.state_dict()))
    else:
        hook._refuse_other_state(runner, dict(optimizer=saved.state_dict()))


@pytest.mark.skipif(
    digit_version(mmengine.__version__) < digit_version('0.10.8'),
    reason='mmengine 0.10.7 cannot write such a config into a checkpoint',
)
def test_types_that_are_classes_are_the_same_on_resuming(tmp_path):
    """As configs in Python's own style have them."""
    text = 'from torch.optim import AdamW\n'
    lazy = text + 'optim_wrapper = dict(optimizer=dict(type=AdamW))\n'
    photos = make_photos(tmp_path)
    assert train(photos, tmp_path / 'run', text=lazy).returncode == 0
    result = train(photos, tmp_path / 'run', text=lazy, resume=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert 'AdamW' not in result.stdout


def test_what_mmengine_prints_is_read_back_without_running_it(tmp_path):
    cfg = config(tmp_path)
    cfg.hook = dict(limit=float('inf'), names={'a.b': 1, 2: [dict(x=(1, 2.5)), None, True]})
    found = settings_in_text(cfg.pretty_text)
    assert found['optim_wrapper'] == cfg.to_dict()['optim_wrapper']
    assert found['hook']['names'] == {'a.b': 1, '2': [{'x': (1, 2.5)}, None, True]}
    assert list(differences(found, cfg)) == []
    assert settings_in_text('m = dict(x, a=1)') == {'m': {'a': 1}}
    assert settings_in_text('x = open("/etc/passwd").read()') == {'x': "open('/etc/passwd').read()"}


def test_differences():
    before = dict(model=dict(a=1, b=[1, 2]), other=3, train_dataloader=dict(num_workers=2, c=1))
    now = Config(dict(model=dict(a=2, b=(1, 2), d=None), train_dataloader=dict(num_workers=0, c=2)))
    assert list(differences(before, now)) == [
        ('model.a', 1, 2), ('train_dataloader.c', 1, 2)
    ]  # fmt: skip


def test_mixed_precision_that_comes_or_goes_is_told(stopped, resume):
    half = "optim_wrapper = dict(type='beit_mm.BFloat16OptimWrapper')\n"
    result, _ = resume(SCHEDULE + stop_at(5) + half)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "optim_wrapper.type: None -> 'beit_mm.BFloat16OptimWrapper', taken" in result.stdout
