"""What parts of MMPretrain, MMSegmentation and mmengine need to work with this project's."""

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from ...component import Component, did_you_mean

# Visualizer backend -> the package that it takes, and its name for pip.
TRACKERS = {
    'TensorboardVisBackend': ('tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
}
# Metrics of others, and what they report.
REPORTED = {
    'Accuracy': ('accuracy', ['top1', 'top5']),
    'IoUMetric': ('', ['aAcc', 'mIoU', 'mAcc']),
}


def check_widths(model: Component) -> Iterator[str]:
    """Necks and heads take features as wide as the backbone makes them."""
    try:
        width = model.part('backbone').ask('width_of')
    # Of a size that there is not; building it says so.
    except (KeyError, TypeError, ValueError):
        return
    if width is None:
        return
    neck = model.part('neck')
    if neck.given.get('embed_dim') not in (None, width):
        yield _other_width(f'{neck.key}.embed_dim', neck['embed_dim'], width)
    heads = [('head', model.given.get('head'))]
    if neck.given.get('out_channels') is None:
        heads.append(('decode_head', model.given.get('decode_head')))
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


def check_drawing(cfg: Config, model: Component) -> Iterator[str]:
    """MMPretrain's hook draws classes, which a pre-training does not predict."""
    hooks = {f'default_hooks.{k}': v for k, v in (cfg.get('default_hooks') or {}).items()}
    hooks |= {f'custom_hooks[{i}]': v for i, v in enumerate(cfg.get('custom_hooks') or [])}
    ours = str(getattr(model.kind, '__module__', '')).startswith('beit_mm.')
    for key, hook in hooks.items():
        draws = isinstance(hook, Mapping) and hook.get('enable')
        if draws and ours and str(hook.get('type')).rpartition('.')[2] == 'VisualizationHook':
            yield (
                f'{key}: VisualizationHook draws the classes of a classifier, and '
                f'{model.given["type"]} predicts none; set {key}.enable=False'
            )


def check_best(cfg: Config, find: Any) -> Iterator[str]:
    """``save_best`` names a figure that the evaluators report."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    wanted = hook.get('save_best') if isinstance(hook, Mapping) else None
    if not wanted or not cfg.get('val_evaluator'):
        return
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    reported: list[str] = []
    for evaluator in evaluators:
        names = _reported_by(Component('val_evaluator', evaluator, find))
        if names is None:
            return
        reported += names
    for key in [wanted] if isinstance(wanted, str) else wanted:
        if key != 'auto' and key not in reported:
            ends = [name for name in reported if name.rpartition('/')[2] == key]
            asked = f'; did you mean {ends[0]!r}?' if ends else did_you_mean(key, reported)
            yield (
                f'default_hooks.checkpoint.save_best is {key!r}; the evaluators report '
                f'{", ".join(reported)}{asked}'
            )


def _reported_by(evaluator: Component) -> list[str] | None:
    """Names of the figures of a metric, None if they are not known."""
    names = evaluator.ask('reported')
    prefix = getattr(evaluator.kind, 'default_prefix', '') or ''
    if names is None:
        kind = str(evaluator.given.get('type')).rpartition('.')[2]
        if kind not in REPORTED:
            return None
        prefix, names = REPORTED[kind]
    prefix = evaluator.given.get('prefix') or prefix
    return [f'{prefix}/{name}' if prefix else name for name in names]
