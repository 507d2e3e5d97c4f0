"""What a row of claims.py is, and the runs that rows of several papers share.

BEiT is arXiv 2106.08254, MAE arXiv 2111.06377, ViT arXiv 2010.11929.
"""

from typing import NamedTuple

from claim_recipes import ALL, STEPS, Run, beit, finetuned, mae, tokenizer

TOP1, LINEAR, MIOU, FEW_SHOT = 'accuracy/top1', 'linear', 'mIoU', 'few_shot'


class Point(NamedTuple):
    """A figure of a row: a run, and which of its figures.

    Attributes:
        score: Its key among a run's figures; ``curve:N`` is top-1 after N steps.
        x: Where a curve has it; of bars None.
        line: Which curve it is of.
        drawn: Whether it is in the plot, or in the table alone.
    """

    label: str
    run: Run
    score: str = TOP1
    x: float | None = None
    line: str = 'fine-tuned'
    drawn: bool = True


class Claim(NamedTuple):
    """What is claimed of two points of a row.

    Attributes:
        left, right: Labels of the points.
        paper: The paper's own two figures, or what it says of them.
        margin: None claims left > right; a number, that they differ by less than it.
    """

    left: str
    right: str
    paper: str
    margin: float | None = None


class Row(NamedTuple):
    """A claim in words, what was measured, and what would bear it out.

    Attributes:
        name: It begins with the page that has it.
        where: Its place in a paper.
        x_label: Of a curve's axis; a row without one is drawn as a line for each point.
        log: Whether the axis is logarithmic.
        note: What a reader has to know of how it is measured here.
    """

    name: str
    says: str
    where: str
    points: tuple[Point, ...]
    claims: tuple[Claim, ...]
    x_label: str | None = None
    note: str = ''
    log: bool = False

    @property
    def runs(self) -> list[Run]:
        """What it takes, each run behind those it needs."""
        found: dict[str, Run] = {}

        def add(run: Run) -> None:
            for needed in run.needs:
                add(needed)
            found.setdefault(run.name, run)

        for point in self.points:
            add(point.run)
        return list(found.values())


def tuned(pretraining: Run) -> Run:
    """Fine-tuning of a pre-training as all others."""
    return finetuned(f'{pretraining.name}-finetuned', pretraining)


TOKENIZER = tokenizer()
BEIT = beit('beit', teacher=TOKENIZER)
MAE = mae('mae')
SCRATCH = finetuned('scratch', None, 'beit')
SCRATCH_VIT = finetuned('scratch-vit', None, 'vit')
BEIT_TUNED, MAE_TUNED = tuned(BEIT), tuned(MAE)
# With all labels; intermediate fine-tuning is the first of them.
LONG = dict(steps=STEPS['finetune_all'], labels=ALL)
BEIT_ALL_LABELS = finetuned('beit-all-labels', BEIT, **LONG)
VIT_ALL_LABELS = finetuned('scratch-vit-all-labels', None, 'vit', **LONG)
