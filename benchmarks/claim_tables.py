"""What the kept runs of claims.py say: means, intervals, verdicts, and the pages made of them."""

import csv
import math
import statistics
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from claim_recipes import CHOOSING, DEPTH, LABELS, SCALE, STEPS, WIDTH, Run
from claim_row import Claim, Point, Row
from claim_rows import ROWS
from claim_runs import results_of

from beit_mm.engine.measuring.few_shot import interval_of_mean

# Fewer say nothing of a spread.
SEEDS = 3
# Pages of docs/claims/: what the names of their rows begin with, and their titles.
PAGES = dict(
    beit="The claims of BEiT's paper",
    mae="The claims of MAE's paper",
    vit="The claims of ViT's paper",
    same='What must not change accuracy',
)
HEAD = f"""# The papers' claims {SCALE.title}

Does the code do what the papers say? Their own figures take thousands of GPU hours; what can be
measured {SCALE.where} is whether the *order* of methods is theirs. Each line is a claim of a
paper, with a network of {DEPTH} blocks, {WIDTH} wide, tested on
{SCALE.photos}.
Where a claim does not hold at this size, it stands so: that says how far the claim reaches, and
nothing against the paper.

```bash
{SCALE.command}
```

repeats it all, or goes on where it was stopped. This page is made from
`benchmarks/results/{SCALE.results}/*.json` by the same command with `--report`.{SCALE.more}

"""
HOW = f"""## How it is measured

- Pre-training: {STEPS['pretrain']:,} steps of {SCALE.batch['pretrain']} photos without labels, by
  `configs/own/pretrain.py` (BEiT, with a tokenizer of {STEPS['tokenizer']} steps) and
  `configs/own/mae.py`. Fine-tuning: {STEPS['finetune']} steps of {SCALE.batch['finetune']}, on
  {LABELS} labels a class. A row changes what it is about and nothing else:
  `benchmarks/claim_recipes.py` has the recipes, `benchmarks/claims_of_*.py` the rows.
- Rates and layer decays of fine-tuning were chosen on {CHOOSING} training photos a class that
  nothing else reads (`--choose`, `benchmarks/results/{SCALE.results}_chosen.json`), one for each
  of BEiT, MAE and the two networks from scratch. Every network is tested once, on the photos of
  val/, 50 a class.
- Intervals are Student's, 95 %, over the seeds. A seed draws the labels, the first weights and the
  order of the photos, alike for all networks; differences are of pairs of one seed.
- **holds**: all of the interval of the difference is above zero; **does not**: all of it is below;
  **undecided**: zero is inside. Of claims that two are alike, **holds**: all of the interval is
  within the margin. Three seeds decide little that is small: half of an interval is 2.5 times the
  spread of the seeds. The photos of val/ are the same for all: their own error, a little below one
  point, is not in the intervals.
- The papers' figures are of ImageNet-1k, ViT-B or ViT-L, fine-tuned, unless said otherwise.
"""


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes:
        half: Half of the 95 % interval; nan of one seed.
        values: By seed.
    """

    mean: float
    half: float
    values: dict[int, float]


def estimate(values: dict[int, float]) -> Estimate:
    every = list(values.values())
    return Estimate(statistics.mean(every), interval_of_mean(every), values)


def figures_of(point: Point, results: Path) -> Estimate | None:
    """A point's score over the seeds that were run."""
    runs = results_of(point.run, results)
    values = {
        seed: score for seed, run in runs.items() if (score := read(run, point.score)) is not None
    }
    return estimate(values) if values else None


def read(figures: dict, score: str) -> float | None:
    """A score among a run's figures, see :class:`claim_row.Point`."""
    name, _, step = score.partition(':')
    if name == 'curve':
        return dict(figures.get('curve', ())).get(int(step))
    return figures.get(score)


def difference(left: Estimate, right: Estimate) -> Estimate | None:
    """Of pairs of a seed."""
    pairs = {
        seed: value - right.values[seed]
        for seed, value in left.values.items()
        if seed in right.values
    }
    return estimate(pairs) if pairs else None


def verdict(change: Estimate | None, margin: float | None) -> str:
    """What the interval of a difference says of a claim, see :data:`HOW`."""
    if change is None:
        return 'not run yet'
    if len(change.values) < SEEDS:
        return f'begun: {len(change.values)} of {SEEDS} seeds'
    low, high = change.mean - change.half, change.mean + change.half
    if margin is None:
        return 'holds' if low > 0 else 'does not' if high < 0 else 'undecided'
    if -margin < low and high < margin:
        return 'holds'
    return 'does not' if low > margin or high < -margin else 'undecided'


class Judged(NamedTuple):
    """A claim of a row, and what was found."""

    row: Row
    claim: Claim
    change: Estimate | None

    @property
    def verdict(self) -> str:
        return verdict(self.change, self.claim.margin)


def judge(row: Row, results: Path) -> list[Judged]:
    """Every claim of a row."""
    found = {point.label: figures_of(point, results) for point in row.points}
    judged = []
    for claim in row.claims:
        left, right = found[claim.left], found[claim.right]
        change = difference(left, right) if left and right else None
        judged.append(Judged(row, claim, change))
    return judged


def shown(value: Estimate | None, sign: str = '', form: str = '.1f') -> str:
    """A mean with its interval."""
    if value is None:
        return '–'
    half = '' if math.isnan(value.half) else f' ± {value.half:{form}}'
    return f'{value.mean:{sign}{form}}{half}'


