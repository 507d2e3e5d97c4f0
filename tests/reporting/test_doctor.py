"""Every warning has a run that brings it about, and a healthy run brings none."""

import time

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS
from mmengine.runner import Runner
from small_runs import pretraining, train

from beit_mm.reporting import look_for_what_is_wrong, read_run

pytestmark = pytest.mark.slow


def findings(work_dir) -> dict[str, str]:
    """Title -> evidence, but of the time, which is the machine's."""
    found = look_for_what_is_wrong(read_run(work_dir))
    return {one.title: one.evidence for one in found if 'waits for data' not in one.title}


def test_nothing_is_wrong_with_a_healthy_run(tmp_path):
    work_dir = train(pretraining(tmp_path))
    assert findings(work_dir) == {}
    stage = read_run(work_dir).stages[0]
    assert stage.recipe.name == 'own/pretrain.py'
    assert stage.val['mim/acc'].last > stage.val['mim/commonest'].last + 20


def test_what_does_not_learn_is_no_better_than_the_commonest_token(tmp_path):
    cfg = pretraining(tmp_path)
    cfg.optim_wrapper.optimizer.lr = 1e-9
    found = findings(train(cfg))
    assert 'The loss does not fall.' in found
    said = found['It predicts hidden tokens no better than the same answer everywhere would.']
    assert 'of the validation images' in said
    assert any('times too low for its batch' in title for title in found)


def test_few_codes_of_many_are_a_collapse(tmp_path):
    cfg = pretraining(tmp_path, vocab_size=512, val=[f'{index:03d}.png' for index in range(40)])
    work_dir = train(cfg)
    val = read_run(work_dir).stages[0].val
    used, perplexity = val['mim/codes_used'].last, val['mim/perplexity'].last
    said = findings(work_dir)['The codebook has collapsed.']
    assert f'{used:.0f} of 512 codes, {100 * used / 512:.3g} %' in said
    # So many places could show 512 (1 - (511 / 512) ** 240) codes.
    assert f'as if there were {perplexity:.0f}, where these images could show 192 of 512' in said


def test_steps_that_are_not_finite_are_told_with_their_iterations(tmp_path):
    cfg = pretraining(tmp_path)
    cfg.custom_hooks = [dict(type=PoisonHook, places=(30, 31, 32))]
    found = findings(train(cfg))
    said = found['Loss or gradient was not finite in 3 steps, which were left out.']
    assert 'Iteration 31, 32, 33;' in said


class PoisonHook(Hook):
    """Makes images NaN at some iterations."""

    priority = 'LOW'

    def __init__(self, places):
        self.places = places

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter in self.places:
            data_batch['inputs'][0] = data_batch['inputs'][0].float() * float('nan')


class JumpHook(Hook):
    """Makes one step far too long."""

    priority = 'VERY_LOW'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 44:
            for group in runner.optim_wrapper.param_groups:
                group['lr'] *= 2000


def test_a_jump_of_the_loss_is_a_spike_with_its_iteration(tmp_path):
    cfg = pretraining(tmp_path)
    cfg.custom_hooks = [dict(type=JumpHook)]
    cfg.default_hooks.logger.interval, cfg.log_processor.window_size = 1, 1
    cfg.train_cfg.val_interval = 15
    found = findings(train(cfg))
    # The step at 44, counted from 0, is the 45th; the loss after it is that of the 46th.
    assert found['The loss spikes.'].startswith('At iteration 46')
    assert 'mim/acc was' in found['Validation was better earlier in the run.']


@TRANSFORMS.register_module()
class Sleepy:
    """A slow disk."""

    def __call__(self, results):
        time.sleep(0.05)
        return results


class SlowStep(Hook):
    """A large network, long after its images have come."""

    priority = 'LOW'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.5)


@pytest.mark.parametrize('slow', ['disk', 'network'])
def test_a_slow_disk_is_waited_for(tmp_path, slow):
    cfg = pretraining(tmp_path)
    cfg.train_cfg.update(max_iters=6, val_interval=6)
    cfg.param_scheduler[1].T_max = 1
    if slow == 'disk':
        cfg.train_dataloader.dataset.pipeline.append(dict(type='Sleepy'))
    else:
        cfg.custom_hooks = [dict(type=SlowStep)]
    waits = [
        (one.level, one.title.split()[-4], one.evidence)
        for one in look_for_what_is_wrong(read_run(train(cfg)))
        if one.title.startswith('It waits for data')
    ]
    assert len(waits) == (slow == 'disk')
    for level, share, evidence in waits:
        assert level == 'wrong'
        assert 50 <= int(share.rstrip('%')) <= 100
        assert 'num_workers is 0' in evidence


