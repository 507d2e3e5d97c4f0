"""Does pre-training pay on your images? Pre-train BEiT in several variants, fine-tune, compare.

    python benchmarks/variants.py --data data/tiny_imagenet --out work_dirs/variants

The data is a folder with train/<class>/ and val/<class>/. The variants' tokenizers are trained once
and shared by the seeds; then each variant and seed is pre-trained on all training images without
labels and fine-tuned on a few labels a class. Every stage is a run of tools/train.py on a config of
configs/claims. The same command goes on where it was stopped. It ends with OUT/variants.json and
OUT/variants.md. The papers' claims, row by row, are in claims.py.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import torch

from beit_mm.datasets.finding import find_photos

ROOT = Path(__file__).resolve().parent.parent
# Variant -> its pre-training config, and its name in the paper's table of ablations.
VARIANTS = {
    'full': ('pretrain', 'visual tokens, blockwise masks (BEiT)'),
    'pixels': ('pixels', 'pixels in place of tokens'),
    'random-masks': ('random_masks', 'random masks in place of blocks'),
    'pixels-random-masks': ('pixels_random_masks', 'pixels and random masks'),
    'all-tokens': ('all_tokens', 'tokens of all places'),
    'mean-color': ('mean_color', 'mean colours (ViT)'),
    'relaxed-tokens': ('relaxed_tokens', "tokens of the paper's relaxation"),
    'untrained-tokens': ('pretrain', 'tokens of an untrained encoder'),
    'scratch': (None, 'no pre-training'),
}
# Variant -> the config of its tokenizer.
TOKENIZERS = {
    'full': 'dvae',
    'random-masks': 'dvae',
    'all-tokens': 'dvae',
    'relaxed-tokens': 'relaxed_dvae',
    'untrained-tokens': 'untrained_dvae',
}


@dataclass(frozen=True)
class Settings:
    """What decides a run's figures; a folder of results belongs to one of them."""

    data: str
    classes: int
    labels: int
    tokenizer_epochs: int
    pretrain_epochs: int
    finetune_epochs: int
    finetune_lr: float
    batch_size: int
    workers: int
    width: int
    depth: int


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--variants', nargs='+', choices=VARIANTS, metavar='NAME',
        default=['full', 'scratch', 'pixels', 'random-masks'], help=f'of {", ".join(VARIANTS)}',
    )  # fmt: skip
    add_settings(parser)
    return checked(parser)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Options that decide where results lie and what they are, see :class:`Settings`."""
    parser.add_argument('--data', required=True, type=Path, help='folder with train/ and val/')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/variants'))
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--classes', type=int, default=40, help='the first so many, by name')
    parser.add_argument('--labels', type=int, default=50, help='a class, for fine-tuning')
    parser.add_argument('--tokenizer-epochs', type=int, default=10)
    parser.add_argument('--pretrain-epochs', type=int, default=100)
    parser.add_argument('--finetune-epochs', type=int, default=100)
    parser.add_argument('--finetune-lr', type=float, default=1e-3, help='of every variant alike')
    parser.add_argument('--batch-size', type=int, default=32, help='of the first two stages')
    parser.add_argument('--workers', type=int, default=0, help='processes that load images')
    parser.add_argument('--width', type=int, default=96, help='of the network; 32 a head')
    parser.add_argument('--depth', type=int, default=4, help='blocks of the network')


def checked(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, with epochs that leave room for warm-up."""
    args = parser.parse_args()
    if min(args.pretrain_epochs, args.finetune_epochs) < 2:
        parser.error('--pretrain-epochs and --finetune-epochs start at 2: one is warm-up')
    return args


def list_images(folder: Path, classes: list[str]) -> dict[str, list[str]]:
    """Names of the image files of each class, relative to ``folder``, in a fixed order."""
    return {
        name: [f'{name}/{Path(image).as_posix()}' for image in find_photos(folder / name).names]
        for name in classes
    }


