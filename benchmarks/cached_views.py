"""What do cached views cost? Pre-train on fresh and on K cached views a photo, fine-tune, compare.

    python benchmarks/cached_views.py --data data/tiny_imagenet --out work_dirs/cached_views

The model, data and stages are those of benchmarks/variants.py: one tokenizer is shared, and all
sides of a seed see the same labels and epochs. They differ in `token_cache` alone. Each seed has
caches of its own views. The same command goes on where it was stopped. It ends with
OUT/cached_views.json and OUT/cached_views.md.
"""

import argparse
import json
import math
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from variants import (
    ROOT,
    Settings,
    add_settings,
    begin,
    checked,
    finetune,
    hardware,
    pretrain_options,
    run_stage,
    share_tokenizer,
    versions,
)

CONFIG = 'cached_views'
FRESH = 'fresh'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--views', nargs='+', type=int, default=[4, 1], help='of each photo')
    add_settings(parser)
    parser.set_defaults(
        out=Path('work_dirs/cached_views'),
        classes=10,
        tokenizer_epochs=4,
        pretrain_epochs=30,
        finetune_epochs=30,
    )
    args = checked(parser)
    if min(args.views) < 1:
        parser.error('--views start at 1')
    return args


def side(views: int | None) -> str:
    """What a side of the comparison is called, and its folder."""
    return FRESH if views is None else f'cached-{views}'


def options(settings: Settings, out: Path) -> dict:
    """Options of pre-training that all sides share, as the tokens of a cache depend on them."""
    tokenizer = (out / 'tokenizer.pth').resolve()
    return {**pretrain_options(settings, out), 'model.target_generator.checkpoint': tokenizer}


def cache_tokens(views: int, seed: int, settings: Settings, out: Path) -> Path:
    """Compute the tokens of a seed's views, or what is missing of them; return their folder."""
    stage = out / side(views) / str(seed)
    folder, result = stage / 'tokens', stage / 'cache.json'
    if result.is_file():
        return folder
    command = [
        sys.executable, ROOT / 'tools/cache_tokens.py', ROOT / f'configs/claims/{CONFIG}.py',
        '--views', str(views), '--seed', str(seed), '--out', folder, '--cfg-options',
        *(f'{key}={value}' for key, value in options(settings, out).items()),
    ]  # fmt: skip
    start = time.time()
    subprocess.run(command, check=True)
    report = dict(
        seconds=round(time.time() - start, 1),
        bytes=sum(path.stat().st_size for path in folder.glob('*.npy')),
    )
    result.write_text(json.dumps(report, indent=2) + '\n')
    return folder


def pretrain(views: int | None, seed: int, settings: Settings, out: Path) -> dict:
    """Pre-train a side; the two kinds differ in ``token_cache`` alone."""
    every = options(settings, out)
    if views is not None:
        every['token_cache'] = cache_tokens(views, seed, settings, out).resolve()
    return run_stage(f'{side(views)}/{seed}/pretrain', CONFIG, out, seed, every)


def read_runs(out: Path, name: str) -> dict[int, dict]:
    """What is finished of a side, by seed."""
    runs = {}
    for path in sorted((out / name).glob('*/finetune/result.json')):
        stage = path.parent.parent
        before = json.loads((stage / 'pretrain/result.json').read_text())
        cache = stage / 'cache.json'
        runs[int(stage.name)] = {
            'top1': round(json.loads(path.read_text())['metrics']['accuracy/top1'], 2),
            'mim/acc': round(before['metrics']['mim/acc'], 2),
            'pretrain_seconds': round(before['seconds']),
            **({'cache': json.loads(cache.read_text())} if cache.is_file() else {}),
        }
    return runs


def spread(values: list[float]) -> float | None:
    """Standard deviation over the seeds, of one seed None."""
    return statistics.stdev(values) if len(values) > 1 else None


