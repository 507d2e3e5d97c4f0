"""How does a model leave for programs that know nothing of this project?"""

from .export import Exported, export
from .program import Program

__all__ = ['Exported', 'Program', 'export']
