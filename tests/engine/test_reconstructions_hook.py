"""The panel of a validation: what is in it, and that training does not notice it."""

import itertools
import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from noisy_run import KillAt, Killed
from PIL import Image
from torch.utils.data import Dataset

from beit_mm import visualization
from beit_mm.component import ConfigError
from beit_mm.datasets.reading.broken_image import BrokenImage
from beit_mm.engine import ReconstructionsHook
from beit_mm.engine.running.exact_resume import exact_train_cfg
from beit_mm.engine.running.held_out import evaluating, held_out_batch
from beit_mm.models import (
    DiscreteVAE,
    MeanColorTargetGenerator,
    PixelTargetGenerator,
)
from beit_mm.models.data_preprocessor import in_colors
from beit_mm.models.discrete_vae import unmap_pixels
from beit_mm.models.painter import painter_of
from beit_mm.models.whole_tokenizer import whole_tokenizer
from beit_mm.visualization import draw_reconstructions, filled_in, panel_of, reconstruct
from beit_mm.visualization.films import frames_of
from beit_mm.visualization.predicted_tokens import TOKENS
from beit_mm.visualization.reconstructions import PASTED

run_numbers = itertools.count()
VOCAB = 16
TOKENIZER = dict(type='beit_mm.DiscreteVAE', vocab_size=VOCAB, hidden=4, num_groups=3,
                 blocks_per_group=1, decoder_input=4)  # fmt: skip
PIXELS = dict(type='BaseDataPreprocessor')
VIEWS = dict(type='beit_mm.TwoViewDataPreprocessor', mean=[123.0, 116.0, 103.0],
             std=[58.0, 57.0, 57.0], second_mean=[0, 0, 0], second_std=[255, 255, 255])  # fmt: skip


class Photos(Dataset):
    """Noise; masks are drawn whenever a sample is made, as pipelines do."""

    def __init__(self, views=2):
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (6, 3, 16, 24), dtype=np.uint8)
        self.views = views

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        first = torch.from_numpy(self.pixels[index])
        if self.views == 1:
            return dict(inputs=first / 255)
        if self.views == 'one':
            mask = torch.from_numpy(np.random.permutation(24).reshape(4, 6) < 18)
            return dict(inputs=[first], data_samples=BaseDataElement(mask=mask))
        mask = torch.from_numpy(np.random.rand(4, 6) < 0.5)
        mask[0, 0] = True
        return dict(inputs=[first, first], data_samples=BaseDataElement(mask=mask))


def collate(samples):
    if not isinstance(samples[0]['inputs'], list):
        return dict(inputs=torch.stack([sample['inputs'] for sample in samples]))
    views = [torch.stack(each) for each in zip(*(s['inputs'] for s in samples), strict=True)]
    return dict(inputs=views, data_samples=[sample['data_samples'] for sample in samples])


def pretraining(generator, **changes):
    model = dict(
        type='beit_mm.MaskedImageModeling',
        backbone=dict(
            type='beit_mm.BEiT',
            arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
            img_size=(16, 24),
            patch_size=4,
            out_type='raw',
            final_norm=True,
            with_mask_token=True,
            drop_path_rate=0.5,
        ),
        target_generator=generator,
        head=dict(type='beit_mm.MIMHead', embed_dims=16, vocab_size=VOCAB),
        data_preprocessor=VIEWS,
    )
    return {**model, **changes}


def runner_of(model, work_dir, hooks, metric='MIMAccuracy', views=2, **changes):
    """mmengine's own, whose random numbers go on from one step to the next."""
    loader = dict(batch_size=2, num_workers=0, collate_fn=collate, dataset=Photos(views))
    settings = dict(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=True)),
        val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        val_cfg=dict(),
        val_evaluator=dict(type=f'beit_mm.{metric}'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.05)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=hooks,
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=f'test_reconstructions_{next(run_numbers)}',
        # mmengine looks it up in the config; a user's run has one.
        cfg=dict(model=model),
    )
    return Runner(**{**settings, **changes})


class Recorder(Hook):
    """Loss by loss, and what the hook beside it does to generators and modes."""

    priority = 'LOWEST'

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(value.detach()) for name, value in outputs.items()})


def generators():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), (name, keys.tolist(), *rest), torch.get_rng_state().tolist()


