"""Names that nothing reads and values of a wrong kind, of this project's components and of others'.

Every constructor says by its signature what it takes; what the Runner takes without one, such as
settings of a data loader, is listed here.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
    TestLoop,
    ValLoop,
)
from torch.utils.data import DataLoader

from ...component import ALIKE, NOT_SETTINGS, STRICT, Component, did_you_mean

# Top-level keys of a config that are built.
RUNNER_TAKES = frozenset(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
# What the Runner reads of its whole config, and the tools beside it.
TOOLS_TAKE = frozenset(
    {'custom_imports', 'runner_type', 'tta_model', 'tta_pipeline', 'token_cache',
     'find_unused_parameters', 'model_wrapper_cfg', 'env_cfg', 'compile', 'sync_bn',
     'activation_checkpointing', 'efficient_conv_bn_eval'}
)  # fmt: skip
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Of data loaders, beside the arguments of PyTorch's: taken out by the Runner.
LOADER_TAKES = {
    'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch',
    'disable_subprocess_warning',
}  # fmt: skip
# Sections that are read by their names alone, and what a value's default would be.
READ_BY_NAME: dict[str, dict[str, Any]] = {
    'env_cfg': dict(cudnn_benchmark=False, mp_cfg=None, dist_cfg=None, resource_limit=4096),
    'env_cfg.mp_cfg': dict(mp_start_method=None, opencv_num_threads=0),
    'env_cfg.dist_cfg': dict(backend=None, timeout=None, init_backend=None),
    'randomness': dict(seed=0, deterministic=False, diff_rank_seed=False),
    'auto_scale_lr': dict(enable=False, base_batch_size=16),
    'optim_wrapper.clip_grad': dict(
        type=None, max_norm=1.0, norm_type=None, error_if_nonfinite=False, foreach=None,
        clip_value=1.0,
    ),
}  # fmt: skip
# Those that may hold more, for whoever reads it: what is almost one of these names is one.
OPEN: dict[str, dict[str, Any]] = {
    'optim_wrapper.paramwise_cfg': dict(
        layer_decay_rate=1.0, custom_keys=None, norm_decay_mult=1.0, bias_lr_mult=1.0,
        bias_decay_mult=1.0, dwconv_decay_mult=1.0, dcn_offset_lr_mult=1.0, flat_decay_mult=1.0,
        bypass_duplicate=False,
    ),
}  # fmt: skip
SEGMENTS: dict[str, dict[str, Any]] = {
    'model.test_cfg': dict(mode=None, crop_size=None, stride=None),
    'model.data_preprocessor.test_cfg': dict(
        size=None, size_divisor=1, pad_val=None, seg_pad_val=None
    ),
}
PREFIXES: dict[str, Any] = dict(img_path=None, seg_map_path=None)
METAINFO: dict[str, Any] = dict(classes=None, palette=None, dataset_type=None)
CUSTOM_KEY = dict(lr_mult=1.0, decay_mult=1.0)
# The Runner's own hooks, which another name would leave in place beside the config's.
HOOKS = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'}
# Of a model, each of one type.
PARTS = ('backbone', 'neck', 'head', 'decode_head', 'target_generator')
# What must be a dict, or may be a list of them too.
DICTS = (
    'model', *LOADERS, 'train_cfg', 'val_cfg', 'test_cfg', 'optim_wrapper', 'default_hooks',
    'env_cfg', 'randomness', 'log_processor', 'visualizer',
)  # fmt: skip
LISTS = ('param_scheduler', 'custom_hooks', 'val_evaluator', 'test_evaluator')
# Taken out before a constructor is called.
SWITCHES = ('by_epoch', 'convert_to_iter_based')
NUMBERS = {int: 'an integer', float: 'a number', bool: 'True or False'}
TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)


def is_read(key: str) -> bool:
    """Whether a top-level key of a config is more than a variable of the config's own."""
    return key in RUNNER_TAKES or key in TOOLS_TAKE


