"""What data sets and tasks of MMPretrain and MMSegmentation need, as far as a config tells."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path


def check_data(name: str, dataset: Mapping) -> Iterator[str]:
    """The folder and the annotation file of a data set are there."""
    if 'dataset' in dataset:
        yield from check_data(f'{name}.dataset', dataset['dataset'])
        return
    folder = dataset.get('data_root') or ''
    key = f'{name}.dataset.data_root'
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    if isinstance(prefix, Mapping) and 'seg_map_path' in prefix:
        yield from _check_annotations(name, dataset)
        return
    if isinstance(prefix, str) and prefix:
        folder = str(Path(folder, prefix))
        key += '/data_prefix' if dataset.get('data_prefix') else '/split'
    if folder and '://' not in folder and not Path(folder).is_dir():
        yield (
            f'{key} is {folder!r}, and there is no such folder; put the images there or set '
            f'--cfg-options {name}.dataset.data_root=...'
        )
    annotations = dataset.get('ann_file') or ''
    path = Path(dataset.get('data_root') or '', annotations)
    if annotations and '://' not in str(path) and not path.is_file():
        yield f'{name}.dataset.ann_file is {str(path)!r}, and there is no such file'


def _check_annotations(name: str, dataset: Mapping) -> Iterator[str]:
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
            yield (
                f'{name}.dataset.data_prefix.{kind} is {str(folder)!r}, and there is no such '
                f'folder; set --cfg-options {name}.dataset.data_root=...'
            )
            return
        found[kind] = (
            folder,
            {
                str(path.relative_to(folder)).removesuffix(suffix)
                for path in folder.rglob(f'*{suffix}')
            },
        )
    (folder, photos), (annotations_folder, annotations) = found.values()
    if not photos:
        yield (
            f'{name}.dataset.data_prefix.img_path is {str(folder)!r}, which holds no '
            f'*{suffixes["img_path"]}; img_suffix of the dataset says how photos are named'
        )
        return
    missing = sorted(photos - annotations)
    if missing:
        path = annotations_folder / f'{missing[0]}{suffixes["seg_map_path"]}'
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        yield (
            f'{name}.dataset: {folder / missing[0]}{suffixes["img_path"]} has no annotation; '
            f'{path}{more} must be there, or the photo must not'
        )


def check_pretrained(components: Iterable[tuple[str, Mapping]]) -> Iterator[str]:
    """The checkpoints that parts of the model start from are there."""
    for key, component in components:
        if component['type'] != 'Pretrained':
            continue
        checkpoint = component.get('checkpoint') or ''
        if '://' not in checkpoint and not Path(checkpoint).is_file():
            yield f'{key}.checkpoint is {checkpoint!r}, and there is no such file'


def check_classes(model: Mapping) -> Iterator[str]:
    """Mixup and CutMix make labels as long as the classifier's answer."""
    if not (model.get('train_cfg') or {}).get('augments'):
        return
    wanted = model.get('head', {}).get('num_classes')
    given = (model.get('data_preprocessor') or {}).get('num_classes')
    if given != wanted:
        yield (
            f'model.data_preprocessor.num_classes is {given}; it must be model.head.num_classes, '
            f'{wanted}, which Mixup and CutMix make labels for'
        )