def write_lists(settings: Settings, out: Path, seeds: list[int]) -> tuple[int, int]:
    """Write which images each stage reads; return the numbers of images and of labels.

    A seed draws its labels once, so that all variants of a seed see the same ones.
    """
    data = Path(settings.data)
    classes = sorted(path.name for path in (data / 'train').iterdir() if path.is_dir())
    if len(classes) < settings.classes:
        sys.exit(f'--classes is {settings.classes}; {data}/train has {len(classes)}')
    classes = classes[: settings.classes]
    train, val = (list_images(data / split, classes) for split in ('train', 'val'))
    for split, files in (('train', train), ('val', val)):
        if empty := [name for name in classes if not files[name]]:
            sys.exit(f'{data}/{split} has no images of {", ".join(empty)}')
    images = [path for files in train.values() for path in files]
    (out / 'images.txt').write_text('\n'.join(images) + '\n')
    (out / 'val_images.txt').write_text(
        '\n'.join(path for files in val.values() for path in files) + '\n'
    )
    write_labelled(val, out / 'val.txt')
    for seed in seeds:
        rng = random.Random(seed)
        drawn = {
            name: sorted(rng.sample(files, min(settings.labels, len(files))))
            for name, files in train.items()
        }
        write_labelled(drawn, out / f'labels_{seed}.txt')
    return len(images), sum(map(len, drawn.values()))


def write_labelled(files: dict[str, list[str]], target: Path) -> None:
    lines = [f'{path} {label}\n' for label, name in enumerate(files) for path in files[name]]
    write_in_one_step(target, ''.join(lines))