def check_structure(cfg: Config, mode: str) -> Iterator[str]:
    """Top-level keys: their names, that they are dicts, and that none stands alone."""
    for key in cfg:
        if not is_read(key):
            # Variables of one's own have any name that nobody takes for one of the Runner's.
            question = did_you_mean(key, RUNNER_TAKES, 0.83)
            if question:
                yield f'{key}: nothing reads this key{question}'
    if not cfg.get('model'):
        yield 'model is missing'
    for name in cfg.get('default_hooks') or {}:
        if name not in HOOKS and (question := did_you_mean(name, HOOKS, 0.75)):
            yield f'default_hooks.{name} would come beside the one that it resembles{question}'
    if cfg.get('resume') not in (None, True, False):
        yield f'resume is {cfg.resume!r}; it must be True or False'
    for key in (*DICTS, *LISTS):
        value = cfg.get(key)
        every = value if key in LISTS and isinstance(value, (list, tuple)) else [value]
        for part in every:
            if not isinstance(part, (Mapping, types.NoneType)) and _is_plain(part):
                yield (
                    f'{key} is {part!r}; it must be a dict{" or several" if key in LISTS else ""}. '
                    'What --cfg-options cannot say, a config with _base_ can'
                )
    for keys in TOGETHER:
        missing = [key for key in keys if cfg.get(key) is None]
        if 0 < len(missing) < 3 and keys[0].startswith(
            ('train', 'val') if mode == 'train' else 'test'
        ):
            there = [key for key in keys if key not in missing]
            yield (
                f'{" and ".join(missing)} missing, and {" and ".join(there)} given: set all of '
                f'{", ".join(keys)}, or all to None'
            )


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, list, tuple))


def check_untyped(cfg: Config) -> Iterator[str]:
    """Settings of what the Runner builds by itself, and types that are missing."""
    for key, given, known in _sections(cfg):
        for setting in given:
            if setting not in known and setting not in NOT_SETTINGS:
                yield f'{key}.{setting}: nothing reads this key{did_you_mean(setting, known)}'
            elif complaint := wrong_kind(known.get(setting), given[setting]):
                yield f'{key}.{setting} is {given[setting]!r}; {complaint}'
    train_cfg = cfg.get('train_cfg')
    if isinstance(train_cfg, Mapping) and not {'type', 'by_epoch'} & train_cfg.keys():
        yield 'train_cfg has neither type nor by_epoch; set by_epoch to True or False'
    interval = _at(cfg, 'train_cfg').get('val_interval', 1)
    if isinstance(interval, int) and interval < 1:
        yield f'train_cfg.val_interval is {interval}; it must be at least 1'
    for loader in LOADERS:
        for part in ('dataset', 'sampler'):
            if cfg.get(loader) and not _at(cfg, loader).get(part):
                yield f'{loader}.{part} is missing'
    for key, part in _must_have_types(cfg):
        if isinstance(part, Mapping) and 'type' not in part:
            said = f'{", ".join(map(str, part))} alone' if part else 'nothing'
            yield f'{key} has no type: nothing can be built from {said}'
        elif isinstance(part, (str, int, float)) and not isinstance(part, bool):
            yield f'{key} is {part!r}; it must be a dict with a type'


def _sections(cfg: Config) -> Iterator[tuple[str, Mapping, dict[str, inspect.Parameter | None]]]:
    """(key, settings, what may be set) of the sections without a type."""
    made_by: dict[str, Callable] = {
        **dict.fromkeys(LOADERS, DataLoader),
        'val_cfg': ValLoop,
        'test_cfg': TestLoop,
        'optim_wrapper': OptimWrapper,
        'log_processor': LogProcessor,
    }
    train_cfg = cfg.get('train_cfg')
    if isinstance(train_cfg, Mapping) and 'by_epoch' in train_cfg:
        by_epoch = train_cfg['by_epoch']
        made_by['train_cfg'] = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
    for key, maker in made_by.items():
        given = cfg.get(key)
        if isinstance(given, Mapping) and 'type' not in given:
            known: dict[str, inspect.Parameter | None] = dict(inspect.signature(maker).parameters)
            more = LOADER_TAKES if key in LOADERS else {'accumulative_counts', 'clip_grad'}
            yield key, given, {**known, **dict.fromkeys(more - known.keys())}
    by_name = {**READ_BY_NAME, **OPEN}
    if isinstance(cfg.get('model'), Mapping) and 'decode_head' in cfg.model:
        by_name |= SEGMENTS
    by_name |= {f'{loader}.dataset.metainfo': METAINFO for loader in LOADERS}
    by_name |= {f'{loader}.dataset.data_prefix': PREFIXES for loader in LOADERS}
    custom = _at(cfg, 'optim_wrapper.paramwise_cfg.custom_keys')
    by_name |= {f'optim_wrapper.paramwise_cfg.custom_keys[{part!r}]': CUSTOM_KEY for part in custom}
    for key, defaults in by_name.items():
        given = custom[key.partition("['")[2][:-2]] if key.endswith("']") else _at(cfg, key)
        if not isinstance(given, Mapping):
            continue
        known = {name: _takes(name, default) for name, default in defaults.items()}
        if key not in READ_BY_NAME:
            known |= dict.fromkeys(n for n in given if not did_you_mean(n, defaults, ALIKE))
        yield key, given, known


