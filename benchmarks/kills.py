"""Kill a two-process pre-training run again and again, and see what is left of it.

    python benchmarks/kills.py [--kills 25] [--method mae] [--out benchmarks/results/kills.json]

The quickstart's pre-training, BEiT's or MAE's, on pictures of noise, saves every second iteration,
so that saving is a good part of its time. Each of its lives is ended by SIGKILL at a random moment:
while it starts, trains or saves: all of its processes, or torchrun or one rank alone, whose death
must end the job. Then it is resumed. The last life trains to the end, and its weights, optimizer,
schedules and log are held against those of a run that was never killed.
"""

import argparse
import contextlib
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from this_machine import processor

from beit_mm.checkpoints import read_checkpoint
from beit_mm.models import DiscreteVAE

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = dict(beit='configs/quickstart/pretrain.py', mae='configs/quickstart/mae.py')
# A life is killed at most this many seconds after its first checkpoint, or in one case of five
# this many after its start.
LONGEST_TRAINING, LONGEST_START = 4.0, 15.0


def prepare(folder: Path, method: str) -> None:
    """64 pictures and, where the method has one, a tokenizer with random weights."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        (folder / 'data' / split / 'any').mkdir(parents=True)
        for index in range(64):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / 'data' / split / 'any' / f'{index}.png')
    if method != 'beit':
        return
    settings = dict(Config.fromfile(ROOT / CONFIGS[method]).model.target_generator.tokenizer)
    settings.pop('type')
    torch.manual_seed(0)
    torch.save(DiscreteVAE(**settings).state_dict(), folder / 'tokenizer.pth')


def start(folder: Path, name: str, method: str, iterations: int) -> subprocess.Popen:
    """Begin or go on with the run in a work directory, in a process group of its own."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    data = [f'{split}_dataloader.dataset.data_root={folder}/data' for split in ('train', 'val')]
    if method == 'beit':
        data.append(f'model.target_generator.checkpoint={folder}/tokenizer.pth')
    command = [
        ROOT / 'tools/dist_train.sh', ROOT / CONFIGS[method], '2', '--work-dir', folder / name,
        '--resume', '--cfg-options', *data,
        f'train_cfg.max_iters={iterations}', f'train_cfg.val_interval={iterations // 2}',
        f'param_scheduler.0.end={iterations // 10}', f'param_scheduler.1.begin={iterations // 10}',
        f'param_scheduler.1.T_max={iterations - iterations // 10}',
        'train_dataloader.batch_size=8', 'default_hooks.checkpoint.interval=2',
        'default_hooks.checkpoint.max_keep_ckpts=2', 'default_hooks.logger.interval=1',
    ]  # fmt: skip
    environment = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PORT': str(port),
    }
    with (folder / f'{name}.log').open('ab') as log:
        return subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def family(job: int) -> list[tuple[int, int, str]]:
    """Process, parent and command line of a job's script and of all that it has started."""
    processes = {}
    for path in Path('/proc').glob('[0-9]*'):
        try:
            parent = int(path.joinpath('stat').read_text().rpartition(')')[2].split()[1])
            command = path.joinpath('cmdline').read_bytes().decode().replace('\0', ' ')
        except (FileNotFoundError, ProcessLookupError):
            continue
        processes[int(path.name)] = parent, command
    members = [job]
    for member in members:
        members += sorted(pid for pid, (parent, _) in processes.items() if parent == member)
    return [(pid, *processes[pid]) for pid in members if pid in processes]


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie, which nobody may have asked for its exit code."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return False


def last_checkpoint(work_dir: Path) -> str:
    path = work_dir / 'last_checkpoint'
    return path.read_text() if path.is_file() else ''