def compare(runs: dict[int, dict], fresh: dict[int, dict]) -> dict:
    """Mean and spread of a side, and its difference from fresh views over the seeds both have.

    A seed's sides share labels, initial weights and order of photos, so differences are a seed's.
    """
    top1 = [run['top1'] for run in runs.values()]
    pairs = [run['top1'] - fresh[seed]['top1'] for seed, run in runs.items() if seed in fresh]
    std = spread(pairs)
    return dict(
        mean=statistics.mean(top1),
        std=spread(top1),
        difference=statistics.mean(pairs) if pairs else None,
        difference_error=None if std is None else std / math.sqrt(len(pairs)),
        seeds=runs,
    )


def summarize(settings: Settings, out: Path, views: list[int]) -> dict:
    """All results in the folder, of earlier calls too."""
    fresh = read_runs(out, FRESH)
    rows = {}
    for count in [None, *views]:
        if runs := read_runs(out, side(count)):
            rows[side(count)] = dict(
                views=count,
                uses_of_a_view=None if count is None else settings.pretrain_epochs / count,
                **compare(runs, fresh),
            )
    tokenizer = json.loads((out / 'tokenizers/dvae/result.json').read_text())
    counts = {
        name: len((out / file).read_text().splitlines())
        for name, file in (('images', 'images.txt'), ('validation_images', 'val.txt'))
    }
    return dict(
        command='python ' + shlex.join(['benchmarks/cached_views.py', *sys.argv[1:]]),
        hardware=hardware(),
        versions=versions(),
        settings={**asdict(settings), 'data': Path(settings.data).name},
        **counts,
        tokenizer=tokenizer['metrics'],
        top1=rows,
    )


def number(value: float | None, form: str = '.1f') -> str:
    return '' if value is None else f'{value:{form}}'


def to_markdown(report: dict) -> str:
    """The table of a report, and how far it can be trusted."""
    settings, rows = report['settings'], report['top1']
    lines = [
        f'Top-1 after pre-training for {settings["pretrain_epochs"]} epochs on {report["images"]} '
        f'images and fine-tuning for {settings["finetune_epochs"]} on {settings["labels"]} labels '
        f'of each of {settings["classes"]} classes.',
        '',
        '| views of a photo | epochs a view | seeds | mean | std | less fresh (standard error) '
        '| tokens right |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for name, row in rows.items():
        every = ', '.join(f'{run["top1"]:.1f}' for run in row['seeds'].values())
        right = statistics.mean(run['mim/acc'] for run in row['seeds'].values())
        error = number(row['difference_error'])
        gap = '' if name == FRESH else number(row['difference'], '+.1f') + (error and f' ({error})')
        lines.append(
            f'| {row["views"] or "a new one each time"} | {number(row["uses_of_a_view"], "g")} '
            f'| {every} | {row["mean"]:.1f} | {number(row["std"])} | {gap} | {right:.1f} % |'
        )
    mean = rows[FRESH]['mean'] / 100
    sampling = 100 * math.sqrt(mean * (1 - mean) / report['validation_images'])
    lines += [
        '',
        f'Top-1 of one run on {report["validation_images"]} validation images has a standard error '
        f'of {sampling:.1f} points from the images alone, which all runs share. std is over the '
        'seeds; less fresh is the mean of the differences seed by seed. Tokens right: share of the '
        'masked tokens of the validation images that are predicted after pre-training.',
        '',
        f'`{report["command"]}`',
        '',
        report['hardware']
        + '; '
        + ', '.join(f'{name} {version}' for name, version in report['versions'].items()),
    ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    args = parse_args()
    settings, _ = begin(args)
    shutil.copy(share_tokenizer('dvae', settings, args.out), args.out / 'tokenizer.pth')
    # Seed by seed, so that a first comparison is there early.
    for seed in args.seeds:
        for views in [None, *args.views]:
            pretrain(views, seed, settings, args.out)
            report = finetune(side(views), seed, settings, args.out)
            print(f'{side(views)}, seed {seed}: {report["metrics"]}', flush=True)
            summary = summarize(settings, args.out, args.views)
            (args.out / 'cached_views.json').write_text(json.dumps(summary, indent=2) + '\n')
            (args.out / 'cached_views.md').write_text(to_markdown(summary))
    print((args.out / 'cached_views.md').read_text())


if __name__ == '__main__':
    main()