def _at(cfg: Config, key: str) -> Mapping:
    """The dict at a dotted key, an empty one where there is none."""
    first, *rest = key.split('.')
    part: Any = cfg.get(first)
    for name in rest:
        part = part.get(name) if isinstance(part, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _takes(name: str, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)


def _must_have_types(cfg: Config) -> Iterator[tuple[str, Any]]:
    """(key, settings) of what the Runner builds by its type."""
    yield 'model', cfg.get('model')
    for part in PARTS:
        yield f'model.{part}', _at(cfg, 'model').get(part)
    generator = _at(cfg, 'model').get('target_generator')
    if isinstance(generator, Mapping) and isinstance(generator.get('tokenizer'), Mapping):
        yield 'model.target_generator.tokenizer', generator['tokenizer']
    wrapper = cfg.get('optim_wrapper')
    if isinstance(wrapper, Mapping):
        yield 'optim_wrapper.optimizer', wrapper.get('optimizer')
    hooks = cfg.get('default_hooks')
    if isinstance(hooks, Mapping):
        for name, hook in hooks.items():
            yield f'default_hooks.{name}', hook
    for key in LISTS:
        value = cfg.get(key)
        if isinstance(value, Mapping):
            yield key, value
        elif isinstance(value, (list, tuple)):
            for index, part in enumerate(value):
                yield f'{key}[{index}]', part
    for key in LOADERS:
        loader = cfg.get(key)
        if isinstance(loader, Mapping):
            for part in ('dataset', 'sampler'):
                yield f'{key}.{part}', loader.get(part)
            dataset = loader.get('dataset')
            steps = dataset.get('pipeline') if isinstance(dataset, Mapping) else None
            if isinstance(steps, (list, tuple)):
                for index, step in enumerate(steps):
                    yield f'{key}.dataset.pipeline[{index}]', step


def check_component(component: Component) -> Iterator[str]:
    """Settings of a component that its constructor has no place for, and values of a wrong kind.

    Of components whose settings others take apart before they are built, only what is nearly right.
    """
    kind = component.given['type']
    for setting, question in component.unknown_settings():
        if question or component.package in STRICT:
            yield f'{component.key}.{setting}: {kind} has no such setting{question}'
    parameters = component.parameters()
    parameters = {name: _takes(name, False) for name in SWITCHES} | parameters
    for setting, value in component.given.items():
        exactly = component.package == 'beit_mm'
        if complaint := wrong_kind(parameters.get(setting), value, exactly=exactly):
            yield f'{component.key}.{setting} is {value!r}; {complaint}'


def wrong_kind(parameter: inspect.Parameter | None, value: Any, *, exactly: bool = True) -> str:
    """What a value must be, if its kind is wrong; '' if it may be right.

    Only numbers and switches are judged, by the annotation or else by the default.

    Args:
        parameter: What takes the value; None if it is not known.
        value: Of the config.
        exactly: Whether the annotation can be believed; else only text is wrong for a number.

    >>> wrong_kind(inspect.signature(DataLoader).parameters['batch_size'], 'large')
    'it must be an integer'
    """
    if parameter is None:
        return ''
    kinds = _annotated(parameter.annotation)
    annotated = bool(kinds)
    if not kinds and type(parameter.default) in NUMBERS:
        kinds = {type(parameter.default)}
    if not kinds or not kinds <= set(NUMBERS) or value is None:
        return ''
    wanted = 'it must be ' + ' or '.join(NUMBERS[kind] for kind in NUMBERS if kind in kinds)
    if isinstance(value, str):
        # Such as MMPretrain's bias: bool = 'qv_bias'.
        may_be = value in ('inf', 'nan') or isinstance(parameter.default, str)
        return '' if may_be else wanted
    if not exactly:
        return ''
    if annotated and isinstance(value, (Mapping, list, tuple)):
        return wanted
    if kinds == {bool} and not isinstance(value, bool) and value not in (0, 1):
        return wanted
    if annotated and kinds == {int} and isinstance(value, float):
        return wanted
    return ''


NAMES = {'int': int, 'float': float, 'bool': bool, 'None': type(None)}


def _annotated(annotation: Any) -> set[type]:
    """The kinds that an annotation allows, but for None; nothing where it says something else."""
    if isinstance(annotation, str):
        text = annotation.removeprefix('Optional[').removesuffix(']')
        parts: Any = [NAMES.get(part.strip(), object) for part in text.split('|')]
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = typing.get_args(annotation)
    else:
        parts = [annotation]
    kinds = {part for part in parts if part is not type(None)}
    return kinds if kinds <= set(NUMBERS) else set()
