"""Does it pay? BEiT, MAE and training from scratch at equal compute on your images.

    python benchmarks/methods.py --data data/tiny_imagenet_40 --measure
    python benchmarks/methods.py --data data/tiny_imagenet_40 --choose
    python benchmarks/methods.py --data data/tiny_imagenet_40

The data is a folder with train/<class>/ and val/<class>/. The first command measures what a step of
each stage costs, in turns, in seconds of one core (not of the clock, which counts other programs
too). From these figures come STEPS below, what a budget of BUDGET such seconds allows; they are
fixed, so that a run can be repeated. The second tries the settings of fine-tuning on training
photos that nothing else reads; the better ones stand first in TRIED. The third runs what is
missing, a row of one seed at a time, and writes benchmarks/results/methods.json and .md, and the
table in docs/methods.md, after each.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from this_machine import describe
from variants import ROOT, list_images, run_stage, write_labelled

RESULTS = ROOT / 'benchmarks/results/methods.json'
PAGE = ROOT / 'docs/methods.md'
# Around the table in the page.
BEGIN, END = '<!-- written by benchmarks/methods.py -->\n\n', '\n<!-- to here -->\n'
# Seconds of one core for a pre-training, BEiT's tokenizer included, which has a quarter of them.
BUDGET = 180
# By `measured` in benchmarks/results/methods.json, in whole tens. BEiT sees a photo less than
# twice: a cache of its tokens would not pay for itself.
STEPS = dict(tokenizer=200, beit=500, mae=1620, finetune=400, scratch_longer=1430)
BATCH = dict(tokenizer=64, beit=64, mae=64, finetune=50)
# What `beit-mm pretrain` takes for batches of 64 and this width.
PRETRAIN_RATE = 1.6e-3
# Folder and name of a stage's recipe.
CONFIGS = dict(
    tokenizer=('own', 'dvae'),
    beit=('own', 'pretrain'),
    mae=('own', 'mae'),
    finetune_beit=('own', 'finetune'),
    finetune_mae=('methods', 'finetune_mae'),
)
# Photos a class: with a label, for fine-tuning, k-NN and the linear classifier; and those of the
# training photos that choose the settings and nothing else.
LABELS, CHOOSING = 50, 25
# The seed of the choice.
CHOICE = 100
# Learning rates and layer decays of fine-tuning that were tried, the one that is taken first.
TRIED = dict(
    beit=((1e-3, 0.75), (2e-3, 0.9)),
    mae=((1e-3, 0.75), (2e-3, 0.9)),
    scratch=((1e-3, 1.0), (2e-3, 1.0)),
)


class Row(NamedTuple):
    """A line of the table: whose network, from whose weights, fine-tuned for which of STEPS."""

    title: str
    network: str
    pretraining: str | None
    length: str = 'finetune'

    @property
    def settings(self) -> tuple[float, float]:
        """Learning rate and layer decay of fine-tuning."""
        return TRIED[self.pretraining or 'scratch'][0]


ROWS = {
    'beit': Row('BEiT and its tokenizer', 'beit', 'beit'),
    'mae': Row('MAE', 'mae', 'mae'),
    'scratch': Row("from scratch, MAE's network", 'mae', None),
    'scratch_longer': Row("from scratch, MAE's network, same time", 'mae', None, 'scratch_longer'),
    'scratch_beit': Row("from scratch, BEiT's network", 'beit', None),
}
SCORES = dict(top1='fine-tuned', linear='linear', knn='20-NN')


class Data(NamedTuple):
    """Photos, and the folder of the lists that say what reads which of them."""

    folder: Path
    lists: Path
    classes: list[str]


def write_lists(folder: Path, lists: Path, seeds: list[int]) -> Data:
    """Write which photos each stage reads."""
    lists.mkdir(parents=True, exist_ok=True)
    classes = sorted(path.name for path in (folder / 'train').iterdir() if path.is_dir())
    train, val = (list_images(folder / split, classes) for split in ('train', 'val'))
    rng = random.Random(CHOICE)
    choosing = {name: sorted(rng.sample(files, CHOOSING)) for name, files in train.items()}
    rest = {name: sorted({*files} - {*choosing[name]}) for name, files in train.items()}
    for name, files in (('photos', rest), ('choosing_photos', choosing)):
        lines = [path for of_class in files.values() for path in of_class]
        (lists / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    write_labelled(choosing, lists / 'choosing.txt')
    write_labelled(val, lists / 'val.txt')
    for seed in (*seeds, CHOICE):
        rng = random.Random(seed)
        drawn = {name: sorted(rng.sample(files, LABELS)) for name, files in rest.items()}
        write_labelled(drawn, lists / f'labels_{seed}.txt')
    return Data(folder.resolve(), lists.resolve(), classes)


def common(stage: str, steps: int) -> dict:
    """Options of any stage: one process, bfloat16, a tenth or twentieth of the steps warm-up."""
    options = {
        f'{loader}_dataloader.{key}': value
        for loader in ('train', 'val', 'test')
        for key, value in (('num_workers', 0), ('persistent_workers', False))
    } | {
        'train_dataloader.batch_size': BATCH[stage],
        'train_cfg.max_iters': steps,
        'train_cfg.val_interval': steps,
        'optim_wrapper.type': 'beit_mm.BFloat16OptimWrapper',
    }
    if stage == 'tokenizer':
        return options | {'param_scheduler.T_max': steps}
    warmup = max(1, steps // (10 if stage == 'finetune' else 20))
    return options | {
        'param_scheduler.0.end': warmup,
        'param_scheduler.1.begin': warmup,
        'param_scheduler.1.T_max': steps - warmup,
    }


def unlabelled(stage: str, data: Data, steps: int) -> dict:
    """Options of a stage that reads no label; it is validated on photos kept for choices."""
    options = common(stage, steps)
    for loader, name in (('train', 'photos'), ('val', 'choosing_photos')):
        options[f'{loader}_dataloader.dataset.data_root'] = str(data.folder / 'train')
        options[f'{loader}_dataloader.dataset.ann_file'] = str(data.lists / f'{name}.txt')
    if stage != 'tokenizer':
        options['optim_wrapper.optimizer.lr'] = PRETRAIN_RATE
    return options


def labelled(
    data: Data, seed: int, steps: int, settings: tuple[float, float], weights: Path | None
) -> dict:
    """Options of fine-tuning, on a seed's labels; validated on val/, or for a choice on train/."""
    rate, decay = settings
    options = common('finetune', steps) | {
        'model.head.num_classes': len(data.classes),
        'model.data_preprocessor.num_classes': len(data.classes),
        'optim_wrapper.optimizer.lr': rate,
        'optim_wrapper.paramwise_cfg.layer_decay_rate': decay,
        'default_hooks.checkpoint.interval': steps,
    }
    if weights is None:
        options['model.backbone.init_cfg'] = None
    else:
        options['model.backbone.init_cfg.checkpoint'] = weights
    choosing = seed == CHOICE
    held_out = ('train', 'choosing') if choosing else ('val', 'val')
    places = dict(train=('train', f'labels_{seed}'), val=held_out, test=held_out)
    for loader, (split, name) in places.items():
        dataset = f'{loader}_dataloader.dataset'
        options[f'{dataset}.data_root'] = str(data.folder / split)
        options[f'{dataset}.ann_file'] = str(data.lists / f'{name}.txt')
        options[f'{dataset}.metainfo.classes'] = data.classes
    return options


