"""Each sign at its threshold: just beyond it speaks, just within it does not. Logs made by hand."""

import re
from pathlib import Path

import numpy as np
import pytest

from beit_mm.reporting.curve import Curve
from beit_mm.reporting.doctor import SIGNS
from beit_mm.reporting.log_reading import Told
from beit_mm.reporting.run_record import StageRecord
from beit_mm.reporting.written_config import Recipe

FALLING = np.linspace(4, 1, 40)


def stage(train=None, val=None, config=None, told=None, **others):
    """A stage whose curves have a value every ten iterations."""
    curves = (
        {
            name: Curve(10.0 * np.arange(1, len(np.atleast_1d(v)) + 1), np.atleast_1d(v) * 1.0)
            for name, v in (values or {}).items()
        }
        for values in (train, val)
    )
    made = StageRecord('', Path('run'), *curves, told=Told(**(told or {})), **others)
    made.config = config or {}
    return made


def said(made):
    """Titles that are said of it, and what to do."""
    return {
        one.title: f'{one.level}: {one.evidence} {one.advice}' for s in SIGNS for one in s(made)
    }


def codes(used, perplexity, kmeans=50.0, places=20_000):
    figures = dict(codes_used=used, perplexity=perplexity, kmeans_perplexity=kmeans, places=places)
    return {f'tokenizer/{name}': value for name, value in figures.items()}


VECTOR = dict(model=dict(vocab_size=256, quantizer='vector'))
CLIP = dict(optim_wrapper=dict(clip_grad=dict(max_norm=3.0)))
# The points before the 26th have a median of 2.5, and a third of the whole fall is 1.
SPIKE, BUMP = (np.where(np.arange(40) == 25, value, FALLING) for value in (3.6, 3.4))
SCHEDULE = dict(
    param_scheduler=[dict(type='CosineAnnealingLR', begin=5, T_max=101, by_epoch=False)]
)


@pytest.mark.parametrize(
    ('title', 'beyond', 'within'),
    [
        (
            'The codebook has collapsed.',
            dict(val=codes(200, 49.0, 100.0), config=VECTOR),
            dict(val=codes(200, 51.0, 100.0), config=VECTOR),
        ),
        (
            'The codebook has collapsed.',
            dict(val=codes(25, 24.0, 30.0), config=VECTOR),
            dict(val=codes(25, 24.0, 30.0, places=100), config=VECTOR),
        ),
        (
            'It predicts hidden tokens no better than the same answer everywhere would.',
            dict(val={'mim/acc': [9, 5.4], 'mim/commonest': [5, 5.0]}),
            dict(val={'mim/acc': [4, 5.6], 'mim/commonest': [5, 5.0]}),
        ),
        ('The loss is not finite.', dict(train=dict(loss=[3, np.nan])), dict(train=dict(loss=[3]))),
        ('The loss spikes.', dict(train=dict(loss=SPIKE)), dict(train=dict(loss=BUMP))),
        (
            'The loss does not fall.',
            dict(train=dict(loss=FALLING[::-1])),
            dict(train=dict(loss=FALLING)),
        ),
        (
            'It predicts worse on images that it has not trained on.',
            dict(train=dict(mim_acc=[60.0]), val={'mim/acc': [41.0]}),
            dict(train=dict(mim_acc=[60.0]), val={'mim/acc': [43.0]}),
        ),
        (
            'The error is larger on images that it has not trained on.',
            dict(train=dict(recon_mse=[0.1]), val={'tokenizer/recon_mse': [0.16]}),
            dict(train=dict(recon_mse=[0.1]), val={'tokenizer/recon_mse': [0.14]}),
        ),
        (
            'The error is larger on images that it has not trained on.',
            dict(
                train=dict(recon_mse=[0.1], temperature=[0.09]), val={'tokenizer/recon_mse': [0.16]}
            ),
            # Blended codes draw better than one a place, on any images.
            dict(train=dict(recon_mse=[0.1], temperature=[1]), val={'tokenizer/recon_mse': [0.9]}),
        ),
        (
            'The error is larger on images that it has not trained on.',
            dict(train=dict(loss=[2.0]), val=dict(loss=[3.1])),
            dict(train=dict(loss=[2.0]), val=dict(loss=[2.9])),
        ),
        (
            'Validation was better earlier in the run.',
            dict(val={'mIoU': [30, 50, 44]}),
            dict(val={'mIoU': [30, 50, 46]}),
        ),
        (
            'It waits for data 21% of the time.',
            dict(train=dict(time=[9, 1, 1], data_time=[0, 0.2, 0.22])),
            dict(train=dict(time=[9, 1, 1], data_time=[9, 0.2, 0.18])),
        ),
        (
            'The gradient is clipped in 96 % of the steps.',
            dict(train=dict(grad_norm=[9.0] * 4, grad_clipped=[0, 0, 95, 97.0]), config=CLIP),
            dict(train=dict(grad_norm=[9.0] * 4, grad_clipped=[100, 100, 94, 95.0]), config=CLIP),
        ),
        (
            'The learning rate is off its schedule: that is longer than the run.',
            dict(config=SCHEDULE, told=dict(planned=100)),
            dict(config=SCHEDULE, told=dict(planned=101)),
        ),
        (
            'The run did not reach its end: it was stopped, or is still running.',
            dict(told=dict(planned=100, reached=89, starts=1)),
            dict(told=dict(planned=100, reached=90, starts=1)),
        ),
        (
            'An epoch ended early.',
            dict(told=dict(an_epoch=10, lengths={10}), epochs={1: 1, 2: 10}),
            dict(told=dict(an_epoch=10, lengths={10}), epochs={1: 1, 2: 11}),
        ),
        (
            'Broken images were skipped 3 times, of 1 file.',
            dict(told=dict(num_broken=3, drawn=90, broken=['a.png: cut off'])),
            dict(told=dict(drawn=90)),
        ),
    ],
)
def test_a_sign_is_told_beyond_its_threshold_alone(title, beyond, within):
    assert title in said(stage(**beyond))
    # Nor with another number.
    words = re.split(r'\d', title)[0]
    assert not [other for other in said(stage(**within)) if other.startswith(words)]


