"""A run made shorter by one setting: its schedules keep their shape."""

import pytest
from mmengine.config import Config

from beit_mm.engine.starting.run_length import follow_length


def config(length=100, key='max_iters'):
    return Config(
        dict(
            train_cfg={key: length},
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=10, by_epoch=False),
                dict(type='CosineAnnealingLR', begin=10, end=100, T_max=90, by_epoch=False),
                dict(type='MultiStepLR', milestones=[50, 80], by_epoch=False),
            ],
        )
    )


def shortened(options, length=100):
    cfg = config(length)
    before = cfg.to_dict()['train_cfg']
    cfg.merge_from_dict(options)
    return cfg, follow_length(cfg, before, options)


@pytest.mark.parametrize(
    ('length', 'ends', 'milestones'),
    [(50, (5, 50, 45), [25, 40]), (1000, (100, 1000, 900), [500, 800]), (3, (1, 3, 3), [2, 2])],
)
def test_schedules_follow(length, ends, milestones):
    cfg, said = shortened({'train_cfg.max_iters': length})
    warmup, cosine, steps = cfg.param_scheduler
    assert (warmup.end, cosine.end, cosine.T_max) == ends
    assert steps.milestones == milestones
    assert said.startswith(f'train_cfg.max_iters is {length} in place of 100, and so ')
    assert f'param_scheduler.0.end={ends[0]} ' in said
    assert said.endswith(f'param_scheduler.2.milestones={milestones}')
    for scheduler in (warmup, cosine):
        assert scheduler.end > scheduler.begin


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.max_iters': 100},
        {'train_cfg.val_interval': 5},
        {'train_cfg.max_iters': 50, 'param_scheduler.0.end': 3},
        {'train_cfg.max_epochs': 5},
    ],
)
def test_what_is_said_otherwise_stays(options):
    cfg, said = shortened(options)
    given = options.get('param_scheduler.0.end', 10)
    assert cfg.param_scheduler[0].end == given
    assert cfg.param_scheduler[1].end == 100
    assert not said


@pytest.mark.parametrize(
    ('scheduler', 'place', 'expected'),
    [
        (dict(type='OneCycleLR', total_steps=100), 'total_steps', 50),
        (dict(type='StepLR', step_size=30), 'step_size', 15),
        (dict(type='CosineRestartLR', periods=[40, 60]), 'periods', [20, 30]),
        (dict(type='CosineAnnealingLR', T_max=100), 'T_max', 50),
    ],
)
def test_lengths_of_every_kind(scheduler, place, expected):
    cfg = Config(dict(train_cfg=dict(max_iters=50), param_scheduler=scheduler))
    said = follow_length(cfg, dict(max_iters=100), {'train_cfg.max_iters': 50})
    assert cfg.param_scheduler[place] == expected
    assert said.endswith(f'and so param_scheduler.{place}={expected}')


def test_no_part_of_a_run_vanishes_and_what_has_none_is_not_said_to_follow():
    cfg = Config(dict(train_cfg=dict(max_iters=1), param_scheduler=dict(type='A', T_max=40)))
    follow_length(cfg, dict(max_iters=100), {'train_cfg.max_iters': 1})
    assert cfg.param_scheduler.T_max == 1
    cfg.param_scheduler = dict(type='ConstantLR', factor=0.5)
    assert follow_length(cfg, dict(max_iters=100), {'train_cfg.max_iters': 1}) == ''
