"""What does a run's folder say, and what looks wrong in it?"""

from .doctor import Finding, look_for_what_is_wrong
from .page import page_of
from .run_record import RunRecord, StageRecord, read_run

__all__ = [
    'Finding',
    'RunRecord',
    'StageRecord',
    'look_for_what_is_wrong',
    'page_of',
    'read_run',
]
