"""What parts of MMPretrain, MMSegmentation and mmengine need to work with this project's."""

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ...checkpoints.layout_tables import BACKBONE
from ...checkpoints.layouts import COLUMNS
from ...component import Component, did_you_mean

# Visualizer backend -> the package that it takes, and what pip installs.
TRACKERS = {
    'TensorboardVisBackend': ('tensorboard', "'beit-mm[trackers]'"),
    'WandbVisBackend': ('wandb', "'beit-mm[trackers]'"),
    'MLflowVisBackend': ('mlflow', "'beit-mm[trackers]'"),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
}
# Necks whose features are as wide as the backbone's.
KEEPING_WIDTH = (
    'ClsBatchNormNeck', 'Feature2Pyramid', 'GeneralizedMeanPooling', 'GlobalAveragePooling',
)  # fmt: skip
# MMSegmentation's constructors, which find depths by the names of its own Transformers.
BY_THEIR_NAMES = ('LayerDecayOptimizerConstructor', 'LearningRateDecayOptimizerConstructor')
# Of MMSegmentation's IoUMetric, by each of its iou_metrics.
OF_IOU = {
    'mIoU': ['mIoU', 'mAcc'],
    'mDice': ['mDice', 'mAcc'],
    'mFscore': ['mFscore', 'mPrecision', 'mRecall'],
}


def check_widths(model: Component) -> Iterator[str]:
    """Necks and heads take features as wide as the backbone makes them."""
    backbone = model.part('backbone')
    try:
        width = backbone.ask('width_of')
    except (KeyError, TypeError, ValueError) as error:
        # A task of this project asks for the width itself, and says so.
        if model.package != 'beit_mm':
            yield f'{model.key}.backbone: {error}'
        return
    if not isinstance(width, int):
        if width is not None:
            yield f'{model.key}.backbone: embed_dims is {width!r}; it must be an integer'
        return
    if backbone.get('out_type') == 'cls_token':
        # Of DeiT's distilled networks two tokens, one beside the other.
        tokens = backbone.get('num_extra_tokens')
        if not isinstance(tokens, int):
            return
        width *= tokens
    neck = model.part('neck')
    if neck.given.get('embed_dim') not in (None, width):
        yield _other_width(f'{neck.key}.embed_dim', neck['embed_dim'], width)
    if neck.given and str(neck.given.get('type')).rpartition('.')[2] not in KEEPING_WIDTH:
        return
    heads = [(name, model.given.get(name)) for name in ('head', 'decode_head')]
    auxiliary = model.given.get('auxiliary_head')
    if isinstance(auxiliary, (list, tuple)):
        heads += [(f'auxiliary_head[{i}]', head) for i, head in enumerate(auxiliary)]
    else:
        heads.append(('auxiliary_head', auxiliary))
    for name, head in heads:
        given = head.get('in_channels') if isinstance(head, Mapping) else None
        every = given if isinstance(given, (list, tuple)) else [given]
        if any(isinstance(one, int) and one != width for one in every):
            yield _other_width(f'model.{name}.in_channels', given, width)


def _other_width(key: str, given: Any, width: int) -> str:
    wanted = [width] * len(given) if isinstance(given, (list, tuple)) else width
    return f'{key} is {given}; it must be {wanted}, by the width of model.backbone'


