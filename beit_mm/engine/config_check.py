"""Find what cannot work in a config before anything is built or written."""

import difflib
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import Registry, root

from ..checkpoints.tokenizer import HOW_TO_GET_ONE
from ..models.beit import ARCHS
from ..registry import HOOKS, METRICS, MODELS, TRANSFORMS

# Which distribution brings a package, in the maintained stack and in the original one.
DISTRIBUTIONS = {
    'mmpretrain': 'onedl-mmpretrain (or mmpretrain==1.2.0)',
    'mmseg': 'onedl-mmsegmentation (or mmsegmentation==1.2.2)',
}
MASK_GENERATORS = ('BlockwiseMaskGenerator', 'RandomMaskGenerator')
VIEWS = ('LoadTwoViews', 'TwoViewRandomResizedCrop')


class ConfigError(ValueError):
    """A config that cannot work; the message names the key, what it is and what it must be."""


def check_config(cfg: Config, mode: str) -> None:
    """Check what can be known of a config before its parts are built.

    Packages that its scopes need, every ``type``, the data folders, the tokenizer's file, and that
    mask, backbone, tokenizer and head agree on the patch grid and the vocabulary.

    Args:
        cfg: A whole config, with command line options merged in.
        mode: 'train' or 'test', which decides whose data must be there.

    Raises:
        ConfigError: On the first thing that is wrong.
    """
    _check_packages(cfg)
    _check_types(cfg)
    loaders = ('train_dataloader', 'val_dataloader') if mode == 'train' else ('test_dataloader',)
    for name in loaders:
        if cfg.get(name):
            _check_data(name, cfg[name].dataset)
        elif name == 'test_dataloader':
            raise ConfigError('test_dataloader is missing; testing takes one, and test_evaluator')
    if mode == 'train':
        _check_pretrained(cfg)
        _check_classes(cfg)
    if _type_name(cfg.model) == 'MaskedImageModeling':
        _check_pretraining(cfg, loaders)


def _type_name(component: Mapping) -> str:
    return str(component.get('type', '')).rpartition('.')[2]


def _walk(value, key: str = '') -> Iterator[tuple[str, Mapping]]:
    """Every dict with a ``type`` in a config, with its dotted key."""
    if isinstance(value, Mapping):
        if isinstance(value.get('type'), str):
            yield key, value
        for name, child in value.items():
            yield from _walk(child, f'{key}.{name}' if key else name)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from _walk(child, f'{key}[{index}]')


def _check_packages(cfg: Config) -> None:
    named = {'default_scope': cfg.get('default_scope') or 'mmengine'}
    named |= {f'{key}.type': c['type'].partition('.')[0] for key, c in _walk(cfg.to_dict())}
    for key, package in named.items():
        if package in DISTRIBUTIONS and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f'{key} needs the package {package}, which is not installed: '
                f'pip install {DISTRIBUTIONS[package]}'
            )


def _registries(scope: str) -> list[Registry]:
    """mmengine's registries, and those of the scope, which need not be their children."""
    # Importing the module is also what makes the scope's registries children of mmengine's.
    module = importlib.import_module(f'{scope}.registry')
    every = {id(v): v for m in (root, module) for v in vars(m).values() if isinstance(v, Registry)}
    return list(every.values())


def _check_types(cfg: Config) -> None:
    scope = cfg.get('default_scope') or 'mmengine'
    registries = [registry.children.get(scope, registry) for registry in _registries(scope)]
    for key, component in _walk(cfg.to_dict()):
        name = component['type']
        if not any(_find(registry, name) for registry in registries):
            raise ConfigError(
                f'{key}.type is {name!r}, which is not registered{_did_you_mean(name, registries)}'
            )


def _find(registry: Registry, name: str) -> bool:
    try:
        return registry.get(name) is not None
    except (KeyError, RuntimeError, ImportError):
        return False


def _did_you_mean(name: str, registries: list[Registry]) -> str:
    ours = (MODELS, TRANSFORMS, HOOKS, METRICS)
    for registry in ours:
        registry.import_from_location()
    known = {module for registry in registries for module in registry.module_dict}
    known |= {f'beit_mm.{module}' for registry in ours for module in registry.module_dict}
    close = difflib.get_close_matches(name, known, n=1)
    return f'; did you mean {close[0]!r}?' if close else ''


