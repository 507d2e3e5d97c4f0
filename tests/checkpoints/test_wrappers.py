"""Whatever a training tool puts around the weights of a BEiT, the weights come out."""

import logging
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from beit_mm.checkpoints import LAYOUTS as EVERY_LAYOUT
from beit_mm.checkpoints import (
    OF_VIT_ALONE,
    CheckpointError,
    convert_state_dict,
    load_state_dict,
    take_tensors,
    take_weights,
)
from beit_mm.engine.running.public_weights import PublicWeightsHook
from beit_mm.models import BEiT

# Of a BEiT.
LAYOUTS = [each for each in EVERY_LAYOUT if each not in OF_VIT_ALONE]
ARCH = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)


def small(seed=0, **form):
    torch.manual_seed(seed)
    return BEiT(ARCH, img_size=32, out_type='raw', **form)


def weights_of(layout, seed=0):
    return convert_state_dict(small(seed).state_dict(), layout)


def under(prefix, weights):
    return {f'{prefix}{name}': tensor for name, tensor in weights.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].equal(tensor), name


def in_blocks(part):
    """As if each block had been wrapped by itself, and the whole once more."""

    def wrap(weights):
        return {
            f'{part}.' + name.replace('.0.', f'.0.{part}.', 1).replace('.1.', f'.1.{part}.', 1): t
            for name, t in weights.items()
        }

    return wrap


OPTIMIZER = dict(state={0: dict(exp_avg=torch.ones(2))}, param_groups=[dict(lr=1e-3)])
# FSDP's optimizer names its state after the weights.
NAMED_OPTIMIZER = dict(state={'blocks.0.norm1.weight': dict(exp_avg=torch.ones(2))})
TOOLS = {
    'nothing': lambda w: w,
    'torch.compile': lambda w: under('_orig_mod.', w),
    'DDP': lambda w: under('module.', w),
    'DDP of torch.compile': lambda w: under('module._orig_mod.', w),
    'torch.compile of DDP': lambda w: under('_orig_mod.module.', w),
    'averages of DDP': lambda w: {**under('module.module.', w), 'n_averaged': torch.tensor(3)},
    'compiled blocks': in_blocks('_orig_mod'),
    'FSDP': in_blocks('_fsdp_wrapped_module'),
    'recomputation': in_blocks('_checkpoint_wrapped_module'),
    'all of them': lambda w: under('module.', in_blocks('_orig_mod._fsdp_wrapped_module')(w)),
    'Lightning': lambda w: dict(
        state_dict={**under('model.', w), 'criterion.weight': torch.ones(3)}, epoch=1,
        optimizer_states=[OPTIMIZER], loops=dict(fit_loop=dict(state_dict={})),
        **{'pytorch-lightning_version': '2.5.0'},
    ),
    'Lightning, a backbone': lambda w: dict(
        state_dict={**under('model.backbone.', w), 'model.head.weight': torch.ones(3, 8)}
    ),
    'an encoder': lambda w: under('encoder.', w),
    'an encoder in a net': lambda w: dict(net=under('net.encoder.', w)),
    'DeepSpeed': lambda w: dict(module=under('model.', w), optimizer=NAMED_OPTIMIZER),
    'accelerate': lambda w: dict(model=w, optimizer=NAMED_OPTIMIZER, scaler=dict(scale=1.0)),
    'a name that nobody knows': lambda w: dict(my_network=w, history=[1, 2]),
    'two names that nobody knows': lambda w: dict(run=dict(my_network=w), history=[1, 2]),
    'only averages': lambda w: dict(model_ema=w),
    'NumPy arrays': lambda w: dict(model={n: t.numpy() for n, t in w.items()}),
    'NumPy arrays, big-endian': lambda w: {
        n: t.numpy().astype(t.numpy().dtype.newbyteorder('>')) for n, t in w.items()
    },
    'ordered': lambda w: dict(state_dict=OrderedDict(under('module.', w))),
}  # fmt: skip


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_around_every_layout(tmp_path, tool, layout):
    weights = weights_of(layout)
    torch.save(TOOLS[tool](weights), tmp_path / 'a.pth')
    found = load_state_dict(tmp_path / 'a.pth')
    if tool == 'Lightning, a backbone':
        # A whole model, where a layout knows such a one.
        assert ('head.weight' in found) == ('huggingface' not in layout)
        found.pop('head.weight', None)
        found = {name.removeprefix('backbone.'): tensor for name, tensor in found.items()}
    assert_same(found, weights)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_backbone_takes_them_all(tmp_path, layout):
    expected = small().state_dict()
    for tool, wrap in TOOLS.items():
        torch.save(wrap(weights_of(layout)), tmp_path / 'a.pth')
        model = small(seed=1)
        model.load_pretrained(str(tmp_path / 'a.pth'))
        for name, tensor in expected.items():
            assert model.state_dict()[name].equal(tensor), (tool, name)


