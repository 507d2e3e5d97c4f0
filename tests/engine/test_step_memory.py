"""What a step takes of memory, known before it: beside sums by hand and the system's count."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from noisy_run import LOOPS, Model, train
from torch import nn

from beit_mm.engine import ConfigError
from beit_mm.engine.running import step_memory
from beit_mm.engine.running.step_memory import (
    CountedTensors,
    StepMemory,
    advised,
    free_memory,
    memory_of_a_step,
    peak_of_a_step,
    state_per_byte,
)
from beit_mm.models import DiscreteVAE

MB = 2**20
counted = pytest.mark.skipif(
    not step_memory.can_be_counted(), reason='tensors can be counted from PyTorch 2.2 on'
)


class Net(BaseModel):
    """A chain of sines, each of which keeps its input for the backward pass."""

    def __init__(self, length=4):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1000))
        self.norm = nn.BatchNorm1d(1000)
        self.length = length

    def forward(self, inputs, mode='loss'):
        hidden = self.norm(inputs * self.scale)
        for _ in range(self.length):
            hidden = hidden.sin()
        return dict(loss=hidden.mean())


def runner_of(model, optimizer=None):
    optimizer = optimizer or torch.optim.AdamW(model.parameters())
    return SimpleNamespace(model=model.train(), optim_wrapper=OptimWrapper(optimizer))


@counted
def test_tensors_are_counted_while_they_are_there():
    with CountedTensors() as counted:
        first = torch.zeros(MB)
        assert counted.held == 4 * MB
        second = first + 1
        view = second[:10]
        assert counted.held == 8 * MB, 'a view holds nothing of its own'
        second.add_(1)
        del first
        assert counted.held == 4 * MB
        del second
        assert counted.held == 4 * MB, 'the view holds all of it'
        del view
        assert counted.held == 0
    assert counted.peak == 8 * MB


@counted
def test_a_step_by_hand():
    """Of each image: normed and scaled input, and an output for each sine; all float32."""
    batch = dict(inputs=torch.rand(16, 1000))
    step = memory_of_a_step(runner_of(Net(length=50)), batch)
    row = 1000 * 4
    # The preprocessor copies nothing here; a gradient or two live for a moment.
    assert 51 * row <= step.per_image <= 56 * row
    # Three vectors of weights, and the two averages of Adam of each.
    assert step.gradients == 3 * row
    assert 6 * row <= step.fixed <= 14 * row


@counted
def test_the_line_through_one_and_two_images_leads_to_many():
    model = DiscreteVAE(vocab_size=64, hidden=16, num_groups=3, quantizer='vector')
    runner = runner_of(model)
    batch = dict(inputs=torch.rand(12, 3, 64, 64))
    step = memory_of_a_step(runner, batch)
    state = 2 * sum(p.nbytes for p in model.parameters())
    assert step.of(12) == pytest.approx(peak_of_a_step(runner, batch) + state, rel=0.05)


@counted
@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux counts so')
def test_the_system_counts_as_much():
    """The most memory that a process of its own held, of a step of 24 images."""
    code = """
import torch
from mmengine.optim import OptimWrapper
from types import SimpleNamespace
from beit_mm.engine.running.step_memory import memory_of_a_step
from beit_mm.models import DiscreteVAE

def kilobytes(name):
    lines = open('/proc/self/status').read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])

torch.set_num_threads(1)
model = DiscreteVAE(vocab_size=256, hidden=32, num_groups=3, quantizer='vector').train()
optimizer = torch.optim.AdamW(model.parameters())
runner = SimpleNamespace(model=model, optim_wrapper=OptimWrapper(optimizer))
batch = dict(inputs=torch.rand(24, 3, 128, 128))
step = memory_of_a_step(runner, batch)
open('/proc/self/clear_refs', 'w').write('5')
before = kilobytes('VmRSS')
sum(v for k, v in model.loss(batch['inputs']).items() if k.startswith('loss')).backward()
optimizer.step()
print(step.of(24), (kilobytes('VmHWM') - before) * 1024)
"""
    output = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True
    ).stdout
    foreseen, taken = map(float, output.split())
    assert taken > 0.5e9, 'a step that can be seen'
    assert foreseen == pytest.approx(taken, rel=0.25)


@counted
def test_nothing_is_left_of_the_measurement():
    model = DiscreteVAE(vocab_size=16, hidden=8, num_groups=2, quantizer='vector')
    net = Net()
    for module, inputs in ((model, torch.rand(4, 3, 16, 16)), (net, torch.rand(4, 1000))):
        before = {name: value.clone() for name, value in module.state_dict().items()}
        assert memory_of_a_step(runner_of(module), dict(inputs=inputs)) is not None
        assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
        assert all(parameter.grad is None for parameter in module.parameters())
        assert all(part.training for part in module.modules())


class MakesBuffers(BaseModel):
    """A buffer that the first forward pass makes, and one that it puts another tensor into."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.register_buffer('queue', torch.zeros(0, 4))

    def forward(self, inputs, mode='loss'):
        if not hasattr(self, 'made'):
            self.register_buffer('made', torch.ones(4), persistent=False)
        output = self.net(inputs)
        self.queue = output.detach()
        return dict(loss=(output * self.made).square().mean())