def _check_data(name: str, dataset: Mapping) -> None:
    """The folder and the annotation file of a data set are there."""
    if 'dataset' in dataset:
        return _check_data(f'{name}.dataset', dataset['dataset'])
    folder = dataset.get('data_root') or ''
    key = f'{name}.dataset.data_root'
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    if isinstance(prefix, Mapping) and 'seg_map_path' in prefix:
        return _check_annotations(name, dataset)
    if isinstance(prefix, str) and prefix:
        folder = str(Path(folder, prefix))
        key += '/data_prefix' if dataset.get('data_prefix') else '/split'
    if folder and '://' not in folder and not Path(folder).is_dir():
        raise ConfigError(
            f'{key} is {folder!r}, and there is no such folder; put the images there or set '
            f'--cfg-options {name}.dataset.data_root=...'
        )
    annotations = dataset.get('ann_file') or ''
    path = Path(dataset.get('data_root') or '', annotations)
    if annotations and '://' not in str(path) and not path.is_file():
        raise ConfigError(f'{name}.dataset.ann_file is {str(path)!r}, and there is no such file')
    return None


def _check_annotations(name: str, dataset: Mapping) -> None:
    """Every photo of a segmentation data set has an annotation."""
    suffixes = dict(
        img_path=dataset.get('img_suffix', '.jpg'),
        seg_map_path=dataset.get('seg_map_suffix', '.png'),
    )
    found = {}
    for kind, suffix in suffixes.items():
        folder = Path(dataset.get('data_root') or '', dataset['data_prefix'].get(kind) or '')
        if '://' in str(folder) or dataset.get('ann_file'):
            return
        if not folder.is_dir():
            raise ConfigError(
                f'{name}.dataset.data_prefix.{kind} is {str(folder)!r}, and there is no such '
                f'folder; set --cfg-options {name}.dataset.data_root=...'
            )
        found[kind] = (
            folder,
            {
                str(path.relative_to(folder)).removesuffix(suffix)
                for path in folder.rglob(f'*{suffix}')
            },
        )
    (folder, photos), (annotations_folder, annotations) = found.values()
    if not photos:
        raise ConfigError(
            f'{name}.dataset.data_prefix.img_path is {str(folder)!r}, which holds no '
            f'*{suffixes["img_path"]}; img_suffix of the dataset says how photos are named'
        )
    missing = sorted(photos - annotations)
    if missing:
        path = annotations_folder / f'{missing[0]}{suffixes["seg_map_path"]}'
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        raise ConfigError(
            f'{name}.dataset: {folder / missing[0]}{suffixes["img_path"]} has no annotation; '
            f'{path}{more} must be there, or the photo must not'
        )


def _check_pretrained(cfg: Config) -> None:
    """The checkpoints that parts of the model start from are there."""
    for key, component in _walk(cfg.model.to_dict(), 'model'):
        if component['type'] != 'Pretrained':
            continue
        checkpoint = component.get('checkpoint') or ''
        if '://' not in checkpoint and not Path(checkpoint).is_file():
            raise ConfigError(f'{key}.checkpoint is {checkpoint!r}, and there is no such file')


def _check_classes(cfg: Config) -> None:
    """Mixup and CutMix make labels as long as the classifier's answer."""
    if not (cfg.model.get('train_cfg') or {}).get('augments'):
        return
    wanted = cfg.model.get('head', {}).get('num_classes')
    given = (cfg.model.get('data_preprocessor') or {}).get('num_classes')
    if given != wanted:
        raise ConfigError(
            f'model.data_preprocessor.num_classes is {given}; it must be model.head.num_classes, '
            f'{wanted}, which Mixup and CutMix make labels for'
        )


def _check_pretraining(cfg: Config, loaders: tuple[str, ...]) -> None:
    backbone, generator, head = (
        cfg.model[part] for part in ('backbone', 'target_generator', 'head')
    )
    grid = _grid('model.backbone', backbone)
    for name in loaders:
        for index, transform in enumerate(_pipeline(cfg, name)):
            key = f'{name}.dataset.pipeline[{index}]'
            if _type_name(transform) in MASK_GENERATORS:
                _check_mask(key, transform, grid, backbone)
                if name == 'train_dataloader':
                    _check_num_masked(key, transform, grid, cfg.model)
            elif _type_name(transform) in VIEWS:
                _check_views(key, transform, grid, backbone, generator)
    _check_width(backbone, head)
    if _type_name(generator) == 'DVAETargetGenerator':
        _check_tokenizer(cfg, generator, head)


