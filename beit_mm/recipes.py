"""Where the recipes are, and how mmengine finds them under ``beit_mm::``.

They lie beside the package in a checkout, and in ``beit_mm/.mim`` once it is installed, where
OpenMMLab's tools look for the recipes of a package.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from .component import did_you_mean

PACKAGE = Path(__file__).resolve().parent
SCOPE = 'beit_mm'


class Recipe(NamedTuple):
    """What the model index says of a recipe.

    Attributes:
        name: Path below the folder of recipes, such as 'beit_pretrain.py'.
        what: What it does, in a line.
        data: What it is trained on.
        cost: Of a run, '' where nobody has measured it.
        figure: That a paper or a measurement gives, '' for none.
    """

    name: str
    what: str
    data: str
    cost: str
    figure: str


def folder_of_recipes() -> Path:
    """The folder ``configs``.

    Raises:
        FileNotFoundError: If the package was installed without it.
    """
    for base in (PACKAGE / '.mim', PACKAGE.parent):
        if (base / 'configs' / 'metafile.yml').is_file():
            return base / 'configs'
    raise FileNotFoundError(
        'the recipes of beit_mm are not installed with it; install it anew by pip'
    )


def folder_of_tools() -> Path:
    """The folder ``tools``, beside the recipes."""
    return folder_of_recipes().parent / 'tools'


def list_recipes() -> list[Recipe]:
    """The recipes of the model index, in its order."""
    from mmengine.fileio import load

    found = []
    for row in load(str(folder_of_recipes() / 'metafile.yml'))['Models']:
        meta = row['Metadata']
        figures = [
            f'{value} {metric} on {result["Dataset"]}'
            for result in row.get('Results') or []
            for metric, value in result['Metrics'].items()
        ]
        found.append(
            Recipe(
                row['Config'].removeprefix('configs/'),
                meta['What'],
                meta['Training Data'],
                meta.get('Training Resources', ''),
                ', '.join(figures),
            )
        )
    return found


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Args:
        name: Its path below the folder of recipes, with or without '.py'.

    Raises:
        FileNotFoundError: If there is none, with the name that is most like it.
    """
    folder = folder_of_recipes()
    path = folder / (name if name.endswith('.py') else f'{name}.py')
    if not path.is_file():
        known = [str(p.relative_to(folder)) for p in folder.rglob('*.py')]
        raise FileNotFoundError(
            f'{SCOPE}::{name}: there is no such recipe{did_you_mean(path.name, known)}'
        )
    return path


def file_of_base(name: str, config: Path) -> Path:
    """The file that a name in ``_base_`` of a config stands for, of any package.

    Args:
        name: A path from the folder of the config, or such as 'beit_mm::mae_pretrain.py'.
        config: That has the name in it.
    """
    from mmengine.config import Config as MMConfig

    path_of_base: Any = MMConfig._get_cfg_path
    return Path(path_of_base(name, str(config))[0])


def let_mmengine_find_recipes() -> None:
    """Make ``beit_mm::beit_pretrain.py`` a name for mmengine, in ``_base_`` and in ``get_config``.

    mmengine knows the packages of OpenMMLab alone, asks for a folder in each name, and looks up all
    types of a package's recipe in that package, where ours name the package of each type.
    """
    from mmengine.config import Config as MMConfig
    from mmengine.config import utils as naming

    naming.MODULE2PACKAGE.setdefault(SCOPE, SCOPE)
    config_class: Any = MMConfig
    path_of_base: Any = MMConfig._get_cfg_path
    package_and_name: Any = naming._get_package_and_cfg_path

    def path_of_any_base(cfg_path: str, filename: str) -> tuple[str, str | None]:
        scope, _, name = cfg_path.partition('::')
        return (
            (str(find_recipe(name)), None) if scope == SCOPE else path_of_base(cfg_path, filename)
        )

    def package_and_name_of_any(cfg_path: str) -> tuple[str, str]:
        scope, _, name = cfg_path.partition('::')
        return (SCOPE, name) if scope == SCOPE else package_and_name(cfg_path)

    config_class._get_cfg_path = staticmethod(path_of_any_base)
    # The hub takes it from ``naming`` when it is imported, which takes seconds.
    for module in (naming, sys.modules.get('mmengine.hub.hub')):
        if module is not None:
            vars(module)['_get_package_and_cfg_path'] = package_and_name_of_any