def as_argument(value) -> str:
    return f'[{",".join(value)}]' if isinstance(value, list) else str(value)


def run(name: str, stage: str, out: Path, seed: int, options: dict) -> dict:
    """A stage: what it left, and the seconds that it took of a core, start and validation too."""
    family, config = CONFIGS[stage]
    cpu = out / name / 'cpu.txt'
    before = os.times()
    arguments = {key: as_argument(value) for key, value in options.items()}
    report = run_stage(name, config, out, seed, arguments, family)
    after = os.times()
    spent = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    if not cpu.is_file():
        cpu.write_text(f'{spent:.1f}')
    checkpoint = (out / name / report['checkpoint']).resolve()
    return dict(report, checkpoint=checkpoint, cpu_seconds=float(cpu.read_text()))


def pretrain(method: str, data: Data, out: Path, seed: int) -> tuple[Path, dict]:
    """Weights by a method, and what is known of its stages."""
    stages, told = {}, {}
    options = unlabelled(method, data, STEPS[method])
    if method == 'beit':
        before = unlabelled('tokenizer', data, STEPS['tokenizer'])
        tokenizer = run(f'{seed}/tokenizer', 'tokenizer', out, seed, before)
        options['model.target_generator.checkpoint'] = tokenizer['checkpoint']
        stages['tokenizer'] = tokenizer
    stages[method] = run(f'{seed}/{method}', method, out, seed, options)
    for name, report in stages.items():
        told |= {key: round(value, 4) for key, value in report['metrics'].items()}
        told[f'{name}_cpu_seconds'] = report['cpu_seconds']
    return stages[method]['checkpoint'], told