def one_life(folder: Path, method: str, iterations: int, rng: random.Random) -> dict | None:
    """Start, kill at a random moment; what was killed, or None if the run came to its end."""
    work_dir = folder / 'killed'
    before, began = last_checkpoint(work_dir), time.monotonic()
    in_start = rng.random() < 0.2
    delay = rng.uniform(0, LONGEST_START if in_start else LONGEST_TRAINING)
    job = start(folder, 'killed', method, iterations)
    while not in_start and last_checkpoint(work_dir) == before and job.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    if job.poll() is not None:
        return None if job.returncode == 0 else dict(target='none', returncode=job.returncode)
    members = family(job.pid)
    launchers = [pid for pid, _, command in members if 'torch.distributed.run' in command]
    ranks = [pid for pid, parent, _ in members if parent in launchers]
    targets = {'all': [pid for pid, *_ in members]}
    if len(ranks) == 2:
        targets |= {'rank 0': ranks[:1], 'rank 1': ranks[1:], 'torchrun': launchers}
    target = rng.choice(list(targets))
    was_saving = any(work_dir.glob('.*.partial'))
    killed = time.monotonic()
    for pid in targets[target]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait(timeout=120)
    while any(map(runs, ranks)):
        time.sleep(0.01)
    ended = time.monotonic() - killed
    # Loader workers notice within seconds that their process is gone.
    while any(runs(pid) for pid, *_ in members):
        time.sleep(0.1)
    return dict(
        target=target,
        moment='start' if in_start else 'saving' if was_saving else 'training',
        seconds_after_start=round(killed - began, 2),
        seconds_until_the_job_ended=round(ended, 2),
        last_checkpoint=Path(last_checkpoint(work_dir)).name,
        partial_files=len(list(work_dir.glob('.*.partial'))),
    )


def bits(value: object) -> object:
    """Something that is equal only if every bit is."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return [(name, bits(part)) for name, part in value.items()]
    if isinstance(value, (list, tuple)):
        return [bits(part) for part in value]
    return value


def what_is_left(work_dir: Path) -> dict:
    """Parts of the last checkpoint to compare, times left out."""
    content = read_checkpoint(last_checkpoint(work_dir))
    parts = ('state_dict', 'optimizer', 'param_schedulers')
    history = {
        name: (log._log_history.tolist(), log._count_history.tolist())
        for name, log in content['message_hub']['log_scalars'].items()
        if not name.endswith('time')
    }
    return {**{part: bits(content[part]) for part in parts}, 'log': history}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=25)
    parser.add_argument('--method', choices=CONFIGS, default='beit')
    parser.add_argument('--iterations', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON file; by default in benchmarks/results')
    args = parser.parse_args()
    name = 'kills' if args.method == 'beit' else f'kills_{args.method}'
    out = args.out or ROOT / 'benchmarks/results' / f'{name}.json'
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(folder, args.method)
        if code := start(folder, 'undisturbed', args.method, args.iterations).wait():
            sys.exit(f'exit code {code}\n' + (folder / 'undisturbed.log').read_text()[-3000:])
        lives = []
        while len(lives) < args.kills:
            life = one_life(folder, args.method, args.iterations, rng)
            if life is None:
                break
            lives.append(life)
            print(len(lives), life, flush=True)
            if life['target'] == 'none':
                sys.exit((folder / 'killed.log').read_text()[-3000:])
        if code := start(folder, 'killed', args.method, args.iterations).wait():
            sys.exit(f'exit code {code}\n' + (folder / 'killed.log').read_text()[-3000:])
        expected, found = (what_is_left(folder / name) for name in ('undisturbed', 'killed'))
        result = dict(
            command=f'python benchmarks/kills.py --kills {args.kills} --method {args.method} '
            f'--iterations {args.iterations} --seed {args.seed}',
            machine=f'{os.cpu_count()} cores, {processor()}, no GPU',
            versions=dict(python=platform.python_version(), torch=torch.__version__),
            iterations=args.iterations,
            kills=len(lives),
            kills_while_saving=sum(life['moment'] == 'saving' for life in lives),
            longest_until_the_job_ended=max(life['seconds_until_the_job_ended'] for life in lives),
            equal_bit_for_bit={part: expected[part] == found[part] for part in expected},
            partial_files_at_the_end=len(list((folder / 'killed').glob('.*'))),
            checkpoints_at_the_end=sorted(path.name for path in (folder / 'killed').glob('*.pth')),
            lives=lives,
        )
    out.write_text(json.dumps(result, indent=1) + '\n')
    print(json.dumps({k: v for k, v in result.items() if k != 'lives'}, indent=1))
    good = all(result['equal_bit_for_bit'].values()) and not result['partial_files_at_the_end']
    sys.exit(0 if good and len(lives) == args.kills else 1)


if __name__ == '__main__':
    main()