class Watched(ReconstructionsHook):
    """Compares the world before and after each of the hook's parts."""

    def before_train(self, runner):
        self._around(runner, lambda: super(Watched, self).before_train(runner))

    def after_train_iter(self, runner, *args, **kwargs):
        self._around(runner, lambda: super(Watched, self).after_train_iter(runner, *args, **kwargs))

    def after_val_iter(self, runner, *args, **kwargs):
        self._around(runner, lambda: super(Watched, self).after_val_iter(runner, *args, **kwargs))

    @staticmethod
    def _around(runner, act):
        def world():
            modes = [module.training for module in runner.model.modules()]
            return generators(), modes, torch.is_grad_enabled()

        before = world()
        act()
        assert world() == before


@pytest.fixture
def checkpoint(tmp_path):
    """Of a tokenizer whose tokens differ from place to place, with its decoder."""
    torch.manual_seed(0)
    tokenizer = DiscreteVAE(**{k: v for k, v in TOKENIZER.items() if k != 'type'})
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    torch.save(dict(state_dict=tokenizer.state_dict()), tmp_path / 'tokenizer.pth')
    return tmp_path / 'tokenizer.pth'


def of_dvae(checkpoint, **changes):
    return dict(type='beit_mm.DVAETargetGenerator', tokenizer=TOKENIZER,
                checkpoint=str(checkpoint), **changes)  # fmt: skip


@pytest.mark.parametrize('what', ['pretraining', 'gumbel', 'vector'])
def test_training_is_the_same_bit_for_bit(what, checkpoint, tmp_path):
    if what == 'pretraining':
        settings = dict(model=pretraining(of_dvae(checkpoint)))
    else:
        model = dict(TOKENIZER, quantizer=what, data_preprocessor=PIXELS)
        settings = dict(model=model, metric='TokenizerMetric', views=1)
    results = []
    for number, hooks in enumerate(([], [Watched(interval=2)])):
        recorder = Recorder()
        runner = runner_of(work_dir=tmp_path / str(number), hooks=[*hooks, recorder], **settings)
        runner.train()
        results.append((recorder.losses, runner.model.state_dict()))
    (losses, weights), (others, theirs) = results
    assert len(losses) == 9
    assert losses == others
    assert all(torch.equal(weights[name], theirs[name]) for name in weights)
    pictures = {path.name for path in (tmp_path / '1').glob('*/vis_data/vis_image/*')}
    wanted = {f'reconstructions_{n}.png' for n in (3, 6, 9)}
    assert pictures == wanted | {f'learning_{n}.png' for n in (0, 2, 4, 6, 8, 9)}
    assert not list((tmp_path / '0').glob('*/vis_data/vis_image'))


