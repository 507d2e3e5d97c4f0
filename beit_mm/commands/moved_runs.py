"""Runs whose folder was renamed, moved or copied: what lies in it is found where it lies now."""

from pathlib import Path
from typing import Any

from mmengine.config import Config


def config_of_run(path: Path) -> Config:
    """The config in a run's folder, with what lies in the folder found where it lies now.

    The lists of images, a tokenizer of its own and masks drawn from annotations are told by whole
    paths, so that the config is one that stock tools take from anywhere. Of a copy they are its
    own too, whatever has become of the original.

    Args:
        path: That a command has written.
    """
    cfg = Config.fromfile(path)
    return found_anew(cfg, path) or cfg


def found_anew(cfg: Config, path: Path) -> Config | None:
    """A run's config with the paths of the folder that it lies in now; None if they are.

    Args:
        cfg: As its file says.
        path: Of that.
    """
    folder, listed = path.resolve().parent, Path(cfg.get('train_list') or '')
    # Trainings of a sweep share its lists; other runs may be called so too, and have their own.
    of_sweep = folder.name.startswith('rate_') and not (folder / listed.name).is_file()
    home = folder.parent if of_sweep else folder
    if not listed.is_absolute() or listed.parent == home or not (home / listed.name).is_file():
        return None
    return Config(_moved(cfg.to_dict(), str(listed.parent), str(home)), filename=str(path))


def _moved(value: Any, was: str, now: str) -> Any:
    """A setting, with paths below a folder put below another."""
    if isinstance(value, dict):
        return {name: _moved(each, was, now) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, was, now) for each in value)
    if isinstance(value, str) and value.startswith(f'{was}/'):
        return now + value.removeprefix(was)
    return value
