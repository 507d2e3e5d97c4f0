"""What mkdocs does for this site: pages from outside of docs/, and the table of recipes."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# The site's folder of what lies outside of docs/.
OUTSIDE = 'repository'
LINK = re.compile(r'(\]\()((?!\w+:|#)[^)#\s]+)')
FENCE = re.compile(r'^(\s*```.*?^\s*```)', re.MULTILINE | re.DOTALL)
RECIPES = re.compile('<!-- recipes: .* -->')


def place_in_repository(page: str) -> str:
    """Where the Markdown of a page of the site lies, from the repository's root.

    >>> place_in_repository('tour.md'), place_in_repository('repository/configs/README.md')
    ('docs/tour.md', 'configs/README.md')
    """
    inside = page.removeprefix(f'{OUTSIDE}/')
    return inside if inside != page else f'docs/{page}'


def place_on_site(path: str) -> str:
    """The other way round.

    >>> place_on_site('docs/tour.md'), place_on_site('configs/README.md')
    ('tour.md', 'repository/configs/README.md')
    """
    inside = path.removeprefix('docs/')
    return inside if inside != path else f'{OUTSIDE}/{path}'


def targets(page: str, text: str) -> list[str]:
    """Files of the repository that a page links to.

    Args:
        page: On the site.
        text: Its Markdown.
    """
    folder = posixpath.dirname(place_in_repository(page))
    parts = FENCE.split(text)[::2]
    return [posixpath.normpath(posixpath.join(folder, link))
            for part in parts for _, link in LINK.findall(part)]  # fmt: skip


def with_links_of_site(page: str, text: str) -> str:
    """The Markdown with links that lead to the same files where the site has them."""
    folder, here = posixpath.dirname(place_in_repository(page)), posixpath.dirname(page)

    def moved(found: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[2]))
        return found[1] + posixpath.relpath(place_on_site(target), here or '.')

    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
    return ''.join(parts)


def table_of_recipes() -> str:
    """The recipes of the model index, as ``beit-mm recipes`` lists them, each with its file."""
    from beit_mm.recipes import list_recipes

    rows = ['| recipe | what | data | cost | figure |', '| --- | --- | --- | --- | --- |']
    for recipe in list_recipes():
        name = f'[{recipe.name}](../configs/{recipe.name})'
        rows.append(' | '.join(['', name, *recipe[1:], '']).strip())
    return '\n'.join(rows)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside of docs/, and what those pages link to."""
    left = list(files.documentation_pages())
    for entry in _entries(config.nav):
        if entry.startswith(f'{OUTSIDE}/'):
            left.append(_added(files, entry, config))
    while left:
        page = left.pop()
        text = _with_recipes(page.content_string)
        for target in targets(page.src_uri, text):
            place = place_on_site(target)
            missing = place.startswith(f'{OUTSIDE}/') and files.get_file_from_path(place) is None
            # A link that leads nowhere is left for mkdocs to warn of.
            if missing and (ROOT / target).is_file():
                added = _added(files, place, config)
                if added.is_documentation_page():
                    left.append(added)
    return files


def _entries(nav: list | dict | str) -> list[str]:
    """Pages of the navigation."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [entry for part in parts for entry in _entries(part)]


def _added(files: Files, place: str, config: MkDocsConfig) -> File:
    path = ROOT / place_in_repository(place)
    file = File.generated(
        config, place, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV
    )
    files.append(file)
    return file


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the recipes, and turn links."""
    return with_links_of_site(page.file.src_uri, _with_recipes(markdown))


def _with_recipes(text: str) -> str:
    return RECIPES.sub(lambda _: table_of_recipes(), text)
