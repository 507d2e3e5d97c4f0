"""Shared groups change no bit of the result, and take checkpoints that were saved without them."""

import copy
import itertools

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.optim import LinearLR, OptimWrapperDict, build_optim_wrapper
from mmengine.runner import Runner
from noisy_run import KillAt, Killed, Model, Noisy
from torch import nn

from beit_mm.checkpoints import read_checkpoint
from beit_mm.engine.optimizing import param_groups
from beit_mm.engine.optimizing.param_groups import share_groups, share_groups_of_config
from beit_mm.engine.running.accumulated import iterations_waiting
from beit_mm.engine.running.exact_resume import exact_train_cfg
from beit_mm.models import BEiT

run_numbers = itertools.count()
ARCH = dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48)
ADAMW = dict(type='beit_mm.FusedAdamW', lr=1e-2, weight_decay=0.1)
# As configs/beit_pretrain.py has them, with a rate of its own for one part.
PARAMWISE = dict(
    flat_decay_mult=0.0,
    custom_keys={'.cls_token': dict(decay_mult=0.0), 'patch_embed': dict(lr_mult=0.5)},
)
SETTINGS = {
    'plain': dict(optimizer=ADAMW),
    'by parameter': dict(optimizer=ADAMW, paramwise_cfg=PARAMWISE),
    'layer decay': dict(
        optimizer=ADAMW,
        constructor='beit_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.7),
    ),
    'momentum': dict(
        optimizer=dict(type='SGD', lr=1e-2, momentum=0.9, weight_decay=0.1),
        paramwise_cfg=PARAMWISE,
    ),
}


def grouped(settings):
    cfg = Config(dict(optim_wrapper=copy.deepcopy(settings)))
    share_groups_of_config(cfg)
    share_groups_of_config(cfg)  # a config that has been changed already stays as it is
    return cfg.optim_wrapper


def backbone():
    torch.manual_seed(0)
    return BEiT(ARCH, img_size=32, patch_size=8, drop_path_rate=0.2, use_abs_pos_emb=True)


def train(model, wrapper, steps, seed=0):
    torch.manual_seed(seed)
    scheduler = LinearLR(wrapper, start_factor=0.1, end=10)
    for _ in range(steps):
        wrapper.update_params(model(torch.randn(4, 3, 32, 32))[0].square().mean())
        scheduler.step()
    return scheduler


@pytest.mark.parametrize('settings', SETTINGS.values(), ids=SETTINGS)
def test_twenty_steps_give_the_same_parameters_bit_for_bit(settings):
    ours, plain = backbone(), backbone()
    shared, alone = (
        build_optim_wrapper(ours, grouped(settings)),
        build_optim_wrapper(plain, settings),
    )
    train(ours, shared, 20)
    train(plain, alone, 20)
    start = backbone().state_dict()
    moved = 0
    for name, weight in plain.named_parameters():
        assert torch.equal(weight, ours.get_parameter(name)), name
        moved += not torch.equal(weight, start[name])
    # A norm's weight of 1 may stay where its rounding puts it.
    assert moved > 0.9 * len(list(plain.parameters()))


@pytest.mark.parametrize(
    ('settings', 'number'), [('plain', 1), ('by parameter', 3), ('layer decay', 9)]
)
def test_there_is_one_group_for_each_kind(settings, number):
    """By parameter: with decay, without, and at half the rate; each depth but one has two."""
    model = backbone()
    wrapper = build_optim_wrapper(model, grouped(SETTINGS[settings]))
    alone = build_optim_wrapper(model, SETTINGS[settings])
    rates = {
        id(p): (g['lr'], g['weight_decay'])
        for g in alone.optimizer.param_groups
        for p in g['params']
    }
    groups = wrapper.optimizer.param_groups
    assert len(groups) == len(set(rates.values())) == number
    found = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    assert found == rates
    assert sum(len(g['params']) for g in groups) == len(list(model.parameters()))


def test_the_paper_s_recipe_has_two_groups():
    cfg = Config.fromfile('configs/beit_pretrain.py')
    share_groups_of_config(cfg)
    model = nn.ModuleDict(dict(backbone=backbone()))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert sorted(g['weight_decay'] for g in wrapper.optimizer.param_groups) == [0.0, 0.05]