def frozen(row: Row, data: Data, out: Path, seed: int, weights: Path | None) -> list[dict]:
    """k-NN and a linear classifier on every block's output; of random weights without others."""
    family, config = CONFIGS[f'finetune_{row.network}']
    file = out / f'{seed}/features_{row.network}_{row.pretraining}.json'
    if not file.is_file():
        options = labelled(data, seed, STEPS[row.length], row.settings, weights)
        command = [
            sys.executable, ROOT / 'tools/evaluate_features.py',
            ROOT / f'configs/{family}/{config}.py', weights or 'none', '--by-layer',
            '--seed', str(seed), '--json', file, '--cfg-options',
            *(f'{key}={as_argument(value)}' for key, value in options.items()
              if 'init_cfg' not in key),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(file.read_text())['layers']


def run_row(name: str, data: Data, out: Path, seed: int) -> dict:
    """A row's figures for a seed."""
    row, told, weights = ROWS[name], {}, None
    if row.pretraining:
        weights, told = pretrain(row.pretraining, data, out, seed)
    layers = frozen(row, data, out, seed, weights) if row.length == 'finetune' else []
    report = run(
        f'{seed}/finetune_{name}', f'finetune_{row.network}', out, seed,
        labelled(data, seed, STEPS[row.length], row.settings, weights),
    )  # fmt: skip
    figures = dict(top1=round(report['metrics']['accuracy/top1'], 2))
    if layers:
        figures |= {key: round(layers[-1][key], 2) for key in ('linear', 'knn')}
        figures['by_block'] = {k: [round(x[k], 2) for x in layers] for k in ('linear', 'knn')}
    return dict(figures, finetune_cpu_seconds=report['cpu_seconds'], **told)


def choose(data: Data, out: Path) -> dict:
    """Top-1 on photos kept for it, by labels drawn for it, at half of the steps.

    From the weights that the rows of the first seed are of.
    """
    found = {}
    for method, tried in TRIED.items():
        weights = None if method == 'scratch' else pretrain(method, data, out, 0)[0]
        network = 'beit' if method == 'beit' else 'mae'
        for rate, decay in tried:
            steps = STEPS['finetune'] // 2
            options = labelled(data, CHOICE, steps, (rate, decay), weights)
            name = f'{CHOICE}/finetune_{method}_{rate}_{decay}'
            report = run(name, f'finetune_{network}', out, CHOICE, options)
            top1 = round(report['metrics']['accuracy/top1'], 2)
            found[f'{method}, rate {rate:g}, layer decay {decay:g}'] = top1
            print(method, rate, decay, top1, flush=True)
    return found


def steps_of(stage: str, data: Data) -> Iterator[None]:
    """Endless training steps of a stage, with the loading of their photos."""
    family, config = CONFIGS[stage]
    cfg = Config.fromfile(ROOT / f'configs/{family}/{config}.py')
    if stage.startswith('finetune'):
        options = labelled(data, CHOICE, 1000, (1e-3, 1.0), None)
    else:
        options = unlabelled(stage, data, 1000)
    if stage == 'beit':
        options['model.target_generator.checkpoint'] = None
    cfg.merge_from_dict(options)
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    while True:
        for batch in Runner.build_dataloader(cfg.train_dataloader):
            model.train_step(batch, wrapper)
            yield


def measure(data: Data, rounds: int = 15) -> dict:
    """Seconds of a core that a step of each stage takes: medians of steps in turns."""
    init_default_scope('mmpretrain')
    torch.set_num_threads(1)
    stages = {name: steps_of(name, data) for name in CONFIGS}
    times: dict[str, list[float]] = {name: [] for name in stages}
    for count in range(2 + rounds):
        for name, steps in stages.items():
            start = time.process_time()
            next(steps)
            if count > 1:
                times[name].append(time.process_time() - start)
    seconds = {name: round(statistics.median(values), 4) for name, values in times.items()}
    return dict(seconds_a_step=seconds, steps=steps_by(seconds), machine=describe())


def steps_by(seconds: dict[str, float]) -> dict[str, int]:
    """Steps that the budget allows, by what one costs."""
    tokenizer = int(BUDGET / 4 / seconds['tokenizer'])
    left = BUDGET - tokenizer * seconds['tokenizer']
    return dict(
        tokenizer=tokenizer,
        beit=int(left / seconds['beit']),
        mae=int(BUDGET / seconds['mae']),
        scratch_longer=STEPS['finetune'] + int(BUDGET / seconds['finetune_mae']),
    )


def summary_of(runs: dict[str, dict[str, dict]]) -> dict:
    """Mean and spread over the seeds of each row's scores, from the figures of the runs."""
    table: dict[str, dict] = {}
    for name, seeds in runs.items():
        table[name] = {}
        for score in SCORES:
            values = [run[score] for run in seeds.values() if score in run]
            if values:
                std = round(statistics.stdev(values), 2) if len(values) > 1 else None
                table[name][score] = dict(mean=round(statistics.mean(values), 2), std=std)
    return table


def to_markdown(report: dict) -> str:
    """The table."""
    lines = [
        '| | ' + ' | '.join(SCORES.values()) + ' | fine-tuned, seeds |',
        '| --- |' + ' --- |' * (1 + len(SCORES)),
    ]
    for name, scores in summary_of(report['runs']).items():
        cells = [cell(scores.get(score)) for score in SCORES]
        cells.append(', '.join(f'{run["top1"]:.1f}' for run in report['runs'][name].values()))
        lines.append(f'| {ROWS[name].title} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def cell(score: dict | None) -> str:
    if score is None:
        return ''
    return f'{score["mean"]:.1f}' + ('' if score['std'] is None else f' ± {score["std"]:.1f}')


def write(report: dict, file: Path) -> None:
    """The report and its table; those of the project in the guide too."""
    report |= dict(budget=BUDGET, steps=STEPS, batch=BATCH, tried=TRIED, labels=LABELS)
    file.write_text(json.dumps(report, indent=2) + '\n')
    table = to_markdown(report)
    file.with_suffix('.md').write_text(table)
    if file == RESULTS:
        before, _, after = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + after.partition(END)[2])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, required=True, help='folder with train/ and val/')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/methods'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rows', nargs='+', choices=ROWS, metavar='ROW', default=list(ROWS))
    parser.add_argument('--json', type=Path, default=RESULTS, help='results, and what is there')
    parser.add_argument('--measure', action='store_true', help='what a step costs here')
    parser.add_argument('--choose', action='store_true', help='try the settings of fine-tuning')
    args = parser.parse_args()
    # Of the stages: seconds of one core.
    os.environ['OMP_NUM_THREADS'] = '1'
    data = write_lists(args.data, args.out / 'lists', args.seeds)
    report = json.loads(args.json.read_text()) if args.json.is_file() else dict(runs={})
    if args.measure or args.choose:
        name = 'measured' if args.measure else 'chosen'
        report[name] = measure(data) if args.measure else choose(data, args.out)
        print(json.dumps(report[name], indent=2))
        return write(report, args.json)
    left = [
        (seed, row) for seed in args.seeds for row in args.rows
        if str(seed) not in report['runs'].get(row, {})
    ]  # fmt: skip
    start = time.monotonic()
    for done, (seed, row) in enumerate(left, 1):
        figures = run_row(row, data, args.out, seed)
        report['runs'].setdefault(row, {})[str(seed)] = figures
        write(report, args.json)
        eta = (time.monotonic() - start) / done * (len(left) - done)
        print(f'{row}, seed {seed}: {figures}\n{done} of {len(left)}, about {eta / 60:.0f} minutes '
              'left', flush=True)  # fmt: skip
    write(report, args.json)
    print(to_markdown(report))


if __name__ == '__main__':
    main()
