"""Hooks: the tokenizer's schedules and the global batch, in real runs of mmengine's Runner."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from beit_mm.engine import DVAEAnnealingHook, GlobalBatchSizeHook
from beit_mm.engine.running.tokenizer_hooks import cosine_anneal
from beit_mm.models import DiscreteVAE

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=200)

run_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _one_thread():
    """On tensors this small threads do nothing but wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(model, dataset, work_dir, batch_size, train_cfg, hooks, resume=False, **changes):
    """Train on the CPU as a user's config would; return the Runner."""
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dataset,
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=train_cfg,
        custom_hooks=hooks,
        resume=resume,
        log_level='WARNING',
        # mmengine keeps one logger a name for ever.
        experiment_name=f'test_hooks_{next(run_numbers)}',
        **{'optim_wrapper': dict(optimizer=dict(type='SGD', lr=0.1)), **changes},
    )
    runner.train()
    return runner


# ----------------------------------------------------------------------------------------------
# The annealing
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('progress', 'remaining'),
    [
        (0, 1),
        (1 / 4, (1 + math.sqrt(1 / 2)) / 2),
        (1 / 3, 3 / 4),
        (1 / 2, 1 / 2),
        (2 / 3, 1 / 4),
        (1, 0),
        (1.01, 0),
        (100, 0),
    ],
)
@pytest.mark.parametrize(('start', 'end'), [(1.0, 1 / 16), (0.0, 6.6), (-2.0, -2.0)])
def test_cosine_at_the_angles_whose_cosine_everyone_knows(start, end, progress, remaining):
    expected = end + (start - end) * remaining
    value = cosine_anneal(start, end, 1200, round(1200 * progress))
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)


@repeatable
@given(
    start=st.floats(-10, 10),
    end=st.floats(-10, 10),
    steps=st.integers(1, 300_000),
    at=st.lists(st.integers(0, 400_000), min_size=2, max_size=20).map(sorted),
)
def test_cosine_never_turns_back_nor_leaves_its_ends(start, end, steps, at):
    values = [cosine_anneal(start, end, steps, step) for step in at]
    direction = 1 if end >= start else -1
    # Rounding may undo a step where the cosine is flat.
    slack = 1e-12 * max(1, abs(start), abs(end))
    for value, following in itertools.pairwise(values):
        assert direction * (following - value) >= -slack
    for value in values:
        assert min(start, end) - slack <= value <= max(start, end) + slack


@pytest.mark.parametrize(('start', 'end', 'steps'), [(1.0, 1 / 16, 150), (0.5, 6.6, 37)])
def test_cosine_is_torchs_schedule(start, end, steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=start)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=end)
    for step in range(steps + 1):
        # torch's recursion multiplies ratio by ratio, which adds up rounding.
        assert cosine_anneal(start, end, steps, step) == pytest.approx(
            optimizer.param_groups[0]['lr'], rel=1e-9
        )
        optimizer.step()
        schedule.step()


class LossRecorder(Hook):
    """Keeps what the tokenizer's loss was computed with, iteration by iteration."""

    def __init__(self):
        self.seen = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen[runner.iter] = float(outputs['temperature']), float(outputs['beta'])


def train_tokenizer(work_dir, annealing, max_epochs, resume=False, **changes):
    """Temperature and KL weight that a real tokenizer's loss used, by iteration; two an epoch."""
    torch.manual_seed(0)
    tokenizer = DiscreteVAE(
        vocab_size=4, hidden=4, num_groups=2, blocks_per_group=1, decoder_input=4
    )
    recorder = LossRecorder()
    run(
        tokenizer,
        [dict(inputs=torch.rand(3, 4, 4)) for _ in range(4)],
        work_dir,
        batch_size=2,
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        hooks=[annealing, recorder],
        resume=resume,
        **changes,
    )
    return recorder.seen


ANNEALING = dict(
    type='beit_mm.DVAEAnnealingHook',
    temperature=[2.0, 0.5],
    temperature_steps=6,
    kl_weight=[1.0, 7.0],
    kl_steps=3,
)
# Half a cosine over six steps is 1, 1/2 + sqrt(3)/4, 3/4, 1/2, 1/4, 1/2 - sqrt(3)/4, 0, and over
# three the even ones of these.
SQRT = math.sqrt(3) / 4
EXPECTED = {
    0: (2.0, 1.0),
    1: (0.5 + 1.5 * (0.5 + SQRT), 7 - 6 * 0.75),
    2: (0.5 + 1.5 * 0.75, 7 - 6 * 0.25),
    3: (0.5 + 1.5 * 0.5, 7.0),
    4: (0.5 + 1.5 * 0.25, 7.0),
    5: (0.5 + 1.5 * (0.5 - SQRT), 7.0),
    6: (0.5, 7.0),
    7: (0.5, 7.0),
}