def compared(claim: Claim) -> str:
    """What a claim says of its points."""
    if claim.margin is None:
        return f'{claim.left} > {claim.right}'
    return f'{claim.left} = {claim.right}, within {claim.margin:g}'


def page_of(row: Row) -> str:
    """Which of :data:`PAGES` has a row: its name begins so."""
    return row.name.partition('-')[0]


def summary(results: Path) -> Iterator[str]:
    """Lines of the table of all claims."""
    yield '| claim | in the paper | difference here | |'
    yield '| --- | --- | --- | --- |'
    for row in ROWS:
        link = f'claims/{page_of(row)}.md#{row.name}'
        yield f'| [{row.says}]({link}) *{row.where}* | | | |'
        for judged in judge(row, results):
            claim = judged.claim
            yield (
                f'| {compared(claim)} | {claim.paper} | {shown(judged.change, "+")} '
                f'| {judged.verdict} |'
            )


def section(row: Row, results: Path) -> Iterator[str]:
    """Lines of a row's own part."""
    minutes = sum(run.cost for run in row.runs) / 60
    yield from [
        f'## {row.name}', '', f'{row.says} *{row.where}.* {row.note}'.strip(), '',
        f'`--row {row.name}`: {len(row.runs)} runs a seed, {minutes:.0f} minutes of one '
        f'{SCALE.unit}, less what other rows have run.', '',
    ]  # fmt: skip
    found = [(point, figures_of(point, results)) for point in row.points]
    if not any(value for point, value in found if point.drawn):
        yield from ['Not run yet.', '']
        return
    yield from ['| | mean | by seed |', '| --- | --- | --- |']
    for point, value in found:
        form = '.1f' if point.drawn else '.3g'
        seeds = ', '.join(f'{x:{form}}' for x in value.values.values()) if value else 'not run yet'
        yield f'| {point.label} | {shown(value, form=form)} | {seeds} |'
    yield from [
        '',
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{row.name}_dark.png">'
        f'<img alt="{row.says}" src="{row.name}.png"></picture>',
        '',
    ]


def cost(results: Path) -> str:
    """What the runs took, and what is left."""
    every = {run.name: run for row in ROWS for run in row.runs}
    seconds, done, left = 0.0, 0, 0.0
    for run in every.values():
        runs = results_of(run, results)
        seconds += sum(figures[SCALE.seconds] for figures in runs.values())
        done += len(runs)
        left += max(0, SEEDS - len(runs)) * run.cost
    others = f' the others take about {left / 3600:.1f}, and' if left else ''
    return (
        f'{done} of {SEEDS * len(every)} runs are done, in {seconds / 3600:.1f} hours of one '
        f'{SCALE.unit};{others} none takes more than '
        f'{max(run.cost for run in every.values()) / 60:.0f} minutes ({SCALE.paced_by}).'
    )


def pages(results: Path) -> dict[str, str]:
    """Text of docs/claims.md and of those in docs/claims/, by their place in docs/."""
    texts = {'claims.md': '\n'.join([HEAD + cost(results), '', *summary(results), '', HOW])}
    for name, title in PAGES.items():
        lines = [f'# {title}', '', 'All, and how they are measured: [claims](../claims.md).', '']
        for row in ROWS:
            if page_of(row) == name:
                lines += section(row, results)
        texts[f'claims/{name}.md'] = '\n'.join(lines).rstrip() + '\n'
    return texts


def points_csv(row: Row, results: Path) -> str:
    """The figures of a row, a line for each point and seed."""
    text = StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(['point', 'x', 'line', 'seed', 'score', 'value', 'mean', 'half_of_interval'])
    for point in row.points:
        value = figures_of(point, results)
        for seed, score in value.values.items() if value else ():
            table.writerow([
                point.label, point.x, point.line, seed, point.score, round(score, 4),
                round(value.mean, 4), round(value.half, 4),
            ])  # fmt: skip
    return text.getvalue()


def claims_csv(results: Path) -> str:
    """The summary."""
    text = StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(
        ['row', 'left', 'right', 'margin', 'paper', 'difference', 'half_of_interval', 'verdict']
    )
    for row in ROWS:
        for _, claim, change in (found := judge(row, results)):
            index = [judged.claim for judged in found].index(claim)
            figures = (round(change.mean, 4), round(change.half, 4)) if change else ('', '')
            table.writerow([
                row.name, claim.left, claim.right, claim.margin, claim.paper, *figures,
                found[index].verdict,
            ])  # fmt: skip
    return text.getvalue()


def write_report(results: Path, docs: Path, run: Run | None = None) -> None:
    """docs/claims.md, and in docs/claims/ the tables and plots of what was run.

    With a run the plots of rows that have it alone: drawing takes seconds.
    """
    from claim_plots import draw_row

    folder = docs / 'claims'
    folder.mkdir(parents=True, exist_ok=True)
    for place, text in pages(results).items():
        (docs / place).write_text(text)
    (folder / 'claims.csv').write_text(claims_csv(results))
    for row in ROWS:
        if run and run not in row.runs:
            continue
        if any(figures_of(point, results) for point in row.points if point.drawn):
            (folder / f'{row.name}.csv').write_text(points_csv(row, results))
            draw_row(row, results, folder)