def test_a_collapse_names_the_share_and_what_helps_that_tokenizer():
    found = said(stage(val=codes(25, 24.0, 30.0), config=VECTOR))['The codebook has collapsed.']
    assert found.startswith('wrong: 25 of 256 codes, 9.77 %, are used on the validation images')
    assert '--minutes' in found
    of_targets = dict(head=dict(vocab_size=8192), target_generator=dict(tokenizer=dict()))
    val = {'mim/codes_used': 300, 'mim/perplexity': 90, 'mim/places': 9000, 'mim/commonest': 12.5}
    found = said(stage(val=val, config=dict(model=of_targets)))['The codebook has collapsed.']
    assert 'as targets of the validation images, the commonest at 12.5 % of the places' in found
    assert "quantizer='vector'" in found


def test_an_epoch_of_a_run_that_went_on_with_fewer_devices_has_not_ended_early():
    told = dict(an_epoch=20, lengths={10, 20})
    assert said(stage(told=told, epochs={1: 1, 2: 11, 3: 21})) == {}


@pytest.mark.parametrize(
    ('rate', 'told'), [(0.39, 'too high'), (0.37, None), (0.0135, None), (0.013, 'too low')]
)
def test_a_rate_is_held_against_the_recipes_for_such_a_batch(rate, told):
    """Three times beyond 0.04, in proportion to the batch, and 0.126, by its root."""
    recipe = Recipe(
        'a.py', {'optim_wrapper.optimizer.lr': 0.4, 'train_dataloader.batch_size': 640}, []
    )
    config = dict(optim_wrapper=dict(optimizer=dict(lr=rate)), train_dataloader=dict(batch_size=64))
    titles = [title for title in said(stage(config=config, recipe=recipe)) if 'rate' in title]
    assert len(titles) == (told is not None)
    assert all(f'3 times {told} for its batch' in title for title in titles)