class OneForEachPart:
    """A constructor with an optimizer for each part of a model."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        self.settings = optim_wrapper_cfg

    def __call__(self, model):
        parts = {name: build_optim_wrapper(part, dict(type='OptimWrapper', **self.settings))
                 for name, part in model.named_children()}  # fmt: skip
        return OptimWrapperDict(**parts)


def test_several_optimizers_keep_their_groups():
    model = nn.ModuleDict(dict(one=nn.Linear(2, 2), other=nn.Linear(2, 2)))
    cfg = Config(dict(optim_wrapper=dict(optimizer=ADAMW, constructor=OneForEachPart)))
    share_groups_of_config(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert [len(groups) for groups in wrapper.param_groups.values()] == [1, 1]
    assert iterations_waiting(wrapper) == 0


def test_settings_that_differ_keep_groups_apart():
    """A tensor is a setting by itself: whoever changes one group's must not change another's."""
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(6)]
    rates = [torch.tensor(0.1), torch.tensor(0.1)]
    groups = [
        dict(params=weights[:1], lr=rates[0]),
        dict(params=weights[1:2], lr=rates[1]),
        dict(params=weights[2:3], lr=rates[0]),
        dict(params=weights[3:4], lr=0.1),
        dict(params=weights[4:5], lr=0.1, name='mine'),
        dict(params=weights[5:], lr=0.1, name='yours'),
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    assert share_groups(optimizer).shared == (0, 1, 0, 2, 3, 4)
    first = optimizer.param_groups[0]['params']
    assert [id(p) for p in first] == [id(weights[0]), id(weights[2])]


# ----------------------------------------------------------------------------------------------
# Checkpoints of either form
# ----------------------------------------------------------------------------------------------


def run(work_dir, shared, resume=False, kill_at=None):
    """A short run by mmengine's Runner, with a rate of its own for batch norm."""
    torch.manual_seed(0)
    paramwise = dict(flat_decay_mult=0.0, custom_keys={'net.1': dict(lr_mult=0.25)})
    optim_wrapper = dict(optimizer=ADAMW, paramwise_cfg=paramwise, clip_grad=dict(max_norm=0.5))
    Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Noisy(),
            batch_size=4,
            num_workers=0,
            sampler=dict(type=DefaultSampler, shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=exact_train_cfg(dict(by_epoch=False, max_iters=12)),
        optim_wrapper=grouped(optim_wrapper) if shared else optim_wrapper,
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
            dict(type='CosineAnnealingLR', by_epoch=False, begin=4, T_max=8, eta_min_ratio=0.1),
        ],
        default_hooks=dict(
            runtime_info=dict(type='beit_mm.RuntimeInfoHook'),
            checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=3),
        ),
        custom_hooks=[dict(type='beit_mm.PublicWeightsHook'), KillAt(kill_at)],
        randomness=dict(seed=1),
        resume=resume,
        log_level='WARNING',
        experiment_name=f'test_param_groups_{next(run_numbers)}',
    ).train()
    return read_checkpoint(work_dir / 'iter_12.pth')


@pytest.mark.parametrize('before', [False, True], ids=['alone before', 'shared before'])
def test_a_run_goes_on_from_a_checkpoint_of_either_form(tmp_path, before):
    """Rates and weights are those of a run that was never stopped and shares nothing.

    Gradients are clipped: the norm is added up in the model's order, whatever the groups.
    """
    undisturbed = run(tmp_path / 'whole', shared=False)
    with pytest.raises(Killed):
        run(tmp_path / 'stopped', shared=before, kill_at=7)
    resumed = run(tmp_path / 'stopped', shared=True, resume=True)
    for name, weight in undisturbed['state_dict'].items():
        assert torch.equal(weight, resumed['state_dict'][name]), name
    rates, own_rates = (
        {group['lr'] for group in content['optimizer']['param_groups']}
        for content in (undisturbed, resumed)
    )
    assert rates == own_rates
    assert len(rates) == 2
    assert len(resumed['optimizer']['param_groups']) == 3
    assert all(len(state['base_values']) == 4 for state in resumed['param_schedulers'])


def test_an_optimizer_loads_either_form_without_a_runner():
    settings = SETTINGS['by parameter']
    plain = backbone()
    alone = build_optim_wrapper(plain, settings)
    train(plain, alone, 3)
    state, weights = copy.deepcopy((alone.state_dict(), plain.state_dict()))
    train(plain, alone, 3, seed=1)
    for _ in range(2):
        ours = backbone()
        ours.load_state_dict(weights)
        shared = build_optim_wrapper(ours, grouped(settings))
        shared.load_state_dict(state)
        # The second time from the form that this one saves.
        state = copy.deepcopy(shared.state_dict())
        train(ours, shared, 3, seed=1)
        for name, weight in plain.named_parameters():
            assert torch.equal(weight, ours.get_parameter(name)), name


def test_groups_of_another_model_are_left_to_torchs_error():
    optimizer = torch.optim.SGD(
        [dict(params=[nn.Parameter(torch.zeros(2))]) for _ in range(3)], lr=1
    )
    share_groups(optimizer)
    other = torch.optim.SGD([nn.Parameter(torch.zeros(2)) for _ in range(5)], lr=1)
    with pytest.raises(ValueError, match='parameter group'):
        optimizer.load_state_dict(other.state_dict())


def test_schedulers_of_other_lengths_are_left_alone():
    grouping = param_groups.Grouping((1, 1, 1), (0, 1, 0))
    states = [dict(base_values=[1, 2, 3], _last_value=[4, 5, 6, 7], end=3), dict(base_values=[1])]
    param_groups.share_groups_of_schedulers(states, grouping)
    assert states == [dict(base_values=[1, 2], _last_value=[4, 5, 7], end=3), dict(base_values=[1])]
