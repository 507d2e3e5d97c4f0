"""Do the papers' claims hold? Every row at small size on real photos, as far as they were run.

    python benchmarks/claims.py --data data/tiny_imagenet_40
    python benchmarks/claims.py --data data/tiny_imagenet_40 --row mae-mask-share --minutes 30
    python benchmarks/claims.py --list
    python benchmarks/claims.py --report

The data is a folder with train/<class>/ and val/<class>/ of 500 training photos a class or more.
The command runs what is missing, one run at a time, row by row as they stand in claim_rows.py; a
run serves all rows that hold it, and one that was stopped goes on. Given again in a second shell,
it takes a second core, and other seeds. CLAIMS_SCALE=larger trains ViT-S, which takes a GPU;
benchmarks/gpu.py does so by pieces of minutes. What is kept of each run lies in
benchmarks/results/claims/, and from it come docs/claims.md and, in docs/claims/, the tables and
plots. --choose tries the settings of fine-tuning on training photos that nothing else reads, which
comes first at a new scale.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from claim_process import import_everything
from claim_recipes import CHOSEN, SCALE, STEPS, Run, finetuned, is_chosen, told, tried_top1
from claim_row import BEIT, MAE, Row
from claim_rows import ROWS
from claim_runs import Place, carry_out, folder_of, keep, place_of, results_of
from claim_tables import write_report
from this_machine import describe
from variants import ROOT, write_in_one_step

RESULTS = ROOT / 'benchmarks/results' / SCALE.results
SEEDS = (0, 1, 2)
# What else is read where it is not about runs of rows. Given others would change nothing.
TAKEN_BESIDE = dict(
    list=('data', 'seeds', 'results'),
    report=('data', 'results', 'docs'),
    choose=('data', 'out', 'results', 'docs', 'minutes'),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data', type=Path, help='folder with train/ and val/')
    parser.add_argument('--camvid', type=Path, help='CamVid; default: beside the data')
    parser.add_argument('--out', type=Path, default=Path('work_dirs', f'papers_{SCALE.results}'))
    parser.add_argument('--results', type=Path, help='what is kept of each run')
    parser.add_argument('--docs', type=Path, help='of claims.md and claims/')
    parser.add_argument('--seeds', type=int, nargs='+', default=list(SEEDS))
    parser.add_argument('--minutes', type=float, help='begin no run after so many')
    parser.add_argument(
        '--row', nargs='+', choices=[row.name for row in ROWS], metavar='NAME', help='these alone'
    )
    parser.add_argument(
        '--length',
        type=float,
        default=1.0,
        help='share of all steps, in small batches, to try the machinery',
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--list', action='store_true', help='what there is, and what it takes')
    what.add_argument('--report', action='store_true', help='only write the tables and plots')
    what.add_argument('--choose', action='store_true', help='try settings of fine-tuning')
    args = parser.parse_args()
    for mode, taken in TAKEN_BESIDE.items():
        given = [
            name for name, value in vars(args).items()
            if name not in (mode, *taken) and value != parser.get_default(name)
        ]  # fmt: skip
        if getattr(args, mode) and given:
            parser.error(
                f'--{mode} and --{given[0]} are both given; beside --{mode} there are '
                f'{", ".join(f"--{name}" for name in taken)} alone'
            )
    if not (args.data or args.list or args.report):
        parser.error('--data is needed to run anything')
    if args.length != 1 and args.results is None:
        parser.error('--length is for trying: give other --results')
    return args


def pages_of(results: Path) -> Path:
    """The folder of claims.md and claims/: that of the site for the results that it is about."""
    of_site = SCALE.docs is not None and results == RESULTS
    return ROOT / SCALE.docs if of_site else results / 'pages'


def missing(rows: list[Row], seeds: list[int], results: Path) -> list[tuple[Row, int, Run]]:
    """Runs that are left, in order: row by row, of a row seed by seed."""
    left: dict[tuple[str, int], tuple[Row, int, Run]] = {}
    for row in rows:
        for seed in seeds:
            for run in row.runs:
                if seed not in results_of(run, results):
                    left.setdefault((run.name, seed), (row, seed, run))
    return list(left.values())


def with_lost_starts(run: Run, seed: int, place: Place) -> Iterator[Run]:
    """A run, behind those that it needs whose weights are no longer there."""
    for needed in run.needs:
        if not (folder_of(needed, seed, place) / 'result.json').is_file():
            yield from with_lost_starts(needed, seed, place)
    yield run


def tidy(seed: int, place: Place) -> None:
    """Remove a seed's weights that no run which is left begins with."""
    left = missing(list(ROWS), [seed], place.results)
    needed = {start.name for _, _, run in left for start in run.needs}
    for folder in (place.out / str(seed)).iterdir():
        if folder.name not in needed and (folder / 'result.json').is_file():
            shutil.rmtree(folder)


@contextlib.contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Keep other processes out of a folder; without ``wait``, say whether none was there."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)


def list_rows(seeds: list[int], results: Path) -> None:
    """Print what there is, how many runs are left and their minutes of a core."""
    claimed: set[str] = set()
    print(f'{"row":26s} runs  left  minutes of one {SCALE.unit} (beside those of the rows above)')
    total = 0.0
    for row in ROWS:
        left = [item for item in missing([row], seeds, results)
                if f'{item[2].name} {item[1]}' not in claimed]  # fmt: skip
        claimed |= {f'{run.name} {seed}' for _, seed, run in left}
        minutes = sum(run.cost for _, _, run in left) / 60
        total += minutes
        print(f'{row.name:26s} {len(row.runs) * len(seeds):4d}  {len(left):4d}  {minutes:7.0f}')
    print(f'{"all":26s}             {total:7.0f}')


