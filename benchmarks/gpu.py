"""Everything that is to be known of a GPU, by one command from a checkout, without internet.

    python benchmarks/gpu.py --minutes 12 --out gpu_results
    python benchmarks/gpu.py --device cpu --quick --data photos --out /tmp/rehearsal  # every line

Stages, in the order of ``--stages``; each prints and writes JSON as it goes:

    check      the tests marked cuda
    step       the pre-training step of BEiT-B and BEiT-L beside MMPretrain's, as it is by default
               and with nothing compiled
    methods    MAE's pre-training step beside MMPretrain's, ViT's beside timm's and MMPretrain's
    attention  every form of attention with a learned bias that was thought of
    pipeline   a real pre-training on a folder of photos by the stock Runner, with tokens computed
               and cached: images a second, and the share of the time that waits for photos
    quickstart the quickstart, and how many iterations a second its pre-training does
    claims     the papers' claims with ViT-S on the photos of --data, as many runs as fit: the next
               time it goes on, as what was measured is kept in benchmarks/results/claims_larger,
               and in OUT/claims_larger.tar.gz for a machine that is given back

What does not fit the minutes that are left is left out, and named. ``OUT/gpu.json`` has the
commands, exit codes, times and figures; ``OUT`` what each command wrote itself.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from this_machine import describe

ROOT = Path(__file__).resolve().parents[1]


class Command(NamedTuple):
    """A process of a stage.

    Attributes:
        name: In ``gpu.json`` and in file names.
        arguments: After ``python``.
        minutes: That it takes on an H100; it is not begun with fewer left.
        environment: Variables to set.
    """

    name: str
    arguments: list
    minutes: float
    environment: dict = {}


def run_within(seconds: float, arguments: list, environment: dict, log: Path) -> int | None:
    """Exit code of a process whose output goes to a file; None if it had to be stopped.

    It is stopped with all that it has started: what lived on, such as a stage's loader workers,
    would hold the GPU, and a pipe would be waited for until the last of them has gone.
    """
    with log.open('w') as output:
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(max(1.0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


class Bench:
    """Runs the commands of the stages, as long as there is time, and keeps the record."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.deadline = time.monotonic() + args.minutes * 60
        self.record = dict(
            benchmark='gpu',
            command=' '.join(['python', *sys.argv]),
            machine=describe(args.device),
            commands={},
            left_out=[],
        )
        args.out.mkdir(parents=True, exist_ok=True)

    def minutes_left(self) -> float:
        """Until ``--minutes`` are over."""
        return (self.deadline - time.monotonic()) / 60

    def write(self) -> None:
        """Write the record as it is so far."""
        text = json.dumps(self.record, indent=1, default=str)
        (self.args.out / 'gpu.json').write_text(text + '\n')

    def run(self, command: Command) -> bool:
        """Run a command and keep its end; False if it did not fit or failed."""
        needed = 0 if self.args.quick else command.minutes
        if self.minutes_left() < needed:
            print(f'== {command.name}: left out, it takes {needed} minutes', flush=True)
            self.record['left_out'].append(command.name)
            self.write()
            return False
        arguments = [sys.executable, *map(str, command.arguments)]
        shown = ' '.join(['python', *map(str, command.arguments)])
        print(f'== {command.name}: {shown}', flush=True)
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), **command.environment}
        if self.args.device == 'cpu':
            # Not every command is told the device, and those take a GPU where there is one.
            environment['CUDA_VISIBLE_DEVICES'] = ''
        start = time.monotonic()
        log = self.args.out / f'{command.name}.log'
        code = run_within(self.minutes_left() * 60, arguments, environment, log)
        output = log.read_text(errors='replace')
        lines = output.splitlines()
        tail = lines[-25:] if code == 0 else lines[-40:]
        print('\n'.join(tail), flush=True)
        self.record['commands'][command.name] = dict(
            command=shown,
            code=code if code is not None else 'out of time',
            seconds=round(time.monotonic() - start, 1),
            tail=tail,
        )
        self.write()
        return code == 0

    def note(self, name: str, **figures) -> None:
        """Add figures to a command that was run, and print them."""
        self.record['commands'][name].update(figures)
        print(f'   {name}: {figures}', flush=True)
        self.write()


def check(bench: Bench) -> None:
    """The tests marked cuda."""
    arguments = ['-m', 'pytest', '-q', '-m', 'cuda', 'tests/cuda', '-p', 'no:cacheprovider']
    environment = {}
    if bench.args.device == 'cpu':
        environment['BEIT_MM_TEST_DEVICE'] = 'cpu'
    if bench.args.quick:
        arguments += ['-k', 'attention or waits or cpus']
    bench.run(Command('check', arguments, 2.5, environment))


