"""What looks wrong in a run: each finding says what, on what evidence, and what to do."""

from collections.abc import Callable, Iterable, Iterator

from .findings import Finding
from .learning_signs import LEARNING
from .run_record import RunRecord, StageRecord
from .running_signs import RUNNING

# The worst first.
ORDER = ('wrong', 'warning')
SIGNS: tuple[Callable[[StageRecord], Iterable[Finding]], ...] = (*LEARNING, *RUNNING)


def look_for_what_is_wrong(run: RunRecord) -> list[Finding]:
    """Findings of all stages of a run, the worst first; empty if nothing looks wrong."""
    found = [finding for stage in run.stages for finding in _of_stage(stage)]
    return sorted(found, key=lambda finding: ORDER.index(finding.level))


def _of_stage(stage: StageRecord) -> Iterator[Finding]:
    for sign in SIGNS:
        for finding in sign(stage):
            yield finding._replace(stage=stage.name)