@pytest.mark.slow
@pytest.mark.parametrize('cached', [False, True])
def test_a_killed_run_goes_on_exactly_and_draws_the_same_images(cached, checkpoint, tmp_path):
    """Held against a run without the hook, and against one that was not killed."""
    generator = of_dvae(checkpoint)
    if cached:
        generator = dict(
            type='beit_mm.CachedTargetGenerator', vocab_size=VOCAB, generator=generator
        )
    model = pretraining(generator)
    ends = []

    def train(name, hooks, resume=False):
        runner = runner_of(
            model,
            tmp_path / name,
            [dict(type='beit_mm.PublicWeightsHook'), *hooks],
            train_cfg=exact_train_cfg(dict(by_epoch=True, max_epochs=3, val_interval=2)),
            default_hooks=dict(
                checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=1)
            ),
            resume=resume,
        )
        runner.train()
        ends.append({name: weight.clone() for name, weight in runner.model.state_dict().items()})

    train('without', [])
    train('whole', [ReconstructionsHook(interval=2)])
    without, whole = ends
    assert all(torch.equal(without[name], whole[name]) for name in without)
    frames = frames_of(tmp_path / 'whole', 'learning')
    assert [frame.iteration for frame in frames] == [0, 2, 4, 6, 8, 9]
    # Which images are drawn does not depend on what their tokens come from.
    if not cached:
        with pytest.raises(Killed):
            train('killed', [ReconstructionsHook(interval=2), KillAt(5)])
        train('killed', [ReconstructionsHook(interval=2)], resume=True)
        killed = ends[-1]
        assert all(torch.equal(without[name], killed[name]) for name in without)
        again = frames_of(tmp_path / 'killed', 'learning')
        for left, right in zip(frames, again, strict=True):
            assert left.iteration == right.iteration
            assert left.path.read_bytes() == right.path.read_bytes()
    # Rows that learning leaves alone, and those that it changes.
    first, last = (np.asarray(Image.open(frames[i].path)).astype(int) for i in (0, -1))
    changed = np.abs(first - last).max(axis=(1, 2)) > 0
    assert not changed[: len(changed) // 2].any()
    assert changed[len(changed) // 2 :].any()


def test_pictures_of_a_run_are_twenty_at_most_and_none_without_validation(
    checkpoint, tmp_path, monkeypatch
):
    # They are counted, not looked at.
    monkeypatch.setattr(visualization, 'panel_of', lambda *_: np.zeros((1, 1, 3), np.uint8))
    hook = ReconstructionsHook()
    runner = runner_of(
        pretraining(of_dvae(checkpoint)), tmp_path, [hook],
        train_cfg=dict(by_epoch=False, max_iters=45, val_interval=100),
    )  # fmt: skip
    runner.train()
    drawn = [frame.iteration for frame in frames_of(tmp_path, 'learning')]
    assert drawn == [*range(0, 45, 3), 45]
    none = ReconstructionsHook()
    nothing = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    runner_of(pretraining(of_dvae(checkpoint)), tmp_path / 'none', [none], **nothing).train()
    assert frames_of(tmp_path / 'none', 'learning') == []


def test_held_out_images_are_spread_and_leave_out_what_cannot_be_read():
    class Places:
        def __len__(self):
            return 100

        def __getitem__(self, place):
            if place == 99:
                raise BrokenImage('photo.jpg', 'damaged')
            if place == 66:
                raise FileNotFoundError('moved')
            return place, float(np.random.rand()), random.random(), float(torch.rand(()))

    loader = type('Loader', (), dict(dataset=Places(), collate_fn=staticmethod(list)))
    before = generators()
    batch = held_out_batch(loader, 4)
    assert generators() == before
    assert [place for place, *_ in batch] == [0, 33]
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    assert held_out_batch(loader, 4) == batch
    assert len({draw for _, *draws in batch for draw in draws}) == 6
    none = type('Loader', (), dict(dataset=Places(), collate_fn=staticmethod(max)))
    assert held_out_batch(none, 0) is None


def test_after_evaluating_every_module_is_as_it_was_and_has_been_told():
    told = []

    class Keeps(torch.nn.Module):
        def train(self, mode=True):
            told.append(mode)
            return super().train(mode)

    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Sequential(Keeps()))
    model[0].eval()

    def modes():
        return [module.training for module in model.modules()], torch.is_grad_enabled()

    def fails():
        assert modes() == ([False] * 4, False)
        raise KeyError

    before = modes()
    with pytest.raises(KeyError), evaluating(model):
        fails()
    assert modes() == before == ([True, False, True, True], True)
    assert told == [False, True]


def rows_of(monkeypatch, runner, with_note=False):
    """The rows of the last panel of a run, and what is written below."""
    drawn = []

    def draw(rows, shown, bands, note):
        drawn.append((rows, note) if with_note else rows)
        return panel_of(rows, shown, bands, note)

    monkeypatch.setattr(visualization, 'panel_of', draw)
    runner.train()
    return drawn[-1]


def test_the_rows_of_a_pretraining_are_those_of_reconstruct(checkpoint, tmp_path, monkeypatch):
    batches = []

    class Keeper(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 0:
                batches.append(data_batch)

    runner = runner_of(
        pretraining(of_dvae(checkpoint)), tmp_path, [ReconstructionsHook(), Keeper()]
    )
    rows = rows_of(monkeypatch, runner)
    tokenizer = whole_tokenizer(of_dvae(checkpoint))
    model = runner.model.eval()
    wanted = reconstruct(model, painter_of(model.target_generator, tokenizer), batches[-1])
    assert list(rows) == list(wanted)
    for label, images in wanted.items():
        assert rows[label].shape == images.shape == (2, 3, *images.shape[2:])
        torch.testing.assert_close(rows[label], images, atol=1e-5, rtol=0, msg=label)
    kept, filled, pasted = (rows[label] for label in list(rows)[2:])
    assert not torch.equal(kept, filled)
    assert not torch.equal(pasted, rows['original'])
    # The mean over the codebook in place of the likeliest tokens.
    painter = painter_of(model.target_generator, tokenizer)
    (mean,) = reconstruct(model, painter, batches[-1], mean=True).keys() - rows.keys()
    doubt = reconstruct(model, painter, batches[-1], mean=True)[mean]
    data = model.data_preprocessor(batches[-1])
    mask = torch.stack([sample.mask for sample in data['data_samples']])
    shares = torch.nn.functional.one_hot(tokenizer.tokenize(data['inputs'][1]), VOCAB).float()
    shares[mask] = model.outputs(data['inputs'][0], mask).softmax(dim=-1)[mask]
    torch.testing.assert_close(doubt, painter.paint(shares, data['inputs'][1]))


def test_a_mean_is_of_the_codebook_at_hidden_places_alone(checkpoint):
    torch.manual_seed(1)
    generator = of_dvae(checkpoint)
    model = MODELS.build(pretraining(generator)).eval()
    tokenizer = whole_tokenizer(generator)
    batch = collate([Photos()[0], Photos()[1]])
    rows = reconstruct(model, painter_of(model.target_generator, tokenizer), batch, mean=True)
    assert list(rows)[2:] == ["tokenizer's\nreconstruction", TOKENS.mean, PASTED]
    data = model.data_preprocessor(batch)
    mask = torch.stack([sample.mask for sample in batch['data_samples']])
    with torch.no_grad():
        tokens = tokenizer.tokenize(data['inputs'][1])
        shares = model.outputs(data['inputs'][0], mask).softmax(dim=-1)
        for place in (~mask).nonzero().tolist():
            token = tokens[tuple(place)]
            shares[tuple(place)] = torch.eye(VOCAB)[token]
        painted = tokenizer.decoder(shares.permute(0, 3, 1, 2))[:, :3].sigmoid()
    torch.testing.assert_close(rows[TOKENS.mean], unmap_pixels(painted))
    pixels = mask.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].expand(-1, 3, -1, -1)
    assert torch.equal(rows[PASTED][~pixels], rows['original'][~pixels])
    assert not torch.isclose(rows[PASTED][pixels], rows['original'][pixels]).all()


def test_the_rows_of_a_tokenizer(tmp_path, monkeypatch):
    model = dict(TOKENIZER, quantizer='vector', data_preprocessor=PIXELS)
    hook = ReconstructionsHook(num_images=1)
    runner = runner_of(model, tmp_path, [hook], metric='TokenizerMetric', views=1)
    rows = rows_of(monkeypatch, runner)
    original = torch.from_numpy(Photos().pixels[:1]) / 255
    assert torch.equal(rows['original'], original)
    runner.model.eval()
    with torch.no_grad():
        logits = runner.model.encode(original)
        wanted = runner.model.decode(logits.argmax(dim=1))
    torch.testing.assert_close(rows['reconstruction'], wanted)


def without_decoder(checkpoint):
    state = torch.load(checkpoint)['state_dict']
    kept = {name: w for name, w in state.items() if not name.startswith('decoder.')}
    torch.save(dict(state_dict=kept), checkpoint)
    return of_dvae(checkpoint)


def of_another_size(checkpoint):
    # The encoder fits, which is all that training needs.
    return dict(of_dvae(checkpoint), tokenizer=dict(TOKENIZER, decoder_input=8))


@pytest.mark.parametrize('generator', [without_decoder, of_another_size])
def test_what_cannot_be_drawn_is_left_out(generator, checkpoint, tmp_path, monkeypatch):
    model = pretraining(generator(checkpoint))
    runner = runner_of(model, tmp_path, [Watched()])
    rows = rows_of(monkeypatch, runner)
    assert list(rows) == ['original', 'masked input']
    original = torch.from_numpy(Photos().pixels[:2]) / 255
    torch.testing.assert_close(rows['original'], original)
    grey = (rows['masked input'] == 0.5).all(dim=1)
    assert 0.2 < grey.float().mean() < 0.9


def masked_autoencoder(generator, head):
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    grid = dict(img_size=(16, 24), patch_size=4)
    return dict(
        type='beit_mm.MaskedAutoencoder',
        backbone=dict(type='beit_mm.VisionTransformer', arch=arch, out_type='raw', **grid),
        decoder=dict(
            type='beit_mm.MAEDecoder',
            encoder_dims=16,
            embed_dims=16,
            num_layers=1,
            num_heads=2,
            **grid,
        ),
        target_generator=generator,
        head=head,
        data_preprocessor=VIEWS,
    )


@pytest.mark.parametrize('kind', ['beit', 'mae'])
@pytest.mark.parametrize('normalize', [False, True])
def test_pixels_are_drawn_at_hidden_places(normalize, kind, tmp_path, monkeypatch):
    generator = dict(type='beit_mm.PixelTargetGenerator', patch_size=4, normalize=normalize)
    head = dict(type='beit_mm.PixelHead', embed_dims=16, num_values=48)
    model = pretraining(generator, head=head)
    if kind == 'mae':
        model = masked_autoencoder(generator, head)
    hook = ReconstructionsHook(interval=0)
    runner = runner_of(model, tmp_path, [hook], 'MIMError', views='one' if kind == 'mae' else 2)
    rows, note = rows_of(monkeypatch, runner, with_note=True)
    original = torch.from_numpy(Photos().pixels[:2]) / 255
    torch.testing.assert_close(rows['original'], original)
    assert list(rows) == ['original', 'masked input', 'predicted']
    seen = (rows['masked input'] != 0.5).any(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.equal(rows['predicted'][seen], rows['original'][seen])
    assert not torch.isclose(rows['predicted'][~seen], rows['original'][~seen]).all()
    # What gives the answer away is said.
    assert bool(note) == normalize


def test_pictures_of_targets_are_the_images_they_are_of():
    images = torch.rand(2, 3, 8, 12)
    generator = PixelTargetGenerator(patch_size=4)
    assert torch.equal(generator.picture(generator(images)), images)
    colors = torch.rand(2, 3, 2, 3)
    generator = MeanColorTargetGenerator(patch_size=4)
    patches = colors.repeat_interleave(4, 2).repeat_interleave(4, 3)
    # Eight levels a channel: half of one is as far as the middle of a class can be.
    assert (generator.picture(generator(patches)) - colors).abs().max() <= 1 / 16 + 1e-6


def test_colors_are_those_before_normalising():
    from mmpretrain.models import TwoNormDataPreprocessor

    red = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    red[:, 2] = 200  # blue, green, red
    preprocessor = TwoNormDataPreprocessor(
        mean=[10, 20, 30], std=[2, 3, 4], second_mean=[0] * 3, second_std=[255] * 3, to_rgb=True
    )
    data = preprocessor(dict(inputs=[red, red], data_samples=[]))
    shown = in_colors(preprocessor, data['inputs'][0])
    torch.testing.assert_close(shown, red[:, [2, 1, 0]] / 255)


def test_other_models_are_refused_before_training(tmp_path):
    hook = ReconstructionsHook()
    runner = type('R', (), dict(model=torch.nn.Linear(1, 1)))
    with pytest.raises(ConfigError, match=r'model\.type is Linear; remove the hook'):
        hook.before_train(runner)
    with pytest.raises(ValueError, match='num_images is 0'):
        ReconstructionsHook(num_images=0)


@pytest.mark.parametrize('channels', [1, 2, 3, 5])
def test_a_panel_is_what_draw_reconstructions_writes(channels, tmp_path):
    images = torch.rand(3, channels, 8, 8)
    rows = filled_in(images, images, torch.rand(3, 4, 4) < 0.5, images, images, None)
    draw_reconstructions(rows, tmp_path / 'panel.png')
    written = np.asarray(Image.open(tmp_path / 'panel.png').convert('RGB'))
    panel = panel_of(rows)
    assert panel.dtype == np.uint8
    assert np.array_equal(panel, written)
    grey = (panel[..., 0] == panel[..., 1]) & (panel[..., 1] == panel[..., 2])
    assert grey.all() == (channels < 3)


@pytest.mark.parametrize(
    ('shown', 'bands', 'places'),
    [(None, ['nir', 'green', 'red'], [0, 1, 2]), ((3, 1, 2), None, [2, 0, 1])],
)
def test_a_run_shows_the_bands_that_are_asked_for(shown, bands, places, tmp_path, monkeypatch):
    """Of three bands: (nir, green, red) are not (red, green, blue), and shown as they come."""
    model = dict(TOKENIZER, bands=bands, data_preprocessor=PIXELS)
    hook = ReconstructionsHook(shown=shown)
    runner = runner_of(model, tmp_path, [hook], metric='TokenizerMetric', views=1)
    panels = []
    monkeypatch.setattr(runner.visualizer, 'add_image', lambda _, panel, step: panels.append(panel))
    rows = rows_of(monkeypatch, runner)
    chosen = {label: images[:, places] for label, images in rows.items()}
    assert np.array_equal(panels[-1], panel_of(chosen))


def test_bands_that_are_not_there_end_a_run_before_it_begins(tmp_path):
    model = dict(TOKENIZER, bands=['nir', 'green', 'red'], data_preprocessor=PIXELS)
    hook = ReconstructionsHook(shown=['red', 'green', 'blue'])
    runner = runner_of(model, tmp_path, [hook], metric='TokenizerMetric', views=1)
    with pytest.raises(ConfigError, match="shown has 'blue'; the bands are nir, green"):
        runner.train()