def test_names_as_torch_itself_makes_them(tmp_path):
    """What the tables above say of torch is true of torch."""
    weights = small().state_dict()
    compiled = torch.compile(small())
    assert all(name.startswith('_orig_mod.') for name in compiled.state_dict())
    recomputed = small()
    recomputed.blocks[0] = checkpoint_wrapper(recomputed.blocks[0])
    names = dict(recomputed.named_parameters())
    assert any('blocks.0._checkpoint_wrapped_module.' in name for name in names)
    averaged = torch.optim.swa_utils.AveragedModel(nn.DataParallel(small()))
    for tool, state in [('a', compiled.state_dict()), ('b', averaged.state_dict())]:
        torch.save(state, tmp_path / f'{tool}.pth')
        assert_same(load_state_dict(tmp_path / f'{tool}.pth'), weights)
    torch.save(names, tmp_path / 'c.pth')
    assert load_state_dict(tmp_path / 'c.pth').keys() == dict(small().named_parameters()).keys()


# --- any nesting ------------------------------------------------------------------------------

BEFORE = ['module.', '_orig_mod.', '_fsdp_wrapped_module.', 'model.', 'net.', 'encoder.', 'trunk.']
AROUND = ['state_dict', 'model', 'module', 'checkpoint', 'weights']
BESIDE = dict(
    epoch=3, optimizer=OPTIMIZER, args=dict(lr=0.1), meta=dict(seed=1), names=['a'],
    message_hub=dict(runtime_info=dict(last=torch.ones(1))), loss=torch.tensor(1.0),
)  # fmt: skip
MANY = {layout: (weights_of(layout, 0), weights_of(layout, 1)) for layout in LAYOUTS}


@settings(max_examples=200, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    prefixes=st.lists(st.sampled_from(BEFORE), max_size=4),
    containers=st.lists(
        st.tuples(st.sampled_from(AROUND), st.sets(st.sampled_from(sorted(BESIDE)))), max_size=4
    ),
)
def test_any_nesting(layout, prefixes, containers):
    weights = MANY[layout][0]
    content = under(''.join(prefixes), weights)
    for key, beside in containers:
        content = {**{name: BESIDE[name] for name in beside}, key: content}
    assert_same(take_weights(content), weights)


@settings(max_examples=200, deadline=None)
@given(
    layout=st.sampled_from(LAYOUTS),
    names=st.sampled_from(
        [('student', 'teacher'), ('model', 'model_ema'), ('state_dict', 'state_dict_ema'),
         ('encoder', 'momentum_encoder'), ('net', 'ema'), ('encoder', 'target_encoder')]
    ),
    by_name=st.booleans(),
    swapped=st.booleans(),
    inside=st.lists(st.sampled_from(BEFORE), max_size=2),
    containers=st.lists(st.sampled_from(['state_dict', 'checkpoint']), max_size=2),
)  # fmt: skip
def test_any_nesting_of_two_sets(layout, names, by_name, swapped, inside, containers):
    trained, averaged = MANY[layout]
    sets = list(zip(names, (trained, averaged), strict=True))
    content = {}
    for name, weights in reversed(sets) if swapped else sets:
        wrapped = under(''.join(inside), weights)
        content.update(under(f'{name}.', wrapped) if by_name else {name: wrapped})
    for key in containers:
        content = {key: content}
    assert_same(take_weights(content), trained)
    assert_same(take_weights(content, names[0]), trained)
    assert_same(take_weights(content, names[1]), averaged)
    assert_same(take_weights(content, 'ema'), averaged)


# --- several sets -----------------------------------------------------------------------------


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_instance('wrappers')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger='wrappers'):
        yield caplog
    logger.removeHandler(caplog.handler)


def lines(log):
    return [record.message for record in log.records]


def test_a_line_says_which_sets_there_are_and_how_to_take_another(log):
    first, second = MANY['timm']
    take_weights(dict(model=first, model_ema=second, optimizer=OPTIMIZER), source='a.pth')
    assert lines(log) == [
        "a.pth holds several sets of weights: model, model_ema (averaged); taken: model; which="
        "'model_ema' takes another (prefix='model_ema' in init_cfg)"
    ]  # fmt: skip
    log.clear()
    take_weights({**under('teacher.', second), **under('student.', first)}, source='b.pth')
    assert lines(log) == [
        'b.pth holds several sets of weights: student, teacher (averaged); taken: student; '
        "which='teacher' takes another (prefix='teacher' in init_cfg)"
    ]
    log.clear()
    # Asked for, or alone, there is nothing to say.
    take_weights(dict(model=first, model_ema=second), 'model_ema')
    take_weights(dict(model=first, epoch=3))
    assert lines(log) == []


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_a_model_with_another_transformer_inside_keeps_all_its_names(log, prefix):
    """Such as a tokenizer of BEiT v2, whichever comes first."""
    first, second = MANY['timm']
    inner = under('target_generator.encoder.', second)
    weights = {**inner, **under(prefix, first)}
    assert_same(take_weights(weights), weights)
    assert 'taken: without a prefix;' in log.text
    assert_same(take_weights(weights, 'target_generator.encoder'), second)


