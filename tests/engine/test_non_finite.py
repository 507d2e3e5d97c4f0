"""NaN and infinity in input, loss, gradient and weight, at a step of choice."""

import contextlib
import itertools
import json
import math
import signal
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn

from beit_mm.checkpoints import read_checkpoint
from beit_mm.datasets import SeededDataset
from beit_mm.datasets.places import Place
from beit_mm.engine import CodebookHook, RunStopped
from beit_mm.engine.running.exact_resume import exact_train_cfg
from beit_mm.engine.running.non_finite import Step

run_numbers = itertools.count()


class Photos:
    """16 samples with the file names that MMPretrain's have."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return dict(
            inputs=torch.randn(4),
            data_samples=BaseDataElement(metainfo=dict(img_path=f'photo_{index}.jpg')),
        )


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 1)
        self.spoil_loss = 0.0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        inputs = torch.stack(list(inputs)) if isinstance(inputs, (list, tuple)) else inputs
        return dict(loss=self.linear(inputs).square().mean() + self.spoil_loss)


class Spoil(Hook):
    """Put a value where it does not belong in some iterations, and write down the weights."""

    def __init__(self, where, value, iterations):
        self.where, self.value, self.iterations = where, value, iterations
        self.weights, self.files = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = runner.model
        model.spoil_loss = 0.0
        self.files.append([sample.img_path for sample in data_batch['data_samples']])
        if runner.iter + 1 not in self.iterations:
            return
        if self.where == 'input':
            data_batch['inputs'][0][1] = self.value
        elif self.where == 'loss':
            # Its derivative is finite.
            model.spoil_loss = self.value
        elif self.where == 'weight':
            model.linear.weight.data[0, 2] = self.value
        else:
            self.handle = model.linear.weight.register_hook(lambda grad: grad * self.value)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.where == 'gradient' and runner.iter + 1 in self.iterations:
            self.handle.remove()
        state = runner.optim_wrapper.optimizer.state.values()
        self.weights.append(
            [p.detach().clone() for p in runner.model.parameters()]
            + [value.clone() for s in state for value in s.values()]
        )


class WithBatchNorm(Model):
    def __init__(self):
        super().__init__()
        self.linear = nn.Sequential(nn.BatchNorm1d(4), self.linear)


def train(
    work_dir,
    spoil,
    max_in_a_row=3,
    batch=4,
    clip=True,
    interval=2,
    optimizer='AdamW',
    model=Model,
    by_epoch=True,
):
    torch.manual_seed(0)
    runner = Runner(
        model=model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Photos(),
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=exact_train_cfg(
            dict(by_epoch=True, max_epochs=3) if by_epoch else dict(by_epoch=False, max_iters=12)
        ),
        optim_wrapper=dict(
            optimizer=dict(type=optimizer, lr=0.01, **(
                dict(momentum=0.9) if optimizer == 'SGD' else {})),
            clip_grad=dict(max_norm=1.0) if clip else None,
        ),
        default_hooks=dict(
            runtime_info=dict(type='beit_mm.RuntimeInfoHook'),
            checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=interval),
            non_finite=dict(type='beit_mm.NonFiniteHook', max_in_a_row=max_in_a_row),
        ),
        custom_hooks=[
            dict(type='beit_mm.PublicWeightsHook'),
            dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=batch),
            spoil,
        ],
        randomness=dict(seed=7),
        log_level='WARNING',
        experiment_name=f'test_non_finite_{next(run_numbers)}',
    )  # fmt: skip
    runner.train()
    return runner


def same(left, right) -> bool:
    return len(left) == len(right) and all(map(torch.equal, left, right))


@pytest.mark.parametrize('clip', [True, False])
@pytest.mark.parametrize('optimizer', ['AdamW', 'SGD', 'beit_mm.FusedAdamW'])
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('where', ['input', 'loss', 'gradient'])
def test_a_step_with_it_is_left_out(tmp_path, where, value, optimizer, clip):
    """Weights, momentum and step count stay; the steps after it are taken."""
    spoil = Spoil(where, value, [5])
    runner = train(tmp_path, spoil, optimizer=optimizer, clip=clip)
    weights = spoil.weights
    moved = [not same(*pair) for pair in itertools.pairwise(weights)]
    assert moved == [True] * 3 + [False] + [True] * 7
    assert all(tensor.isfinite().all() for state in weights for tensor in state)
    assert runner.message_hub.get_info('skipped_steps') == 1
    assert [path.name for path in tmp_path.glob('non_finite/*')] == ['iter_5.json']
    assert read_checkpoint(tmp_path / 'iter_12.pth')['message_hub']['runtime_info'][
        'skipped_steps'] == 1  # fmt: skip


def test_a_step_is_left_out_where_compiling_has_taken_the_hooks_of_optimizers(
    tmp_path, monkeypatch
):
    """As `torch.compile` of PyTorch 2.1 does, in all that a process trains after it."""
    step = torch.optim.AdamW.step
    while getattr(step, 'hooked', False) and hasattr(step, '__wrapped__'):
        step = step.__wrapped__
    monkeypatch.setattr(torch.optim.AdamW, 'step', step)
    monkeypatch.setattr(step, 'hooked', True, raising=False)
    optimizer, heard = torch.optim.AdamW([nn.Parameter(torch.ones(1))]), []
    optimizer.register_step_pre_hook(lambda *_: heard.append(1))
    optimizer.step()
    assert not heard
    spoil = Spoil('gradient', math.inf, [5])
    runner = train(tmp_path, spoil)
    assert all(tensor.isfinite().all() for state in spoil.weights for tensor in state)
    assert runner.message_hub.get_info('skipped_steps') == 1


def test_nothing_else_changes(tmp_path):
    """Without such numbers the run is the one that it is without the hook, bit for bit."""
    watched, alone = Spoil('input', 0.0, []), Spoil('input', 0.0, [])
    train(tmp_path / 'watched', watched)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('beit_mm.engine.NonFiniteHook.before_train', lambda *_: None)
        patch.setattr('beit_mm.engine.NonFiniteHook.after_train_iter', lambda *_, **__: None)
        train(tmp_path / 'alone', alone)
    assert all(map(same, watched.weights, alone.weights))
    assert not (tmp_path / 'watched/non_finite').exists()


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_running_figures_stay_finite(tmp_path, value):
    """Those of the spoilt value's column stay; the checkpoints, which are read again, are saved."""
    runner = train(tmp_path, Spoil('input', value, [5]), model=WithBatchNorm)
    norm = runner.model.linear[0]
    assert norm.running_mean.isfinite().all()
    assert norm.running_var.isfinite().all()
    assert norm.running_mean.ne(0).all()
    assert runner.message_hub.get_info('skipped_steps') == 1
    assert (tmp_path / 'iter_12.pth').is_file()