def run_missing(args: argparse.Namespace, place: Place, clock: 'Clock') -> None:
    rows = [row for row in ROWS if not args.row or row.name in args.row]
    if not place.camvid.is_dir():
        print(f'{place.camvid} is no folder: segmentation is left out')
        rows = [row for row in rows if all(run.stage != 'segment' for run in row.runs)]
    while not clock.is_over and run_next(rows, args, place, clock):
        pass
    if left := missing(rows, args.seeds, place.results):
        why = f'{clock.limit} minutes are over' if clock.is_over else 'others are at their seeds'
        print(f'{len(left)} runs are left: {why}; the same command goes on')


def run_next(rows: list[Row], args: argparse.Namespace, place: Place, clock: 'Clock') -> bool:
    """Carry out the first missing run of a seed that no other process is at; whether there was."""
    for seed in dict.fromkeys(of for _, of, _ in missing(rows, args.seeds, place.results)):
        with locked(place.out / str(seed), wait=False) as free:
            # Asked again: another process may have ended it in between.
            if free and (left := missing(rows, [seed], place.results)):
                row, _, run = left[0]
                ahead = missing(rows, args.seeds, place.results)
                print(f'{row.name}: {run.name}, seed {seed}; {clock.expected(ahead)}', flush=True)
                figures = run_with_starts(run, seed, place)
                clock.told += run.cost
                print(f'  {figures}', flush=True)
                tidy(seed, place)
                with locked(place.results):
                    write_report(place.results, args.docs, run)
                return True
    return False


def run_with_starts(run: Run, seed: int, place: Place) -> dict:
    """Figures of a run, behind those that it needs whose weights are no longer there."""
    for step in with_lost_starts(run, seed, place):
        figures = carry_out(step, seed, place)
        with locked(place.results):
            # What a lost start had, others have been compared with.
            if seed not in results_of(step, place.results):
                keep(step, seed, figures, place.results)
    return figures


@dataclasses.dataclass
class Clock:
    """How fast this process goes, and how long it may.

    Attributes:
        start: Of time.monotonic().
        limit: Minutes; None for no end.
        told: Seconds that its runs were expected to take.
    """

    start: float
    limit: float | None = None
    told: float = 0.0

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.start) / 60

    @property
    def is_over(self) -> bool:
        return self.limit is not None and self.minutes > self.limit

    def expected(self, left: list[tuple[Row, int, Run]]) -> str:
        """What is left, in words."""
        hours = sum(run.cost for _, _, run in left) / 3600
        rate = self.minutes * 60 / self.told if self.told else 1.0
        return (f'{len(left)} runs left, {hours:.1f} hours of one {SCALE.unit}, '
                f'about {hours * rate:.1f} at this speed')  # fmt: skip


def choose(place: Place, clock: Clock) -> None:
    """Top-1 on photos kept for it, of the settings tried, from the weights of the first seed."""
    for kind, tried in SCALE.tried.items():
        start = dict(beit=BEIT, mae=MAE).get(kind)
        network = 'beit' if kind in ('beit', 'scratch') else 'vit'
        for rate, decay in tried:
            name = told(kind, rate, decay)
            if name in tried_top1():
                continue
            if clock.is_over:
                return
            options = {
                'optim_wrapper.optimizer.lr': rate,
                'optim_wrapper.paramwise_cfg.layer_decay_rate': decay,
            }
            run = finetuned(
                f'choose-{kind}-{rate}-{decay}', start, network, options,
                steps=STEPS['finetune'] // 2, held_out=True,
            )  # fmt: skip
            for needed in run.needs:
                if not (folder_of(needed, 0, place) / 'result.json').is_file():
                    run_with_starts(needed, 0, place)
            top1 = carry_out(run, 0, place)['curve'][-1][1]
            print(name, top1, flush=True)
            report = dict(top1=tried_top1() | {name: top1}, machine=describe())
            write_in_one_step(CHOSEN, json.dumps(report, indent=2) + '\n')


def main() -> None:
    args = parse_args()
    results = args.results or RESULTS
    if args.list:
        return list_rows(args.seeds, results)
    if args.report:
        return write_report(results, args.docs or pages_of(results))
    # Seconds of one core.
    os.environ['OMP_NUM_THREADS'] = '1'
    torch.set_num_threads(1)
    import_everything()
    camvid = args.camvid or args.data.parent / 'camvid'
    place = place_of(args.data, camvid, args.out, args.results or RESULTS, args.length)
    if args.results is None and len(place.classes) < SCALE.classes:
        # Figures of fewer classes are others.
        folder = RESULTS.with_name(f'{RESULTS.name}_{len(place.classes)}_classes')
        place = dataclasses.replace(place, results=folder)
    args.docs = args.docs or pages_of(place.results)
    clock = Clock(time.monotonic(), args.minutes)
    if args.choose:
        with locked(place.out / '0', wait=False) as free:
            if not free:
                sys.exit(f'another process runs in {place.out}/0')
            choose(place, clock)
    elif args.length == 1 and not is_chosen():
        sys.exit(f'{CHOSEN} has not all settings of fine-tuning: run --choose first')
    else:
        run_missing(args, place, clock)
    with locked(place.results):
        write_report(place.results, args.docs)


if __name__ == '__main__':
    main()
