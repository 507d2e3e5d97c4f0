"""Carries out the runs of claims.py: lists of photos, a config, training, and what is kept."""

import copy
import functools
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from claim_process import call
from claim_recipes import (
    ALL,
    CHOOSING,
    CONFIGS,
    CURVE_POINTS,
    SCALE,
    WIDTH,
    Run,
    arch_options,
)
from mmengine.config import Config, ConfigDict
from variants import ROOT, list_images, train_stage, write_in_one_step, write_labelled

# Settings that an option may name though the recipe leaves them to others' own values.
NEW = (
    *('second_interpolation', 'with_mask_token', 'encode_all', 'predict_all', 'frozen_stages'),
    *('brightness', 'contrast', 'saturation', 'flip_prob', 'ratio', 'skip_dropped', 'stem'),
    *('second_mean', 'second_std', 'use_rel_pos_bias', 'compile_blocks', 'log_metric_by_epoch'),
    'initial_values',
)
# The seed of the draw of the photos that choose.
CHOICE = 100
# Photos at most in a batch where only the machinery is tried.
TRIED = 32


@dataclass(frozen=True)
class Place:
    """Where runs read and write.

    Attributes:
        data: Folder with train/ and val/.
        camvid: CamVid, in the layout of configs/camvid.
        out: Work folder.
        results: Folder of what is kept: a JSON file for each run.
        classes: Names of the classes.
        length: Share of all steps that is trained; below 1 only to try the machinery, with small
            batches.
    """

    data: Path
    camvid: Path
    out: Path
    results: Path
    classes: list[str]
    length: float = 1.0

    @property
    def lists(self) -> Path:
        return self.out / 'lists'


def place_of(data: Path, camvid: Path, out: Path, results: Path, length: float) -> Place:
    """The place, with lists of the photos that nothing or everything is chosen by."""
    classes = sorted(path.name for path in (data / 'train').iterdir() if path.is_dir())
    classes = classes[: SCALE.classes]
    place = Place(data.resolve(), camvid.resolve(), out.resolve(), results, classes, length)
    place.lists.mkdir(parents=True, exist_ok=True)
    kept, rest = split_of(place)
    for name, files in (('photos', rest), ('choosing_photos', kept)):
        lines = [path for of_class in files.values() for path in of_class]
        write_in_one_step(place.lists / f'{name}.txt', '\n'.join(lines) + '\n')
    return place


def split_of(place: Place) -> tuple[dict, dict]:
    """Training photos that choose the settings, and the others, by class."""
    train = list_images(place.data / 'train', place.classes)
    rng = random.Random(CHOICE)
    kept = {name: sorted(rng.sample(files, CHOOSING)) for name, files in train.items()}
    return kept, {name: sorted({*files} - {*kept[name]}) for name, files in train.items()}


def classes_of(run: Run, place: Place) -> list[str]:
    """Names of the classes that a run tells apart."""
    begin = dict(all=slice(None), target=slice(0, None, 2), other=slice(1, None, 2))
    return place.classes[begin[run.classes]]


def labelled_lists(run: Run, seed: int, place: Place) -> tuple[Path, Path]:
    """Write the lists of a run's labels and of what validates it."""
    names = classes_of(run, place)
    kept, rest = split_of(place)
    # One order a class and seed, so that few labels are among the many.
    rng, drawn = random.Random(seed), {}
    for name, files in rest.items():
        drawn[name] = sorted(rng.sample(files, len(files))[: min(run.labels, ALL)])
    held_out = kept if run.held_out else list_images(place.data / 'val', names)
    paths = (
        place.lists / f'{run.classes}_{run.labels}_{seed}.txt',
        place.lists / f'{run.classes}_{"choosing" if run.held_out else "val"}.txt',
    )
    for path, files in zip(paths, (drawn, held_out), strict=True):
        write_labelled({name: files[name] for name in names}, path)
    return paths


def put(cfg: Config | ConfigDict, key: str, value) -> None:
    """Set a value of a config, replacing what stands there.

    Raises:
        KeyError: If nothing stands there and the name is not in :data:`NEW`: it would change
            nothing.
    """
    *way, last = key.split('.')
    for part in way:
        cfg = cfg[int(part)] if isinstance(cfg, list) else cfg[part]
    if isinstance(cfg, list):
        cfg[int(last)] = ConfigDict(value)
        return
    if last not in cfg and last not in NEW:
        raise KeyError(f'{key}: the recipe has no such setting')
    cfg[last] = ConfigDict(value) if isinstance(value, dict) else value