def check_segments(cfg: Config, model: Component) -> Iterator[str]:
    """Heads of a segmentor have a channel for each class of the data set."""
    wanted = model.part('decode_head').given.get('num_classes')
    if wanted is not None and not isinstance(wanted, int):
        yield f'model.decode_head.num_classes is {wanted!r}; it must be an integer'
    losses = model.part('decode_head').given.get('loss_decode') or {}
    every = losses if isinstance(losses, (list, tuple)) else [losses]
    if wanted == 1 and not any(loss.get('use_sigmoid') for loss in every):
        yield 'model.decode_head.num_classes is 1: with one class there is nothing to learn'
    for loader in ('train_dataloader', 'val_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        component = Component(f'{loader}.dataset', dataset, model.find)
        named = (dataset.get('metainfo') or {}).get('classes')
        known = named or getattr(component.kind, 'METAINFO', {}).get('classes')
        if isinstance(wanted, int) and isinstance(known, (list, tuple)) and len(known) != wanted:
            yield (
                f'model.decode_head.num_classes is {wanted}, and {component.key} names '
                f'{len(known)} classes (metainfo.classes)'
            )


def check_topk(cfg: Config, model: Component) -> Iterator[str]:
    """There are as many classes as MMPretrain's Accuracy looks at."""
    classes = model.part('head').given.get('num_classes')
    for key in ('val_evaluator', 'test_evaluator'):
        value = cfg.get(key) or []
        for evaluator in value if isinstance(value, list) else [value]:
            topk = (
                evaluator.get('topk') if str(evaluator.get('type')).endswith('Accuracy') else None
            )
            every = topk if isinstance(topk, (list, tuple)) else [topk]
            largest = max((k for k in every if isinstance(k, int)), default=0)
            if isinstance(classes, int) and largest > classes:
                yield f'{key}.topk is {topk}; there are {classes} classes: give {key}.topk=1'


def check_trackers(cfg: Config) -> Iterator[str]:
    """The packages of visualizer backends are installed."""
    visualizer = cfg.get('visualizer')
    backends = visualizer.get('vis_backends') if isinstance(visualizer, Mapping) else None
    for index, backend in enumerate(backends or []):
        kind = str(backend.get('type')).rpartition('.')[2]
        package, distribution = TRACKERS.get(kind, ('', ''))
        if package and importlib.util.find_spec(package) is None:
            yield (
                f'visualizer.vis_backends[{index}] needs the package {package}, which is not '
                f'installed: pip install {distribution}'
            )


def _hooks(cfg: Config) -> Iterator[tuple[str, Mapping]]:
    """(key, settings) of all hooks."""
    every = {f'default_hooks.{k}': v for k, v in (cfg.get('default_hooks') or {}).items()}
    every |= {f'custom_hooks[{i}]': v for i, v in enumerate(cfg.get('custom_hooks') or [])}
    yield from ((key, hook) for key, hook in every.items() if isinstance(hook, Mapping))


def check_drawing(cfg: Config, model: Component) -> Iterator[str]:
    """MMPretrain's hook draws classes, which a pre-training does not predict."""
    ours = model.package == 'beit_mm'
    for key, hook in _hooks(cfg):
        draws = str(hook.get('type')).rpartition('.')[2] == 'VisualizationHook'
        if draws and hook.get('enable') and ours:
            yield (
                f'{key}: VisualizationHook draws the classes of a classifier, and '
                f'{model.given["type"]} predicts none; set {key}.enable=False'
            )


def check_best(cfg: Config, find: Any) -> Iterator[str]:
    """``save_best`` and ``monitor`` name a figure that the evaluators report."""
    if not cfg.get('val_evaluator'):
        return
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    reported: list[str] = []
    for evaluator in evaluators:
        names = _reported_by(Component('val_evaluator', evaluator, find))
        if names is None:
            return
        reported += names
    for key, figure in _watched(cfg):
        if figure != 'auto' and figure not in reported:
            ends = [name for name in reported if name.rpartition('/')[2] == figure]
            asked = f'; did you mean {ends[0]!r}?' if ends else did_you_mean(figure, reported)
            yield f'{key} is {figure!r}; the evaluators report {", ".join(reported)}{asked}'


def _watched(cfg: Config) -> Iterator[tuple[str, str]]:
    """(key, figure) of the hooks that follow one."""
    for key, hook in _hooks(cfg):
        for setting in ('save_best', 'monitor'):
            given = hook.get(setting)
            for figure in [given] if isinstance(given, str) else given or []:
                yield f'{key}.{setting}', figure


def _reported_by(evaluator: Component) -> list[str] | None:
    """Names of the figures of a metric, None if they are not known."""
    names = evaluator.ask('reported') or _reported_by_others(evaluator)
    if names is None:
        return None
    prefix = evaluator.given.get('prefix') or getattr(evaluator.kind, 'default_prefix', None)
    return [f'{prefix}/{name}' if prefix else name for name in names]


def _reported_by_others(evaluator: Component) -> list[str] | None:
    kind = str(evaluator.given.get('type')).rpartition('.')[2]
    if kind == 'Accuracy' and not evaluator.given.get('thrs'):
        topk = evaluator.get('topk')
        return [f'top{k}' for k in (topk if isinstance(topk, (list, tuple)) else [topk])]
    if kind == 'AveragePrecision':
        return ['mAP' if evaluator.get('average') == 'macro' else 'AP_classwise']
    if kind == 'IoUMetric':
        wanted = evaluator.get('iou_metrics') or []
        if all(name in OF_IOU for name in wanted):
            return ['aAcc', *(figure for name in wanted for figure in OF_IOU[name])]
    return None


def check_constructor(cfg: Config, model: Component) -> Iterator[str]:
    """Learning rates by depth reach this project's blocks."""
    settings = cfg.get('optim_wrapper') or {}
    constructor, backbone = str(settings.get('constructor')), model.part('backbone')
    if constructor.rpartition('.')[2] not in BY_THEIR_NAMES or backbone.package != 'beit_mm':
        return
    given = settings.get('paramwise_cfg') or {}
    rate = given.get('layer_decay_rate', given.get('decay_rate', 0.9))
    yield (
        f'optim_wrapper.constructor is {constructor!r}, which knows blocks as backbone.layers and '
        f'would train all of {backbone.given["type"]} at the full rate; set it to '
        f"'beit_mm.LayerDecayOptimWrapperConstructor', and paramwise_cfg to "
        f'dict(layer_decay_rate={rate}) alone'
    )


def strange_keys(cfg: Config, model: Any) -> Iterator[str]:
    """Parts in ``custom_keys`` that no parameter bears, where there is one that is meant.

    One has almost the name, or MMPretrain and MMSegmentation call it so.
    """
    paramwise = (cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
    names = [name for name, _ in model.named_parameters()]
    parts = {part for name in names for part in name.split('.')}
    for key in paramwise.get('custom_keys') or {}:
        if any(key in name for name in names):
            continue
        where = f'optim_wrapper.paramwise_cfg.custom_keys: no parameter bears {key!r}'
        if ours := _ours(key, names):
            more = ', ...' if len(ours) > 4 else ''
            yield (
                f'{where}, by which MMPretrain and MMSegmentation mean what is here '
                f'{", ".join(ours[:4])}{more}: it has no effect'
            )
        elif question := did_you_mean(key.strip('.'), parts, 0.8):
            yield f'{where}{question}'


def _ours(key: str, names: Sequence[str]) -> list[str]:
    """Names of the weights of a Transformer that a part of MMPretrain's names stands for.

    >>> _ours('.ln1', ['backbone.blocks.0.norm1.weight', 'backbone.blocks.0.norm1.bias'])
    ['blocks.{n}.norm1']
    """
    key = re.sub(r'(?<!ffn\.)\blayers\.\d+', 'layers.{n}', key)
    every = '.'.join(['', *names])
    found = []
    for row in BACKBONE:
        ours, theirs = row[0], row[COLUMNS['mmpretrain']]
        there = f'.{ours.removesuffix("*")}'.replace('{n}', '0') in every
        if isinstance(theirs, str) and key in f'backbone.{theirs}' and there:
            found.append(ours.removesuffix('.*'))
    return found
