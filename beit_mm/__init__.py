"""BEiT for the OpenMMLab stack: ``custom_imports = dict(imports=['beit_mm'])``."""

from . import datasets, engine, models

__version__ = '0.1.0'
__all__ = ['__version__', 'datasets', 'engine', 'models']