def common_options(run: Run, steps: int) -> dict:
    """Options of a training stage: one process, bfloat16, a tenth or twentieth is warm-up."""
    options = {
        f'{loader}_dataloader.{key}': value
        for loader in ('train', 'val')
        for key, value in (('num_workers', SCALE.workers), ('persistent_workers', False))
    } | {
        'train_dataloader.batch_size': SCALE.batch[run.stage.split('_')[0]]
        if run.stage not in ('beit', 'mae') else SCALE.batch['pretrain'],
        'train_cfg.max_iters': steps,
        'train_cfg.val_interval': max(1, steps // CURVE_POINTS) if run.held_out else steps,
        'optim_wrapper.type': 'beit_mm.BFloat16OptimWrapper',
    }  # fmt: skip
    if run.held_out:
        # By steps: by epochs all validations of the first would be one.
        options['default_hooks.logger.log_metric_by_epoch'] = False
    if run.stage == 'tokenizer':
        return options | {'param_scheduler.T_max': steps}
    warmup = max(1, steps // (20 if run.stage in ('beit', 'mae') else 10))
    end = 'end' if run.stage == 'segment' else 'T_max'
    return options | {
        'param_scheduler.0.end': warmup,
        'param_scheduler.1.begin': warmup,
        f'param_scheduler.1.{end}': steps if end == 'end' else steps - warmup,
    }


def data_options(run: Run, seed: int, place: Place) -> dict:
    """Options that say what a run reads."""
    options: dict = {}
    if run.stage == 'segment':
        for loader in ('train', 'val'):
            options[f'{loader}_dataloader.dataset.data_root'] = place.camvid
        return options
    if run.stage in ('tokenizer', 'beit', 'mae'):
        for loader, name in (('train', 'photos'), ('val', 'choosing_photos')):
            options[f'{loader}_dataloader.dataset.data_root'] = place.data / 'train'
            options[f'{loader}_dataloader.dataset.ann_file'] = place.lists / f'{name}.txt'
        return options
    classes = classes_of(run, place)
    for loader, path in zip(('train', 'val'), labelled_lists(run, seed, place), strict=True):
        split = 'train' if loader == 'train' or run.held_out else 'val'
        dataset = f'{loader}_dataloader.dataset'
        options[f'{dataset}.data_root'] = place.data / split
        options[f'{dataset}.ann_file'] = path
        options[f'{dataset}.metainfo.classes'] = classes
    for key in ('model.head.num_classes', 'model.data_preprocessor.num_classes'):
        options[key] = len(classes)
    return options


@functools.cache
def recipe_of(stage: str) -> Config:
    return Config.fromfile(ROOT / f'configs/{CONFIGS[stage]}.py')


def config_of(run: Run, seed: int, place: Place) -> Config:
    """The whole config of a run."""
    cfg = copy.deepcopy(recipe_of(run.stage))
    steps = max(2, round(run.steps * place.length))
    options = common_options(run, steps) | data_options(run, seed, place)
    if place.length < 1:
        batch = 'train_dataloader.batch_size'
        options[batch] = min(TRIED, options[batch])
    options['randomness'] = dict(seed=seed)
    if run.stage in ('beit', 'finetune_beit'):
        # The paper's, as far as a row is not about them.
        options['model.backbone.initial_values'] = 'truncated-normal'
    if run.stage in ('beit', 'mae'):
        options['optim_wrapper.optimizer.lr'] = SCALE.pretrain_rate
    if run.stage.startswith(('finetune', 'segment')):
        options['default_hooks.checkpoint'] = dict(
            type='CheckpointHook', by_epoch=False, interval=500, max_keep_ckpts=2
        )
        weights = None
        if run.start:
            weights = dict(type='Pretrained', checkpoint=weights_of(run.start, seed, place))
        options['model.backbone.init_cfg'] = weights
    for key, value in (options | run.options).items():
        if key.endswith(('persistent_workers', 'metainfo.classes', 'optim_wrapper.type')):
            cfg.merge_from_dict({key: value})
        else:
            put(cfg, key, str(value) if isinstance(value, Path) else value)
    if 'backbone' in cfg.model:
        cfg.model.backbone.setdefault('compile_blocks', SCALE.compile_blocks)
    if run.teacher:
        put(cfg, 'model.target_generator.checkpoint', weights_of(run.teacher, seed, place))
    if run.cache:
        cfg.token_cache = weights_of(run.cache, seed, place)
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg[key] = None
    return cfg


def folder_of(run: Run, seed: int, place: Place) -> Path:
    return place.out / str(seed) / run.name


def weights_of(run: Run, seed: int, place: Place) -> str:
    """The checkpoint that a finished run left."""
    folder = folder_of(run, seed, place)
    return str(folder / json.loads((folder / 'result.json').read_text())['checkpoint'])


def carry_out(run: Run, seed: int, place: Place) -> dict:
    """A run of a seed: its figures, with the seconds that it took, start and all."""
    before, start = os.times(), time.monotonic()
    figures = WAYS.get(run.stage, train)(run, seed, place)
    after = os.times()
    if SCALE.unit == 'GPU':
        return dict(figures, gpu_seconds=round(time.monotonic() - start, 1))
    spent = sum(
        getattr(after, name) - getattr(before, name)
        for name in ('children_user', 'children_system')
    )
    return dict(figures, cpu_seconds=round(spent, 1))


def train(run: Run, seed: int, place: Place) -> dict:
    """Figures of the validation at the end, and where it has more, of all."""
    folder = folder_of(run, seed, place)
    folder.mkdir(parents=True, exist_ok=True)
    config_of(run, seed, place).dump(folder / 'config.py')
    report = train_stage(f'{run.name}, seed {seed}', folder / 'config.py', folder, call=call)
    figures = {key: round(value, 4) for key, value in report['metrics'].items()}
    if run.held_out:
        figures['curve'] = curve_of(folder)
    return figures


def curve_of(folder: Path) -> list[list[float]]:
    """[step, top-1] of each validation of a run."""
    points = {}
    # A run that was stopped and went on has several logs.
    for log in sorted(folder.glob('*/vis_data/scalars.json')):
        for row in map(json.loads, log.read_text().splitlines()):
            if 'accuracy/top1' in row:
                points[row['step']] = round(row['accuracy/top1'], 2)
    return [[step, top1] for step, top1 in sorted(points.items())]


def run_tool(run: Run, cfg: Config, seed: int, place: Place, tool: str, *arguments: str) -> None:
    """Call a tool with a config and what else it takes."""
    folder = folder_of(run, seed, place)
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / 'config.py')
    print(f'{time.strftime("%H:%M:%S")} {run.name}, seed {seed}', flush=True)
    with open(folder / 'output.txt', 'w') as output:
        code = call([ROOT / tool, folder / 'config.py', *arguments], output)
    if code:
        sys.exit(f'{run.name} stopped with exit status {code}: see {folder}/output.txt')


def prepare(run: Run, seed: int, place: Place) -> dict:
    """What a pre-training takes beside photos: principal components, or tokens of kept views."""
    folder = folder_of(run, seed, place)
    stage = 'mae' if run.stage == 'components' else 'beit'
    tool, name, more = {
        'components': ('tools/fit_patch_components.py', 'components.npz', ()),
        'cache': ('tools/cache_tokens.py', 'tokens', ('--views', '4', '--seed', str(seed))),
    }[run.stage]
    cfg = config_of(run._replace(stage=stage, steps=100), seed, place)
    run_tool(run, cfg, seed, place, tool, '--out', str(folder / name), *more)
    write_in_one_step(folder / 'result.json', json.dumps(dict(checkpoint=name)))
    return {}


def measure_frozen(run: Run, seed: int, place: Place) -> dict:
    """k-NN and linear classifiers on the last block's output, in per cent."""
    start = run.start
    assert start is not None
    stage = 'finetune_beit' if start.stage in ('beit', 'finetune_beit') else 'finetune_vit'
    options = arch_options() | {'model.head.in_channels': WIDTH}
    cfg = config_of(run._replace(stage=stage, steps=100, options=options), seed, place)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.test_cfg = dict()
    result = folder_of(run, seed, place) / 'features.json'
    weights = weights_of(start, seed, place)
    if run.stage == 'few-shot':
        run_tool(run, cfg, seed, place, 'benchmarks/claim_few_shot.py', weights, str(result))
        return json.loads(result.read_text())
    run_tool(
        run, cfg, seed, place, 'tools/evaluate_features.py', weights, '--seed', str(seed),
        '--json', str(result),
    )  # fmt: skip
    last = json.loads(result.read_text())['layers'][-1]
    return dict(linear=round(last['linear'], 2), knn=round(last['knn'], 2))


# How stages that train no network are carried out.
WAYS = {
    'components': prepare,
    'cache': prepare,
    'frozen': measure_frozen,
    'few-shot': measure_frozen,
}

# What is kept -----------------------------------------------------------------------------------


def result_file(run: Run, results: Path) -> Path:
    return results / f'{run.name}.json'


def results_of(run: Run, results: Path) -> dict[int, dict]:
    """Figures of a run by seed; of other settings than its present ones, none."""
    path = result_file(run, results)
    if not path.is_file():
        return {}
    kept = json.loads(path.read_text())
    if kept['settings'] != run.settings:
        sys.exit(f'{path} is of other settings of {run.name}; remove it to run it anew')
    return {int(seed): figures for seed, figures in kept['seeds'].items()}


def keep(run: Run, seed: int, figures: dict, results: Path) -> None:
    """Add a seed's figures to the file of a run."""
    seeds = results_of(run, results) | {seed: figures}
    report = dict(
        settings=run.settings, seeds={str(key): seeds[key] for key in sorted(seeds)}
    )  # fmt: skip
    results.mkdir(parents=True, exist_ok=True)
    write_in_one_step(result_file(run, results), json.dumps(report, indent=1) + '\n')