@pytest.mark.parametrize(('length', 'word'), [(120, 'longer'), (25, 'shorter')])
def test_a_schedule_of_another_length_is_told(tmp_path, length, word):
    cfg = pretraining(tmp_path)
    cfg.param_scheduler[1].T_max = length
    found = findings(train(cfg))
    title = f'The learning rate is off its schedule: that is {word} than the run.'
    assert found[title].startswith(f'param_scheduler ends at iteration {length + 5}, the run at 60')


def test_a_rate_that_does_not_go_with_the_batch_is_told(tmp_path):
    cfg = pretraining(tmp_path)
    cfg.optim_wrapper.optimizer.lr = 0.5
    found = findings(train(cfg))
    (title,) = [title for title in found if 'too high for its batch' in title]
    assert found[title] == (
        'A step sees 16 images at a rate of 0.5; the recipe own/pretrain.py has 0.001 for 32.'
    )


def test_a_norm_that_is_always_clipped_is_told(tmp_path):
    cfg = pretraining(tmp_path)
    cfg.optim_wrapper.clip_grad.max_norm = 1e-4
    assert 'The gradient is clipped in every step.' in findings(train(cfg))


def test_broken_images_are_counted_and_named(tmp_path):
    cfg = pretraining(tmp_path, broken=4)
    cfg.default_hooks.broken_images.max_share = 1.0
    found = findings(train(cfg))
    (title,) = [title for title in found if title.startswith('Broken images were')]
    assert title.endswith('of 4 files.')
    assert 'First: ' + str(tmp_path / 'photos') in found[title]


def test_validation_far_behind_training_is_told(tmp_path):
    noise = [f'{index:03d}.png' for index in range(64, 72)]
    found = findings(train(pretraining(tmp_path, val=noise, noisy=8)))
    assert 'It predicts worse on images that it has not trained on.' in found


class Interrupt(Hook):
    """What a cluster does to a job."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 24:
            raise KeyboardInterrupt


def test_a_run_that_was_cut_is_told_until_it_has_gone_on(tmp_path):
    cfg = pretraining(tmp_path)
    cfg.default_hooks.checkpoint.interval = 10
    cfg.custom_hooks = [dict(type=Interrupt)]
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    title = 'The run did not reach its end: it was stopped, or is still running.'
    assert 'iteration 24 of 60' in findings(cfg.work_dir)[title]
    cut = next(o for o in look_for_what_is_wrong(read_run(cfg.work_dir)) if o.title == title)
    assert cut.advice == '--resume goes on from iter_20.pth.'

    again = pretraining(tmp_path)
    again.resume = True
    # Folders are named by the second.
    time.sleep(1.1)
    assert findings(train(again)) == {}
    stage = read_run(again.work_dir).stages[0]
    assert stage.told.starts == 2
    assert stage.train['loss'].steps.tolist() == list(range(2, 61, 2))


@DATA_SAMPLERS.register_module()
class Promising(torch.utils.data.Sampler):
    """Says that there are 24 samples, and gives ``given``."""

    def __init__(self, dataset, seed=None, given=24):
        self.given = given

    def __iter__(self):
        return iter(range(self.given))

    def __len__(self):
        return 24


class Toy(BaseModel):
    """Weighs its input."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, inputs, mode='loss'):
        return dict(loss=((inputs * self.weight).sum(-1) - 1).square().mean())


@pytest.mark.parametrize('given', [24, 12])
def test_an_epoch_of_fewer_batches_than_promised_is_told(tmp_path, given):
    torch.manual_seed(0)
    Runner(
        model=Toy(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.randn(3)) for _ in range(24)], batch_size=2,
            num_workers=0, sampler=dict(type='Promising', given=given),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=2)),
        experiment_name=f'promising_{given}_{tmp_path.name}',
    ).train()  # fmt: skip
    found = findings(tmp_path)
    said = (
        'Epoch 2 had begun by iteration 8; an epoch has 12 iterations, so that it should begin at '
        '13.'
    )
    assert found.get('An epoch ended early.') == (said if given == 12 else None)