def test_half_the_time_waited_is_wrong_and_less_a_warning():
    levels = [
        said(stage(train=dict(time=[1, 1, 1], data_time=[1, share, share]))).popitem()[1]
        for share in (0.5, 0.49)
    ]
    assert [text.partition(':')[0] for text in levels] == ['wrong', 'warning']


def test_a_schedule_by_epochs_ends_with_the_epoch():
    config = dict(
        train_cfg=dict(max_epochs=10),
        param_scheduler=[dict(begin=2, end=9), dict(begin=2, T_max=6)],
    )
    made = stage(config=config, told=dict(an_epoch=20))
    ((title, text),) = said(made).items()
    assert title.endswith('that is shorter than the run.')
    assert 'param_scheduler ends at iteration 180, the run at 200.' in text
    config['param_scheduler'][1]['T_max'] = 8
    assert said(made) == {}


def test_old_logs_of_clipping_are_judged_by_the_mean_norm():
    norms = [1.0, 2.0, 5.0, 6.0]
    (text,) = said(stage(train=dict(grad_norm=norms), config=CLIP)).values()
    assert 'Its norm is 5.5 in the middle' in text
    assert said(stage(train=dict(grad_norm=norms[::-1]), config=CLIP)) == {}


def test_broken_images_are_a_share_of_those_drawn():
    (text,) = said(stage(told=dict(num_broken=3, drawn=90, broken=['a.png: cut off']))).values()
    assert '3.33 % of 90 drawn. First: a.png: cut off' in text


def test_a_spike_is_told_once_where_it_begins():
    values = np.where((np.arange(40) >= 25) & (np.arange(40) < 28), 3.6, FALLING)
    (text,) = said(stage(train=dict(loss=values))).values()
    assert 'At iteration 260; the highest is 3.6' in text


def test_codes_of_a_batch_are_held_against_the_places_of_all_devices():
    """Of 512 codes at 480 places 20 are too few, at 60 too little is known."""
    pipeline = [dict(type='Read'), dict(type='Mask', num_masked=15)]
    for devices, wrong in (('8', True), ('1', False)):
        loader = dict(batch_size=4, dataset=dict(pipeline=pipeline))
        config = dict(model=dict(head=dict(vocab_size=512)), train_dataloader=loader)
        told = dict(machine={'GPU number': devices})
        train = dict(mim_codes=20, mim_commonest=30.0)
        found = said(stage(train=train, config=config, told=told))
        assert list(found) == ['The codebook has collapsed.'] * wrong
        assert all('the commonest at 30 % of the places' in text for text in found.values())


GLOBAL = 'custom_hooks.0.global_batch_size'


@pytest.mark.parametrize(
    ('recipe', 'own', 'batches'),
    [
        ({'train_dataloader.batch_size': 64}, {}, (8, 64)),
        ({'train_dataloader.batch_size': 64}, dict(accumulative_counts=4), (32, 64)),
        ({GLOBAL: 2048, 'train_dataloader.batch_size': 64}, {}, (8, 2048)),
        ({GLOBAL: 2048}, dict(global_batch_size=256), (256, 2048)),
    ],
)
def test_a_batch_is_what_a_step_of_the_optimizer_sees(recipe, own, batches):
    """Four images each on two devices, over some iterations, or what a hook makes of them."""
    recipe = Recipe('a.py', {'optim_wrapper.optimizer.lr': 0.001, **recipe}, [])
    config = dict(
        optim_wrapper=dict(
            optimizer=dict(lr=9.0), accumulative_counts=own.get('accumulative_counts', 1)
        ),
        train_dataloader=dict(batch_size=4),
        custom_hooks=[dict(type='Any'), {'type': 'Hook', **own}],
    )
    told = dict(machine={'GPU number': '2'})
    (found,) = said(stage(config=config, recipe=recipe, told=told)).values()
    assert f'A step sees {batches[0]} images at a rate of 9; ' in found
    assert f'the recipe a.py has 0.001 for {batches[1]:,}.' in found
    assert f'In proportion to the batch it would be {0.001 * batches[0] / batches[1]:.3g},' in found
    assert f'by its root {0.001 * (batches[0] / batches[1]) ** 0.5:.3g} ' in found