class Momentum(BaseModel):
    """A frozen twin that follows the network in its forward pass."""

    def __init__(self):
        super().__init__()
        self.net, self.twin = nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False)

    def forward(self, inputs, mode='loss'):
        for follower, leader in zip(self.twin.parameters(), self.net.parameters(), strict=True):
            follower.data.lerp_(leader.data, 0.1)
        return dict(loss=(self.net(inputs) - self.twin(inputs)).square().mean())


@counted
@pytest.mark.parametrize('kind', [MakesBuffers, Momentum])
def test_models_that_change_themselves_are_put_back(kind):
    model = kind()
    names = {name for name, _ in model.named_buffers()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    waiting = torch.ones_like(model.net[0].weight if kind is MakesBuffers else model.net.weight)
    trained = next(model.net.parameters())
    trained.grad = waiting
    assert memory_of_a_step(runner_of(model), dict(inputs=torch.rand(4, 4))) is not None
    assert {name for name, _ in model.named_buffers()} == names
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert trained.grad is waiting
    assert all(part.training for part in model.modules())


@counted
@pytest.mark.parametrize('compile_blocks', [False, True])
def test_compiled_blocks_are_counted_too(compile_blocks):
    """Uncompiled: a compiler would start anew for one image and for two."""
    from beit_mm.models import BEiT

    class Task(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = BEiT(
                arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
                img_size=32, patch_size=8, compile_blocks=compile_blocks,
            )  # fmt: skip

        def forward(self, inputs, mode='loss'):
            return dict(loss=self.backbone(inputs)[0].mean())

    task = Task()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain = memory_of_a_step(runner_of(task), dict(inputs=torch.rand(4, 3, 32, 32)))
    assert plain.per_image > 2 * 16 * 32 * 4 * 8
    assert not torch._dynamo.utils.counters['stats'].get('unique_graphs')


@pytest.mark.parametrize(
    ('make', 'copies'),
    [
        (torch.optim.AdamW, 2),
        (lambda p: torch.optim.SGD(p, lr=0.1), 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1),
    ],
)
def test_state_of_optimizers(make, copies):
    weight = nn.Parameter(torch.zeros(300))
    assert state_per_byte(make([weight])) == copies
    assert not make([weight]).state


@pytest.mark.parametrize('size', [2, 7, 24, 64])
@pytest.mark.parametrize('free', [0, 90, 110, 130, 333, 5000])
def test_advice_keeps_the_images_of_a_step_of_the_weights(size, free):
    step = StepMemory(fixed=60, gradients=40, per_image=10)
    words = advised(step, size, free).rstrip('.').split()
    if free < 110:
        assert words[:4] == ['Not', 'one', 'image', 'fits:']
        return
    batch, times = (int(word.partition('=')[2]) for word in words[1:])
    assert batch * times == size
    assert 100 + 10 * batch <= free
    larger = [n for n in range(batch + 1, size) if size % n == 0]
    assert all(100 + 10 * n > free for n in larger)


@counted
@pytest.mark.parametrize('loop', LOOPS)
def test_a_step_that_cannot_fit_is_refused_before_it(tmp_path, monkeypatch, loop):
    trained = []
    monkeypatch.setattr(step_memory, 'free_memory', lambda device: 100)
    forward = Model.forward

    def noted(self, inputs, *args, **kwargs):
        trained.append(len(inputs))
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(Model, 'forward', noted)
    with pytest.raises(ConfigError, match=r'A step of 4 images takes about .* are free\.'):
        train(tmp_path, dict(LOOPS[loop]), by_epoch=False, interval=1)
    assert trained == [1, 2]
    assert not list(tmp_path.glob('*.pth'))


def test_a_tight_step_is_warned_of_and_goes_on(tmp_path, monkeypatch, caplog):
    told = []
    monkeypatch.setattr(step_memory, 'print_log', lambda said, **kw: told.append((said, kw)))
    step = StepMemory(fixed=0, gradients=0, per_image=10**9)
    monkeypatch.setattr(step_memory, 'memory_of_a_step', lambda *args: step)
    for free, level in ((4.5e9, 30), (40e9, None)):
        monkeypatch.setattr(step_memory, 'free_memory', lambda device, free=free: int(free))
        step_memory.foresee(runner_of(Net()), dict(inputs=torch.rand(4, 1000)))
        said, settings = told.pop()
        assert 'A step of 4 images takes about 4.0 GB' in said
        assert settings.get('level') == level
        assert ('batch_size=2 optim_wrapper.accumulative_counts=2' in said) == bool(level)
    monkeypatch.setattr(step_memory, 'free_memory', lambda device: None)
    step_memory.foresee(runner_of(Net()), dict(inputs=torch.rand(4, 1000)))
    assert 'free' not in told.pop()[0]


@counted
def test_a_model_that_has_no_answer_to_one_image_trains_all_the_same(monkeypatch):
    told = []
    monkeypatch.setattr(step_memory, 'print_log', lambda said, **kw: told.append(said))
    net = Net()
    monkeypatch.setattr(net, 'forward', lambda *args, **kw: 1 / 0)
    step_memory.foresee(runner_of(net), dict(inputs=torch.rand(4, 1000)))
    assert told == ['The memory of a step is not known: ZeroDivisionError: division by zero']
    assert all(part.training for part in net.modules())


@pytest.mark.skipif(not Path('/proc/meminfo').is_file(), reason='Linux says what is free')
def test_free_memory_of_the_system_its_groups_and_processes(tmp_path, monkeypatch):
    alone = free_memory(torch.device('cpu'))
    total = int(Path('/proc/meminfo').read_text().split()[1]) * 1024
    assert 0 < alone <= total
    monkeypatch.setattr(step_memory, '_left_in_groups', lambda: [('a', 10 * MB), ('b', 20 * MB)])
    assert free_memory(torch.device('cpu')) == 10 * MB


@pytest.mark.skipif(not Path('/proc/meminfo').is_file(), reason='Linux says what is free')
@pytest.mark.parametrize(
    ('others', 'share'),
    [
        # Of 16 machines, of 4 processes of this one, of a Slurm task with a limit of its own.
        ([[(f'node{n}', 'machine'), (f'node{n}', 'job')] for n in range(15)], 1),
        ([[('here', 'machine'), ('here', 'job')]] * 3, 4),
        ([[('here', 'machine'), ('here', 'other job')]] * 3, 1),
    ],
)
def test_memory_is_shared_by_the_processes_that_have_it_in_common(monkeypatch, others, share):
    """Whoever has started them: the launchers say so in variables of their own, or not at all."""
    monkeypatch.setattr(step_memory, 'all_gather_object', lambda own: [own, *others])
    monkeypatch.setattr('socket.gethostname', lambda: 'here')
    monkeypatch.setattr(step_memory, '_left_in_groups', lambda: [('job', 8 * MB)])
    assert free_memory(torch.device('cpu')) == 8 * MB // share


def test_limits_of_control_groups(tmp_path, monkeypatch):
    inner = tmp_path / 'job' / 'step'
    inner.mkdir(parents=True)
    for folder, limit, used in ((inner, 'max', 5), (inner.parent, '1000', 700)):
        (folder / 'memory.max').write_text(f'{limit}\n')
        (folder / 'memory.current').write_text(f'{used}\n')
        (folder / 'memory.stat').write_text('anon 1\ninactive_file 50\n')
    own = tmp_path / 'cgroup'
    own.write_text('0::/job/step\n')
    monkeypatch.setattr(step_memory, 'CGROUPS', tmp_path)
    monkeypatch.setattr(step_memory, 'OWN_GROUP', own)
    assert list(step_memory._left_in_groups()) == [(str(inner.parent), 350)]