def assert_seen(seen, expected):
    assert list(seen) == list(expected)
    for step, values in expected.items():
        # Logged in float32.
        assert seen[step] == pytest.approx(values, rel=1e-6)


def test_tokenizer_is_trained_along_both_schedules(tmp_path):
    assert_seen(train_tokenizer(tmp_path, ANNEALING, max_epochs=4), EXPECTED)


def test_resumed_tokenizer_goes_on_where_it_was(tmp_path):
    checkpoints = dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)))
    first = train_tokenizer(tmp_path, ANNEALING, max_epochs=2, **checkpoints)
    assert_seen(first, {step: EXPECTED[step] for step in range(4)})
    resumed = train_tokenizer(tmp_path, ANNEALING, max_epochs=4, resume=True, **checkpoints)
    assert_seen(resumed, {step: EXPECTED[step] for step in range(4, 8)})


def test_values_depend_on_the_iteration_alone():
    """In any order of iterations, whatever the model held before, bare or wrapped."""
    hook = HOOKS.build(ANNEALING)
    bare = nn.Linear(1, 1)
    for model in (bare, nn.DataParallel(bare)):
        for step in (5, 0, 7, 3, 3, 1):
            bare.temperature = bare.kl_weight = -1.0
            # The number of the batch within its epoch must play no part.
            hook.before_train_iter(SimpleNamespace(model=model, iter=step), batch_idx=99)
            assert (bare.temperature, bare.kl_weight) == pytest.approx(EXPECTED[step], rel=1e-12)
    assert not hasattr(model, 'temperature')


def test_annealing_defaults_are_dalles():
    hook, model = DVAEAnnealingHook(), nn.Linear(1, 1)
    for step, temperature, kl_weight in (
        (0, 1, 0),
        (2_500, None, 3.3),
        (5_000, None, 6.6),
        (75_000, (1 + 1 / 16) / 2, 6.6),
        (150_000, 1 / 16, 6.6),
        (3_000_000, 1 / 16, 6.6),
    ):
        hook.before_train_iter(SimpleNamespace(model=model, iter=step), batch_idx=0)
        assert model.kl_weight == pytest.approx(kl_weight, rel=1e-9, abs=1e-12)
        if temperature is not None:
            assert model.temperature == pytest.approx(temperature, rel=1e-9)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(temperature=(1.0, 0.0)), r'^temperature is \(1.0, 0.0\)'),
        (dict(temperature=(-1.0, 0.5)), r'^temperature is \(-1.0, 0.5\)'),
        (dict(temperature_steps=0), '^temperature_steps is 0;'),
        (dict(kl_steps=-1), '^kl_steps is -1;'),
    ],
    ids=str,
)
def test_impossible_annealing_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        DVAEAnnealingHook(**wrong)


# ----------------------------------------------------------------------------------------------
# The global batch
# ----------------------------------------------------------------------------------------------