def step(bench: Bench) -> None:
    """The pre-training step, as it is by default and plain."""
    plain = ['model.backbone.compile_blocks=False', 'model.target_generator.compile=False']
    args = bench.args
    for arch, minutes in (('base', 1.5), ('large', 2)):
        for form, options in (('default', []), ('plain', plain)):
            # Tiny networks are of one size: each option is tried once.
            if args.quick and (arch == 'base') != (form == 'default'):
                continue
            name = f'step_{arch}_{form}'
            out = args.out / f'{name}.json'
            arguments = ['benchmarks/step.py', '--device', args.device, '--arch', arch]
            if args.quick:
                arguments += ['--quick', '--batch-size', 2, '--repeats', 1]
            else:
                arguments += ['--batch-size', 128 if arch == 'base' else 64]
            if args.device == 'cuda':
                arguments += ['--precision', 'bfloat16']
                options = ['model.target_generator.precision=float16', *options]
            if options:
                arguments += ['--cfg-options', *options]
            if bench.run(Command(name, [*arguments, '--out', out], minutes)):
                report = json.loads(out.read_text())
                bench.note(name, ratios=report['ratios'], cuda=report.get('cuda'))


def methods(bench: Bench) -> None:
    """MAE's step, also by the share that is hidden, and a Vision Transformer's."""
    args = bench.args
    for method, size in (('mae', 256), ('vit', 128)):
        arguments = ['benchmarks/step.py', '--method', method, '--device', args.device]
        arguments += ['--quick', '--repeats', 1] if args.quick else []
        arguments += ['--batch-size', 2 if args.quick else size]
        arguments += ['--precision', 'bfloat16'] if args.device == 'cuda' else []
        arguments += ['--out', args.out / f'step_{method}.json']
        bench.run(Command(f'step_{method}', arguments, 1.5))


def attention(bench: Bench) -> None:
    """All forms of attention with a learned bias."""
    args = bench.args
    arguments = ['benchmarks/attention_forms.py', '--device', args.device]
    arguments += ['--minutes', max(1, round(bench.minutes_left())), '--out']
    arguments += [args.out / 'attention.json', *(['--quick'] if args.quick else [])]
    bench.run(Command('attention', arguments, 2))