def test_an_accumulated_step_is_left_out_as_a_whole(tmp_path):
    """Iterations 5 to 8 make a step; 6 is spoiled, and all four are in the report."""
    spoil = Spoil('input', math.nan, [6])
    train(tmp_path, spoil, batch=16)
    moved = [not same(*pair) for pair in itertools.pairwise(spoil.weights)]
    assert moved == [False] * 2 + [True] + [False] * 4 + [False] * 3 + [True]
    (batches,) = json.loads((tmp_path / 'non_finite/iter_8.json').read_text())['ranks']
    assert [batch['iteration'] for batch in batches] == [4, 5, 6, 7]
    assert [math.isfinite(batch['loss']) for batch in batches] == [True, False, True, True]


def test_the_report_repeats_the_batch(tmp_path):
    class Remember(Spoil):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter + 1 == 7:
                self.inputs = [part.clone() for part in data_batch['inputs']]
            super().before_train_iter(runner, batch_idx, data_batch)

    spoil = Remember('gradient', math.nan, [7])
    train(tmp_path, spoil)
    report = json.loads((tmp_path / 'non_finite/iter_7.json').read_text())
    assert (report['iteration'], report['seed'], report['processes']) == (7, 7, 1)
    assert report['last_checkpoint'] == str(tmp_path / 'iter_6.pth')
    assert math.isnan(report['gradient_norm'])
    ((batch,),) = report['ranks']
    assert [photo['file'] for photo in batch['photos']] == spoil.files[6]
    samples = [SeededDataset(Photos())[Place(*photo['place'])] for photo in batch['photos']]
    assert [sample['data_samples'].img_path for sample in samples] == spoil.files[6]
    assert same([sample['inputs'] for sample in samples], list(spoil.inputs))


def test_a_norm_that_arrives_later_is_acted_on_one_step_later(tmp_path, monkeypatch):
    """As on a GPU: the step is left out at once, by the optimizer, and told after the next one."""
    told = []

    class Late:
        def synchronize(self):
            told.append(len(spoil.weights))

    taken = Step.taken
    monkeypatch.setattr(Step, 'taken', lambda *args: taken(*args)._replace(arrived=Late()))
    spoil = Spoil('gradient', math.nan, [5, 12])
    runner = train(tmp_path, spoil, optimizer='beit_mm.FusedAdamW')
    moved = [not same(*pair) for pair in itertools.pairwise(spoil.weights)]
    assert moved == [True] * 3 + [False] + [True] * 6 + [False]
    # Each step's norm is asked for once, after the next step; the last one's at the end.
    assert told == [*range(2, 13), 12]
    assert sorted(p.name for p in tmp_path.glob('non_finite/*')) == ['iter_12.json', 'iter_5.json']
    report = json.loads((tmp_path / 'non_finite/iter_5.json').read_text())
    assert report['iteration'] == 5
    assert [batch['iteration'] for batch in report['ranks'][0]] == [4]
    assert runner.message_hub.get_info('skipped_steps') == 2


