"""The console command ``beit-mm``."""

from .main import main

__all__ = ['main']
