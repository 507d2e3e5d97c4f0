"""How long a run is: steps that fit into minutes, and what a step is measured to take."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from beit_mm.commands import lengths, pretraining, run_folder, timing
from beit_mm.commands.choices import Machine
from beit_mm.commands.how_to_read import PHOTOS
from beit_mm.commands.lengths import AFTERWARDS, AROUND_A_STAGE, LEAST_STEPS, choose_length
from beit_mm.commands.photos import Photos
from beit_mm.commands.pretraining import pretrain
from beit_mm.commands.timing import seconds_a_step, seconds_an_image

TWO_CORES, TWO_GPUS = Machine(0, 2, 0), Machine(2, 16, 80 * 2**30)


@pytest.fixture
def clock(monkeypatch):
    """What time it is for the commands, which the test alone moves on."""
    clock = SimpleNamespace(now=1000.0)
    told = SimpleNamespace(monotonic=lambda: clock.now, perf_counter=lambda: clock.now)
    for module in (lengths, pretraining, timing):
        monkeypatch.setattr(module, 'time', told)
    return clock


@pytest.mark.parametrize('machine', [TWO_CORES, TWO_GPUS])
def test_steps_with_their_validations_fill_the_minutes(
    tmp_path, monkeypatch, clock, machine, capsys
):
    monkeypatch.setattr(lengths, 'seconds_a_step', lambda *_: 0.5)
    monkeypatch.setattr(lengths, 'seconds_an_image', lambda *_: 0.125)
    photos = Photos(tmp_path, ['a'] * 400, ['b'] * 40, {}, 30, PHOTOS)
    cfg = Config(dict(model=dict(backbone=dict(img_size=32)), train_dataloader=dict(batch_size=16)))
    clock.now += 10
    steps = choose_length(cfg, photos, machine, None, 2, 1000.0, 100)
    # Four validations and the report are of 40 images each, which the GPUs share.
    validating = 5 * 40 * 0.125 / machine.processes
    assert 10 + AROUND_A_STAGE + AFTERWARDS + validating + 0.5 * steps == pytest.approx(
        120, abs=0.5
    )
    batch = 16 * machine.processes
    said = capsys.readouterr().out
    assert (
        f'batches of {batch}, {steps} steps ({steps * batch / 400:.0f} epochs), about 1:50' in said
    )


@pytest.fixture
def stages(tmp_path, monkeypatch, clock):
    """Steps of both stages as they are begun; the first takes so many times what was foreseen."""

    def stages(slower, **length):
        for index in range(16):
            Image.new('RGB', (40, 30)).save(tmp_path / f'{index}.png')
        begun = {}

        def run_stage(stage, _, work_dir, *others):
            begun[stage.config.stem] = Config.fromfile(stage.config).train_cfg.max_iters
            clock.now += slower * (stage.seconds + AROUND_A_STAGE)
            work_dir.mkdir()
            (work_dir / 'last.pth').touch()
            return work_dir / 'last.pth'

        monkeypatch.setattr(run_folder, 'run_stage', run_stage)
        monkeypatch.setattr(pretraining, 'seconds_a_step', lambda *_: 0.5)
        monkeypatch.setattr(pretraining, 'report_of_pretraining', lambda *_: '')
        for name in ('write_bare_weights', 'draw_what_was_learned'):
            monkeypatch.setattr(pretraining, name, lambda *_: None)
        pretrain(tmp_path, tmp_path / 'run', method='beit', **length)
        return begun

    return stages


@pytest.mark.parametrize('slower', [1, 2, 8])
def test_the_transformer_gets_the_time_that_the_tokenizer_left(stages, slower, capsys):
    begun = stages(slower, minutes=2)
    around = 2 * AROUND_A_STAGE + AFTERWARDS
    # A quarter is the tokenizer's.
    assert begun['tokenizer'] == int((120 - around) / 4 / 0.5)
    first = slower * (0.5 * begun['tokenizer'] + AROUND_A_STAGE)
    if slower < 8:
        second = AROUND_A_STAGE + 0.5 * slower * begun['pretrain'] + AFTERWARDS
        assert first + second == pytest.approx(120, abs=0.5 * slower)
    else:
        assert begun['pretrain'] == LEAST_STEPS, 'what was asked for is over'
    assert f'{begun["pretrain"]} steps of the Transformer fit into' in capsys.readouterr().out


@pytest.mark.parametrize(('steps', 'of_tokenizer'), [(100, 50), (50_000, 10_000)])
def test_a_tokenizer_gets_half_as_many_steps(stages, steps, of_tokenizer):
    assert stages(3, steps=steps) == dict(tokenizer=of_tokenizer, pretrain=steps)


class Images:
    """The first one takes 5 seconds and each other one a quarter of one."""

    def __init__(self, clock):
        self.clock = clock

    def __getitem__(self, index):
        self.clock.now += 0.25 if index else 5
        return dict(inputs=torch.zeros(3))

    def __len__(self):
        return 40


class Network(nn.Module):
    """Its first steps are slower."""

    def __init__(self, clock):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.clock, self.left = clock, [30, 20, 3, 1, 2]

    def train_step(self, batch, wrapper):
        self.clock.now += self.left.pop(0)

    def test_step(self, batch):
        self.clock.now += self.left.pop(0)

    def cuda(self):
        return self


@pytest.mark.parametrize(
    ('machine', 'workers', 'expected'),
    [
        # 16 images of a quarter of a second each, by all cores beside a step of one second.
        (Machine(0, 4, 0), 2, 1 + 16 / 4 / 4),
        (Machine(0, 16, 0), 2, 1 + 16 / 4 / 16),
        # A GPU waits for the loading alone that its workers do not do meanwhile.
        (Machine(1, 16, 1), 2, 16 / 4 / 2),
        (Machine(1, 16, 1), 8, 1),
    ],
)
@pytest.mark.filterwarnings('ignore:User provided device_type')
def test_a_step_takes_what_its_fastest_takes_and_what_loading_adds(
    monkeypatch, clock, machine, workers, expected
):
    monkeypatch.setattr(timing, 'DATASETS', SimpleNamespace(build=lambda _: Images(clock)))
    monkeypatch.setattr(timing, 'MODELS', SimpleNamespace(build=lambda _: Network(clock)))
    loader = dict(dataset=dict(), batch_size=16, num_workers=workers)
    cfg = Config(dict(
        default_scope='mmpretrain', model=dict(backbone=dict()), train_dataloader=loader,
        val_dataloader=loader,
    ))  # fmt: skip
    assert seconds_a_step(cfg, machine) == pytest.approx(expected)
    # Eight images at once in the faster of two batches, of 20 seconds.
    assert seconds_an_image(cfg, machine) == pytest.approx(0.25 / machine.cores + 20 / 8)