def test_what_lies_beside_an_encoder_is_told(log):
    take_weights(
        {**under('encoder.', MANY['timm'][0]), 'projector.0.weight': torch.ones(2)}, '', 'a'
    )
    assert lines(log) == ['a: weights of encoder.* are taken, projector.0.weight are beside them']


def test_accumulated_gradients_are_no_weights(log):
    """They bear the names of the weights."""
    first, second = MANY['beit_mm']
    for name in ('accumulated', 'gradients'):
        assert_same(take_weights({name: second, 'state_dict': first}), first)
    assert lines(log) == []


def test_mmengine_keeps_the_averages_where_others_keep_the_weights():
    live, averaged = MANY['beit_mm']
    content = dict(
        meta=dict(mmengine_version='0.10.7'), state_dict=averaged,
        ema_state_dict={**under('module.', live), 'steps': torch.tensor(3)},
    )  # fmt: skip
    for which, expected in [('', averaged), ('ema', averaged), ('ema_state_dict', live)]:
        assert_same(take_weights(content, which), expected)


def test_names_of_the_whole_model_stay_for_a_run_that_is_resumed():
    """Its own model has them; only DDP's and the container go."""
    weights = under('student.backbone._orig_mod.', MANY['timm'][0])
    assert_same(take_tensors(dict(state_dict=under('module.', weights))), weights)


def test_a_model_that_calls_its_backbone_otherwise_takes_its_own_and_others(tmp_path):
    """``load_from`` of a run: names of one's own model first, wrappers else."""

    class Runner:
        _resume, _load_from = False, 'a.pth'
        model = nn.ModuleDict(dict(student=small(1), teacher=small(2)))

    own = nn.ModuleDict(dict(student=small(0), teacher=small(3))).state_dict()
    compiled = under('_orig_mod.', small(0).state_dict())
    for weights in (own, compiled, under('encoder.', small(0).state_dict())):
        checkpoint = dict(state_dict=weights)
        PublicWeightsHook().after_load_checkpoint(Runner, checkpoint)
        for name, tensor in small(0).state_dict().items():
            assert checkpoint['state_dict'][f'student.{name}'].equal(tensor)
        has_teacher = any(name.startswith('teacher.') for name in checkpoint['state_dict'])
        assert has_teacher == (weights is own)


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('content', 'which', 'message'),
    [
        (dict(model=MANY['timm'][0]), 'teacher',
         r"a\.pth holds no weights called 'teacher'; names in it begin with cls_token, "),
        (dict(model=MANY['timm'][0]), 'ema', r'a\.pth holds no averaged weights \(ema_state_dict'),
        (dict(optimizer=OPTIMIZER, epoch=3), '', r'a\.pth holds no tensors'),
        (dict(optimizer=NAMED_OPTIMIZER), '', r'a\.pth holds no tensors'),
        ({'a._orig_mod.b': torch.ones(1), 'a.b': torch.ones(1)}, '', 'several tensors under one'),
        (dict(model={'a.b': np.array(['x'])}), '', r'a\.pth holds no tensors'),
        (dict(model=[1, 2]), '', r'a\.pth holds no tensors'),
    ],
)  # fmt: skip
def test_refusals_are_one_line_with_the_name(content, which, message):
    with pytest.raises(CheckpointError, match=message) as error:
        take_weights(content, which, 'a.pth')
    assert '\n' not in str(error.value)


def test_only_what_is_taken_must_be_finite():
    first, second = MANY['timm']
    broken = {**second, 'cls_token': second['cls_token'] / 0}
    for content in (
        dict(student=first, teacher=broken),
        {**under('student.', first), **under('teacher.', broken)},
    ):
        assert_same(take_weights(content), first)
        with pytest.raises(CheckpointError, match="not finite in 'cls_token'"):
            take_weights(content, 'teacher')


@pytest.mark.parametrize('width', [1, 12])
def test_containers_that_hold_themselves_end(width):
    content = {}
    content.update({f'a{index}': content for index in range(width)})
    inner = {}
    for depth in range(20):
        inner = {f'b{depth}_{index}': inner for index in range(width)}
    content['inner'] = inner
    with pytest.raises(CheckpointError, match='holds no tensors'):
        take_weights(content)