def network(settings: Settings) -> dict:
    """Options that set the size of the backbone."""
    arch = 'model.backbone.arch'
    return {
        f'{arch}.embed_dims': settings.width,
        f'{arch}.num_layers': settings.depth,
        f'{arch}.num_heads': max(1, settings.width // 32),
        f'{arch}.feedforward_channels': 4 * settings.width,
    }


def schedule(epochs: int, warmup: bool = True) -> dict:
    """Options that set the length of a stage; a tenth of it is warm-up."""
    options = {'train_cfg.max_epochs': epochs, 'train_cfg.val_interval': epochs}
    if not warmup:
        return options | {'param_scheduler.0.end': epochs}
    begin = max(1, epochs // 10)
    return options | {
        'param_scheduler.0.end': begin,
        'param_scheduler.1.begin': begin,
        'param_scheduler.1.end': epochs,
    }


def data_options(settings: Settings, train: Path, val: Path) -> dict:
    """Options that set what a stage reads."""
    options = {
        'train_dataloader.num_workers': settings.workers,
        'train_dataloader.persistent_workers': settings.workers > 0,
    }
    for loader, split, files in (('train', 'train', train), ('val', 'val', val)):
        key = f'{loader}_dataloader.dataset'
        options |= {
            f'{key}.data_root': settings.data,
            f'{key}.data_prefix': split,
            f'{key}.ann_file': files.resolve(),
        }
    return options


def run_stage(
    name: str, config: str, out: Path, seed: int, options: dict, family: str = 'claims'
) -> dict:
    """Run a stage, or go on with it, or return the result that it left when it was finished.

    ``family`` is the folder of its config.

    Returns:
        ``metrics`` of the validation at the end, ``seconds``, and ``checkpoint``.
    """
    folder = out / name
    result = folder / 'result.json'
    if result.is_file():
        return json.loads(result.read_text())
    path = ROOT / f'configs/{family}/{config}.py'
    options = {'randomness.seed': seed, **options}
    more = ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    return train_stage(name, path, folder, more)


def call_anew(command: Sequence[str | Path], output: TextIO) -> int:
    """``python COMMAND`` with what it prints in a file; its exit status."""
    command = [sys.executable, *command]
    return subprocess.run(command, stdout=output, stderr=output, check=False).returncode


def train_stage(
    name: str, config: Path, folder: Path, more: Sequence[str] = (), call: Callable = call_anew
) -> dict:
    """Train by a config in a folder, from where it was stopped; what :func:`run_stage` returns.

    ``more`` are arguments of tools/train.py, which is started by ``call``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [ROOT / 'tools/train.py', config, '--work-dir', folder]
    if _can_resume(folder):
        command.append('--resume')
    print(f'{time.strftime("%H:%M:%S")} {name}', flush=True)
    start = time.time()
    with open(folder / 'output.txt', 'a') as output:
        code = call([*command, *more], output)
    with open(folder / 'seconds.txt', 'a') as seconds:
        seconds.write(f'{time.time() - start:.1f}\n')
    if code:
        tail = (folder / 'output.txt').read_text().splitlines()[-15:]
        sys.exit('\n'.join([*tail, f'{name} stopped with exit status {code}: see {folder}']))
    report = dict(
        metrics=_last_metrics(folder),
        seconds=sum(map(float, (folder / 'seconds.txt').read_text().split())),
        checkpoint=Path((folder / 'last_checkpoint').read_text().strip()).name,
    )
    write_in_one_step(folder / 'result.json', json.dumps(report, indent=2) + '\n')
    return report


def write_in_one_step(target: Path, text: str) -> None:
    """So that a stage that is stopped while it writes has not been finished."""
    # Another process may be writing the same.
    partial = target.with_suffix(f'.{os.getpid()}.partial')
    partial.write_text(text)
    partial.rename(target)


def _can_resume(folder: Path) -> bool:
    """Whether a stage left a checkpoint; a marker that was cut off in writing is removed."""
    marker = folder / 'last_checkpoint'
    if not marker.is_file():
        return False
    checkpoint = marker.read_text().strip()
    if checkpoint and Path(checkpoint).is_file():
        return True
    marker.unlink()
    return False


def _last_metrics(folder: Path) -> dict[str, float]:
    """The validation metrics in the newest log: those with a prefix, and mIoU."""
    log = max(folder.glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return {key: value for row in rows for key, value in row.items() if '/' in key or key == 'mIoU'}


def train_tokenizer(config: str, settings: Settings, out: Path) -> dict:
    """Stage 1, once for all variants that share a tokenizer, and all seeds."""
    return run_stage(
        f'tokenizers/{config}', config, out, 0,
        {
            **data_options(settings, out / 'images.txt', out / 'val_images.txt'),
            'train_dataloader.batch_size': settings.batch_size,
            **schedule(settings.tokenizer_epochs, warmup=False),
        },
    )  # fmt: skip


def share_tokenizer(config: str, settings: Settings, out: Path) -> Path:
    """Train a tokenizer, and return where its weights are."""
    report = train_tokenizer(config, settings, out)
    print(report['metrics'], flush=True)
    return (out / 'tokenizers' / config / report['checkpoint']).resolve()


def pretrain_options(settings: Settings, out: Path) -> dict:
    """Options of stage 2, whatever the network predicts."""
    return {
        **data_options(settings, out / 'images.txt', out / 'val_images.txt'),
        'train_dataloader.batch_size': settings.batch_size,
        **schedule(settings.pretrain_epochs),
        **network(settings),
        'model.head.embed_dims': settings.width,
    }


def pretrain(
    variant: str, seed: int, settings: Settings, out: Path, tokenizer: Path | None = None
) -> dict:
    """Stage 2, on all training images without labels."""
    options = pretrain_options(settings, out)
    if tokenizer is not None:
        options['model.target_generator.checkpoint'] = tokenizer
    return run_stage(f'{variant}/{seed}/pretrain', VARIANTS[variant][0], out, seed, options)


def finetune(variant: str, seed: int, settings: Settings, out: Path) -> dict:
    """Stage 3, on the seed's labels; from scratch it is the same, but for the weights."""
    options = {
        **data_options(settings, out / f'labels_{seed}.txt', out / 'val.txt'),
        **schedule(settings.finetune_epochs),
        **network(settings),
        'model.head.in_channels': settings.width,
        'model.head.num_classes': settings.classes,
        'model.data_preprocessor.num_classes': settings.classes,
        'optim_wrapper.optimizer.lr': settings.finetune_lr,
    }
    config = 'scratch'
    if variant != 'scratch':
        config = 'finetune'
        folder = out / f'{variant}/{seed}/pretrain'
        checkpoint = json.loads((folder / 'result.json').read_text())['checkpoint']
        options['model.backbone.init_cfg.checkpoint'] = (folder / checkpoint).resolve()
    return run_stage(f'{variant}/{seed}/finetune', config, out, seed, options)


def claim_folder(out: Path, settings: Settings) -> None:
    """Keep results of other settings from being taken for these."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / 'settings.json'
    if path.is_file() and json.loads(path.read_text()) != asdict(settings):
        sys.exit(f'{out} holds results of other settings, {path.read_text()}choose another --out')
    path.write_text(json.dumps(asdict(settings), indent=2) + '\n')


def hardware() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    names = [
        line.partition(':')[2].strip()
        for line in Path('/proc/cpuinfo').read_text().splitlines()
        if line.startswith('model name')
    ] if Path('/proc/cpuinfo').is_file() else [platform.processor()]  # fmt: skip
    threads = os.environ.get('OMP_NUM_THREADS', torch.get_num_threads())
    return f'{threads} of {os.cpu_count()} cores, {names[0]}, no GPU'


def versions() -> dict[str, str]:
    every = {'python': platform.python_version()}
    for name in ('torch', 'torchvision', 'onedl-mmengine', 'mmengine', 'onedl-mmpretrain',
                 'mmpretrain', 'numpy'):  # fmt: skip
        try:
            every[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return every


def summarize(settings: Settings, out: Path, num_images: int, num_labels: int) -> dict:
    """All results in the folder, of earlier calls too, with mean and spread a variant."""
    results, seconds = {}, 0.0
    for path in sorted(out.rglob('result.json')):
        seconds += json.loads(path.read_text())['seconds']
    for variant in VARIANTS:
        runs = {}
        for path in sorted((out / variant).glob('*/finetune/result.json')):
            report = json.loads(path.read_text())
            before = path.parent.parent / 'pretrain/result.json'
            metrics = json.loads(before.read_text())['metrics'] if before.is_file() else {}
            runs[path.parent.parent.name] = {
                'top1': round(report['metrics']['accuracy/top1'], 2),
                **{key: round(value, 4) for key, value in metrics.items()},
            }
        if runs:
            top1 = [run['top1'] for run in runs.values()]
            results[variant] = dict(
                mean=round(statistics.mean(top1), 2),
                std=round(statistics.stdev(top1), 2) if len(top1) > 1 else None,
                seeds=runs,
            )
    tokenizers = {
        path.parent.name: json.loads(path.read_text())['metrics']
        for path in sorted((out / 'tokenizers').glob('*/result.json'))
    }
    return dict(
        command='python ' + shlex.join(['benchmarks/variants.py', *sys.argv[1:]]),
        hardware=hardware(),
        versions=versions(),
        seconds=round(seconds),
        settings={**asdict(settings), 'data': Path(settings.data).name},
        images=num_images,
        labels=num_labels,
        tokenizers=tokenizers,
        top1=results,
    )


def to_markdown(report: dict) -> str:
    """The table of a report."""
    settings = report['settings']
    scratch = report['top1'].get('scratch')
    lines = [
        f'Top-1 after fine-tuning on {report["labels"]} labels of {settings["classes"]} classes '
        f'for {settings["finetune_epochs"]} epochs; pre-trained on {report["images"]} images for '
        f'{settings["pretrain_epochs"]}.',
        '',
        '| variant | | seeds | mean | std | over scratch |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for variant, row in report['top1'].items():
        every = ', '.join(f'{run["top1"]:.1f}' for run in row['seeds'].values())
        std = '' if row['std'] is None else f'{row["std"]:.1f}'
        gain = f'{row["mean"] - scratch["mean"]:+.1f}' if scratch else ''
        lines.append(
            f'| {variant} | {VARIANTS[variant][1]} | {every} | {row["mean"]:.1f} | {std} | {gain} |'
        )
    for name, row in report['tokenizers'].items():
        figures = ', '.join(
            f'{key.removeprefix("tokenizer/")} {value:.4g}' for key, value in row.items()
        )
        lines += ['', f'Tokenizer `{name}`: {figures}.']
    lines += [
        '',
        f'`{report["command"]}`',
        '',
        f'{report["hardware"]}; {report["seconds"]} seconds of training in all; '
        + ', '.join(f'{name} {version}' for name, version in report['versions'].items()),
    ]
    return '\n'.join(lines) + '\n'


def begin(args: argparse.Namespace) -> tuple[Settings, tuple[int, int]]:
    """Settings, and the numbers of images and of labels; their lists are written."""
    settings = Settings(
        data=str(args.data.resolve()),
        **{name: getattr(args, name) for name in Settings.__annotations__ if name != 'data'},
    )
    claim_folder(args.out, settings)
    return settings, write_lists(settings, args.out, args.seeds)


def main() -> None:
    args = parse_args()
    settings, counts = begin(args)
    wanted = {variant: TOKENIZERS[variant] for variant in args.variants if variant in TOKENIZERS}
    tokenizers = {
        config: share_tokenizer(config, settings, args.out)
        for config in dict.fromkeys(wanted.values())
    }
    # Seed by seed, so that a first comparison is there early.
    for seed in args.seeds:
        for variant in args.variants:
            if variant != 'scratch':
                tokenizer = tokenizers.get(TOKENIZERS.get(variant, ''))
                pretrain(variant, seed, settings, args.out, tokenizer)
            report = finetune(variant, seed, settings, args.out)
            print(f'{variant}, seed {seed}: {report["metrics"]}', flush=True)
            summary = summarize(settings, args.out, *counts)
            (args.out / 'variants.json').write_text(json.dumps(summary, indent=2) + '\n')
            (args.out / 'variants.md').write_text(to_markdown(summary))
    print((args.out / 'variants.md').read_text())


if __name__ == '__main__':
    main()