@pytest.mark.parametrize('where', ['input', 'loss', 'gradient'])
def test_so_many_in_a_row_stop_the_run(tmp_path, where):
    """Two, then a good one, then three."""
    spoil = Spoil(where, math.nan, [2, 3, 5, 6, 7, 8, 9])
    with pytest.raises(RunStopped, match=r'^3 steps in a row .*iteration 7\..*iter_7\.json'):
        train(tmp_path, spoil, interval=4)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_4.pth']
    assert len(list(tmp_path.glob('non_finite/*'))) == 5


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('error', [None, RunStopped, KeyboardInterrupt, MemoryError])
def test_a_process_that_lives_on_is_as_it_was(tmp_path, error, by_epoch):
    """Signals are whose they were, model and optimizer are not watched."""

    class Fail(Spoil):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.runner = runner
            if runner.iter == 2 and error is not None:
                # As in the middle of a step.
                optimizer = runner.optim_wrapper.optimizer
                optimizer.found_inf, optimizer.found_by_hook = torch.ones(()), True
                raise error

    def handlers():
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]

    before, fail = handlers(), Fail('input', 0.0, [])
    with pytest.raises(error) if error else contextlib.nullcontext():
        train(tmp_path, fail, model=WithBatchNorm, by_epoch=by_epoch)
    try:
        assert handlers() == before
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGUSR1), before, strict=True):
            signal.signal(number, handler)
    model, optimizer = fail.runner.model, fail.runner.optim_wrapper.optimizer
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not optimizer._optimizer_step_pre_hooks
    assert not hasattr(optimizer, 'found_inf')


def test_a_spoiled_weight_stops_the_run_and_is_not_saved(tmp_path):
    """It spoils all losses after it."""
    with pytest.raises(RunStopped, match='3 steps in a row'):
        train(tmp_path, Spoil('weight', math.nan, [5]), interval=4)
    content = read_checkpoint(tmp_path / 'iter_4.pth')
    assert all(tensor.isfinite().all() for tensor in content['state_dict'].values())
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_4.pth')


# ----------------------------------------------------------------------------------------------
# The codebook
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(('used', 'warns'), [(9, True), (10, False), (100, False), (None, False)])
def test_a_collapsing_codebook_warns(used, warns):
    lines = []
    runner = SimpleNamespace(model=nn.Identity(), logger=SimpleNamespace(warning=lines.append))
    runner.model.vocab_size, runner.model.quantizer = 100, 'gumbel'
    metrics = {} if used is None else {'tokenizer/codes_used': used, 'tokenizer/places': 10_000}
    CodebookHook(min_share=0.1).after_val_epoch(runner, metrics)
    assert len(lines) == warns
    assert all('9 of 100 tokens' in line and '10%' in line for line in lines)
    assert all("quantizer='vector'" in line for line in lines)


def test_few_images_cannot_show_all_codes():
    lines = []
    runner = SimpleNamespace(model=nn.Identity(), logger=SimpleNamespace(warning=lines.append))
    runner.model.vocab_size, runner.model.quantizer = 8192, 'vector'
    metrics = {'tokenizer/codes_used': 80, 'tokenizer/places': 400}
    CodebookHook().after_val_epoch(runner, metrics)
    assert lines == []
    CodebookHook().after_val_epoch(runner, {**metrics, 'tokenizer/codes_used': 30})
    assert '30 of 8192 tokens' in lines[0]


@pytest.mark.parametrize('share', [0, -0.1, 1.1])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ValueError, match=f'min_share is {share}'):
        CodebookHook(min_share=share)


@pytest.mark.parametrize(
    ('iteration', 'used', 'warns'), [(499, 3.0, True), (499, 4.0, False), (498, 3.0, False)]
)
def test_a_collapse_is_told_while_it_happens(iteration, used, warns):
    """Two images of 16 x 40 pixels and a stride of 8: 20 places show 18 of 100; every 500 steps."""
    lines = []
    runner = SimpleNamespace(
        model=nn.Identity(), iter=iteration, logger=SimpleNamespace(warning=lines.append)
    )
    runner.model.vocab_size, runner.model.stride, runner.model.quantizer = 100, 8, 'gumbel'
    batch = dict(inputs=torch.zeros(2, 3, 16, 40))
    outputs = dict(codes_used=torch.tensor(used))
    CodebookHook(min_share=0.2).after_train_iter(runner, iteration, batch, outputs)
    assert len(lines) == warns
    assert all('3 tokens where it could use 18' in line for line in lines)