def _pipeline(cfg: Config, loader: str) -> list[Mapping]:
    dataset = (cfg.get(loader) or {}).get('dataset', {})
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset.get('pipeline', [])


def _pair(size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _grid(key: str, backbone: Mapping) -> tuple[int, int]:
    size, patch = _pair(backbone.get('img_size', 224)), _pair(backbone.get('patch_size', 16))
    if size[0] % patch[0] or size[1] % patch[1]:
        raise ConfigError(
            f'{key}.img_size is {size[0]} x {size[1]}; it must be a multiple of patch_size, '
            f'{patch[0]} x {patch[1]}'
        )
    return size[0] // patch[0], size[1] // patch[1]


def _check_mask(key: str, transform: Mapping, grid: tuple, backbone: Mapping) -> None:
    given = _pair(transform.get('grid_size', (14, 14)))
    if given != grid:
        raise ConfigError(
            f'{key}.grid_size is {given}; it must be img_size / patch_size of model.backbone, '
            f'{backbone.get("img_size", 224)} / {backbone.get("patch_size", 16)} = {grid}'
        )


def _check_num_masked(key: str, transform: Mapping, grid: tuple, model: Mapping) -> None:
    """The head has room for the places of an image; a GPU would stop without a word of which."""
    most = model['head'].get('num_masked')
    if most is None:
        return
    if model.get('predict_all'):
        places, of = grid[0] * grid[1], 'with predict_all the number of patches'
    else:
        places, of = transform.get('num_masked', 75), f'{key}.num_masked'
    if places > most:
        raise ConfigError(
            f'model.head.num_masked is {most}; it must be at least {places}, {of}, or None to '
            'count the places in every step'
        )


def _check_views(
    key: str, transform: Mapping, grid: tuple, backbone: Mapping, generator: Mapping
) -> None:
    size, wanted = _pair(transform.get('size', 224)), _pair(backbone.get('img_size', 224))
    if size != wanted:
        raise ConfigError(f'{key}.size is {size}; it must be model.backbone.img_size, {wanted}')
    stride = _stride(generator)
    second = _pair(transform.get('second_size', 112))
    if stride and second != (grid[0] * stride, grid[1] * stride):
        raise ConfigError(
            f'{key}.second_size is {second}; it must be {(grid[0] * stride, grid[1] * stride)}: '
            f'the mask has {grid[0]} x {grid[1]} places, and a target of model.target_generator '
            f'stands for {stride} x {stride} pixels'
        )


def _stride(generator: Mapping) -> int | None:
    """Pixels of the second view a place covers, or None of a generator that is not ours."""
    name = _type_name(generator)
    if name == 'DVAETargetGenerator':
        return 2 ** (generator.get('tokenizer', {}).get('num_groups', 4) - 1)
    if name in ('PixelTargetGenerator', 'MeanColorTargetGenerator'):
        return generator.get('patch_size', 16)
    return None


def _check_width(backbone: Mapping, head: Mapping) -> None:
    arch = backbone.get('arch', 'base')
    width = (ARCHS.get(arch, {}) if isinstance(arch, str) else arch).get('embed_dims')
    if head.get('embed_dims') != width:
        raise ConfigError(
            f'model.head.embed_dims is {head.get("embed_dims")}; it must be the width of '
            f'model.backbone, {width}'
        )


def _check_tokenizer(cfg: Config, generator: Mapping, head: Mapping) -> None:
    vocab_size = generator.get('tokenizer', {}).get('vocab_size', 8192)
    if head.get('vocab_size') != vocab_size:
        raise ConfigError(
            f'model.head.vocab_size is {head.get("vocab_size")}; it must be '
            f'model.target_generator.tokenizer.vocab_size, {vocab_size}'
        )
    key = 'model.target_generator.checkpoint'
    checkpoint = generator.get('checkpoint')
    if checkpoint is None:
        if not (cfg.get('load_from') or cfg.get('resume')):
            raise ConfigError(
                f'{key} is None, so the tokens would be those of random weights; it must be a '
                f'file or URL. {HOW_TO_GET_ONE}'
            )
    elif '://' not in checkpoint and not Path(checkpoint).is_file():
        raise ConfigError(
            f'{key} is {checkpoint!r}, and there is no such file; to use the tokenizer inside a '
            f'checkpoint of a pre-training run, set it to None. {HOW_TO_GET_ONE}'
        )