def times_of_iterations(work_dir: Path) -> Iterator[dict]:
    """What a run has logged of its iterations, but for the first lines, which warm up."""
    log = max(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines = [line for line in lines if 'data_time' in line]
    return lines[len(lines) // 3 :] if len(lines) > 2 else lines


def pipeline(bench: Bench) -> None:
    """Pre-training from JPEG files, by tools/train.py."""
    from pipeline import make_photos

    args = bench.args
    size, photos, epochs = (2, 8, 2) if args.quick else (128, 1024, 6)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / 'photos/train/all').mkdir(parents=True)
        make_photos(folder / 'photos/train/all', min(photos, 256))
        for copy in range(min(photos, 256), photos):
            source = folder / f'photos/train/all/{copy % 256}.jpg'
            (folder / f'photos/train/all/{copy}.jpg').write_bytes(source.read_bytes())
        tokenizer = folder / 'tokenizer.pth'
        options = options_of_pretraining(args, folder, tokenizer, size, epochs)
        weights = [
            '-c',
            f'import torch; from beit_mm.models import DiscreteVAE; torch.manual_seed(0); '
            f'torch.save(DiscreteVAE(hidden={8 if args.quick else 256}, with_decoder=False)'
            f'.state_dict(), "{tokenizer}")',
        ]
        if not bench.run(Command('pipeline_weights', weights, 0.3)):
            return
        cache = ['tools/cache_tokens.py', 'configs/beit_pretrain.py', '--views', 2]
        cache += ['--out', folder / 'tokens', '--cfg-options', *options]
        cached = bench.run(Command('pipeline_cache', cache, 0.7))
        for kind in ('computed', 'cached') if cached else ('computed',):
            train = ['tools/train.py', 'configs/beit_pretrain.py', '--work-dir', folder / kind]
            train += ['--amp'] if args.device == 'cuda' else []
            train += ['--cfg-options', *options]
            train += [f'token_cache={folder / "tokens"}'] if kind == 'cached' else []
            name = f'pipeline_{kind}'
            if bench.run(Command(name, train, 1.5)):
                lines = list(times_of_iterations(folder / kind))
                whole, waited = (
                    statistics.median(line[key] for line in lines) for key in ('time', 'data_time')
                )
                bench.note(
                    name, images_per_second=round(size / whole, 1), waited=round(waited / whole, 3)
                )


def options_of_pretraining(args, folder: Path, tokenizer: Path, size: int, epochs: int) -> list:
    """What a short run of the paper's recipe changes."""
    options = [
        f'train_dataloader.dataset.data_root={folder / "photos"}',
        f'train_dataloader.batch_size={size}',
        f'custom_hooks.0.global_batch_size={size}',
        f'train_dataloader.num_workers={1 if args.quick else max(1, len(os.sched_getaffinity(0)))}',
        f'model.target_generator.checkpoint={tokenizer}',
        f'train_cfg.max_epochs={epochs}',
        'param_scheduler.0.end=1',
        'param_scheduler.1.begin=1',
        f'param_scheduler.1.end={epochs}',
        'default_hooks.logger.interval=1',
        f'default_hooks.checkpoint.interval={epochs}',
    ]
    if args.device == 'cuda':
        options += ['optim_wrapper.dtype=bfloat16', 'model.target_generator.precision=float16']
    if args.quick:
        options += ['model.backbone.arch=tiny', 'model.head.embed_dims=192']
        options += ['model.target_generator.tokenizer.hidden=8']
    return options


def quickstart(bench: Bench) -> None:
    """The quickstart."""
    args = bench.args
    out = args.out / 'quickstart'
    arguments = ['tools/quickstart.py', '--out', out]
    if args.quick:
        # Photos, if there are any, are fewer than the digits.
        arguments += ['--speedup', 50, *(['--data', args.data] if args.data else [])]
    if bench.run(Command('quickstart', arguments, 4)):
        pretraining = max(out.glob('*/pretrain'))
        seconds = [line['time'] for line in times_of_iterations(pretraining)]
        report = json.loads((out / 'report.json').read_text())
        bench.note(
            'quickstart',
            iterations_per_second=round(1 / statistics.median(seconds), 1),
            report=report,
        )


def claims(bench: Bench) -> None:
    """The papers' claims at the larger scale."""
    args = bench.args
    if args.data is None:
        print('== claims: left out, it takes --data', flush=True)
        bench.record['left_out'].append('claims')
        return
    arguments = ['benchmarks/claims.py', '--data', args.data, '--out', args.out / 'claims_runs']
    if args.quick:
        arguments += ['--results', args.out / 'claims_larger', '--row', 'mae-pretraining']
        arguments += ['--seeds', 0, '--length', 0.0001]
    larger = dict(CLAIMS_SCALE='larger')
    for name, more in (('claims_choose', ['--choose']), ('claims', [])):
        if args.quick and more:
            continue
        # Of a try the first run is enough.
        left = 0.001 if args.quick else max(0.1, round(bench.minutes_left() - 2.5, 1))
        minutes = ['--minutes', left]
        if bench.run(Command(name, [*arguments, *more, *minutes], 3, larger)):
            continue
        # What it is at when the time is over is lost, and the next time it is begun anew.
        if bench.record['commands'].get(name, {}).get('code') == 'out of time':
            bench.note(name, code=0, stopped='as the time was over')
    pack_results(args.out)


def pack_results(out: Path) -> None:
    """What has been measured of the larger scale, as one file beside the others."""
    with tarfile.open(out / 'claims_larger.tar.gz', 'w:gz') as archive:
        for path in sorted((ROOT / 'benchmarks/results').glob('claims_larger*')):
            archive.add(path, path.relative_to(ROOT))


STAGES = {
    stage.__name__: stage
    for stage in (check, step, methods, attention, pipeline, quickstart, claims)
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--minutes', type=float, default=12, help='to be done within')
    parser.add_argument('--stages', default=','.join(STAGES), help='separated by commas')
    parser.add_argument('--data', type=Path, help='folder with train/ and val/, for claims')
    parser.add_argument('--quick', action='store_true', help='tiny networks, to try the command')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu'), help='folder')
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.data = args.data and args.data.resolve()
    args.stages = args.stages.split(',')
    if unknown := [name for name in args.stages if name not in STAGES]:
        parser.error(f'--stages {",".join(unknown)}: there are {", ".join(STAGES)}')
    if args.data and 'claims' not in args.stages:
        parser.error('--data is for claims, which is not among --stages')
    return args


def main() -> None:
    """Run the stages; exit with 1 if a command failed."""
    args = parse_args()
    bench = Bench(args)
    for name in args.stages:
        STAGES[name](bench)
    failed = [name for name, row in bench.record['commands'].items() if row['code'] != 0]
    bench.record['failed'] = failed
    bench.write()
    print(f'{len(bench.record["commands"])} commands, failed: {", ".join(failed) or "none"}; '
          f'left out: {", ".join(bench.record["left_out"]) or "none"}; '
          f'{args.out / "gpu.json"}')  # fmt: skip
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