class LinearRegression(BaseModel):
    """Three weights, known at the start."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1, bias=False)
        nn.init.ones_(self.linear.weight)

    def forward(self, inputs, target, mode='tensor'):
        return dict(loss=F.mse_loss(self.linear(inputs)[:, 0], target))


def regression_data(number):
    generator = torch.Generator().manual_seed(0)
    return [
        dict(
            inputs=torch.randn(3, generator=generator), target=torch.randn((), generator=generator)
        )
        for _ in range(number)
    ]


def train_regression(work_dir, batch_size, hooks=(), number=24, epochs=2, **changes):
    """The weights after training."""
    runner = run(
        LinearRegression(),
        regression_data(number),
        work_dir,
        batch_size,
        changes.pop('train_cfg', dict(by_epoch=True, max_epochs=epochs)),
        list(hooks),
        **changes,
    )
    return runner.model.linear.weight.detach()[0]


def global_batch(size):
    return dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=size)


def gradient_descent(number_of_steps, batch_size, data, momentum=0.0):
    """SGD on the mean squared error, by its formula."""
    inputs = torch.stack([sample['inputs'] for sample in data]).double()
    targets = torch.stack([sample['target'] for sample in data]).double()
    weight, velocity = torch.ones(3).double(), torch.zeros(3).double()
    for step in range(number_of_steps):
        start = step * batch_size % len(data)
        x, y = inputs[start : start + batch_size], targets[start : start + batch_size]
        velocity = momentum * velocity + 2 * x.T @ (x @ weight - y) / len(x)
        weight = weight - 0.1 * velocity
    return weight.float()


# Float32 sums of the same numbers in another order.
CLOSE = dict(rtol=1e-5, atol=1e-6)


def test_accumulated_batches_train_as_one_batch(tmp_path):
    accumulated = train_regression(tmp_path, 2, [global_batch(8)])
    torch.testing.assert_close(accumulated, train_regression(tmp_path, 8), **CLOSE)
    torch.testing.assert_close(accumulated, gradient_descent(6, 8, regression_data(24)), **CLOSE)
    # Two images a step lead elsewhere: the comparison can tell.
    assert (accumulated - train_regression(tmp_path, 2)).abs().max() > 0.01


@pytest.mark.parametrize('batch_size', [1, 4, 8])
def test_any_batch_size_that_divides_gives_the_same_weights(tmp_path, batch_size):
    weight = train_regression(tmp_path, batch_size, [global_batch(8)])
    torch.testing.assert_close(weight, gradient_descent(6, 8, regression_data(24)), **CLOSE)


def test_momentum_sees_whole_batches(tmp_path):
    """An optimizer with a memory would show a step too many."""
    weight = train_regression(
        tmp_path,
        2,
        [global_batch(8)],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
    )
    torch.testing.assert_close(weight, gradient_descent(6, 8, regression_data(24), 0.9), **CLOSE)


def test_training_by_iterations_is_refused_where_it_would_take_accumulation(tmp_path):
    """There max_iters and schedules count iterations, and would end at a quarter of the steps."""
    by_iterations = dict(train_cfg=dict(by_epoch=False, max_iters=3))
    with pytest.raises(ValueError, match=r'global_batch_size 8\b.*\b4 iterations.*max_iters'):
        train_regression(tmp_path, 2, [global_batch(8)], **by_iterations)
    weight = train_regression(tmp_path, 8, [global_batch(8)], **by_iterations)
    torch.testing.assert_close(weight, gradient_descent(3, 8, regression_data(24)), **CLOSE)


def test_last_batch_of_a_run_counts_in_full_though_it_is_small(tmp_path):
    """20 images are 2 batches of 8 and one of 4, whose mean is over 4."""
    weight = train_regression(tmp_path, 2, [global_batch(8)], number=20, epochs=1)
    torch.testing.assert_close(weight, gradient_descent(3, 8, regression_data(20)), **CLOSE)


def test_recipe_wins_over_counts_in_the_optimizer_wrapper(tmp_path):
    weight = train_regression(
        tmp_path,
        2,
        [global_batch(8)],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=3),
    )
    torch.testing.assert_close(weight, gradient_descent(6, 8, regression_data(24)), **CLOSE)


def test_resumed_run_ends_with_the_same_weights(tmp_path):
    """Three epochs of 20 images: seven steps of 8, some across epochs, and one of the last 4."""
    checkpoints = dict(checkpoint=dict(type='CheckpointHook', interval=1))
    common = dict(number=20, default_hooks=checkpoints)
    train_regression(tmp_path, 2, [global_batch(8)], epochs=2, **common)
    weight = train_regression(tmp_path, 2, [global_batch(8)], epochs=3, resume=True, **common)
    expected = gradient_descent(8, 8, 3 * regression_data(20))
    torch.testing.assert_close(weight, expected, **CLOSE)


@pytest.mark.parametrize(('batch_size', 'size'), [(3, 8), (8, 4), (5, 2048)])
def test_batch_size_that_does_not_divide_is_refused_with_both_numbers(tmp_path, batch_size, size):
    with pytest.raises(ValueError, match=rf'global_batch_size {size}\b.*batch_size {batch_size}\b'):
        train_regression(tmp_path, batch_size, [global_batch(size)])


def several_processes(world_size, batch_size):
    """What the hook reads of a Runner that is one of several processes, for 12 iterations."""
    weight = nn.Parameter(torch.zeros(1))
    runner = SimpleNamespace(
        world_size=world_size,
        train_dataloader=DataLoader(range(12 * batch_size), batch_size),
        optim_wrapper=OptimWrapper(torch.optim.SGD([weight], lr=1.0)),
        model=nn.Linear(1, 1),
    )
    runner.train_loop = EpochBasedTrainLoop(runner, runner.train_dataloader, max_epochs=1)
    return runner


@pytest.mark.parametrize(
    ('world_size', 'batch_size', 'every'), [(1, 8, 6), (4, 4, 3), (8, 3, 2), (16, 3, 1)]
)
def test_processes_share_the_global_batch(world_size, batch_size, every):
    """48 images a step: the weight moves after every so many iterations."""
    runner = several_processes(world_size, batch_size)
    GlobalBatchSizeHook(48).before_train(runner)
    weight = runner.optim_wrapper.optimizer.param_groups[0]['params'][0]
    moved_to = []
    for _ in range(12):
        runner.optim_wrapper.update_params(weight.sum())
        moved_to.append(weight.item())
    # Each step goes down by the mean gradient, 1.
    assert moved_to == pytest.approx([-((step + 1) // every) for step in range(12)])


def test_processes_are_named_where_they_do_not_divide():
    with pytest.raises(ValueError, match=r'2048.*\b6 process.*batch_size 64\b.*\b384\b'):
        GlobalBatchSizeHook(2048).before_train(several_processes(6, 64))


@pytest.mark.parametrize('size', [0, -8])
def test_global_batch_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match=f'global_batch_size.*{size}'):
        GlobalBatchSizeHook(size).before_train(several_processes(1, 2))
