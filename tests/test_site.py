"""The site: every page has its place, links lead out of docs/, recipes are those of the package."""

import doctest
import re
import sys
from pathlib import Path

import pytest
import yaml

from beit_mm.recipes import list_recipes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def hooks(monkeypatch):
    pytest.importorskip('mkdocs')
    monkeypatch.syspath_prepend(str(ROOT / 'docs'))
    import site_hooks

    yield site_hooks
    del sys.modules['site_hooks']


def entries(nav):
    if isinstance(nav, str):
        return [nav]
    return [e for part in (nav.values() if isinstance(nav, dict) else nav) for e in entries(part)]


def test_every_page_is_in_the_navigation_once():
    listed = entries(yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav'])
    pages = [p.relative_to(ROOT / 'docs').as_posix() for p in (ROOT / 'docs').rglob('*.md')]
    outside = [entry for entry in listed if entry.startswith('repository/')]
    assert sorted(listed) == sorted(pages + outside)
    assert all((ROOT / entry.removeprefix('repository/')).is_file() for entry in outside)


def test_links_are_turned_to_where_the_site_has_the_file(hooks):
    text = (
        'a [x](../configs/README.md#top), [y](tour.md) and [z](https://a.b)\n```\n[v](../w)\n```\n'
    )
    moved = 'a [x](repository/configs/README.md#top), [y](tour.md) and [z](https://a.b)\n'
    assert hooks.with_links_of_site('faq.md', text) == moved + '```\n[v](../w)\n```\n'
    assert hooks.targets('faq.md', text) == ['configs/README.md', 'docs/tour.md']
    back = '[x](../docs/faq.md) [y](results/a.md)'
    assert hooks.with_links_of_site('repository/benchmarks/RESULTS.md', back) == (
        '[x](../../faq.md) [y](results/a.md)'
    )


def test_links_of_every_page_are_found(hooks):
    for page in (ROOT / 'docs').rglob('*.md'):
        place = page.relative_to(ROOT / 'docs').as_posix()
        for target in hooks.targets(place, page.read_text()):
            assert (ROOT / target).is_file(), f'{place}: {target}'


def test_the_table_has_every_recipe(hooks):
    page = (ROOT / 'docs/recipes.md').read_text()
    made = hooks.RECIPES.sub(lambda _: hooks.table_of_recipes(), page)
    rows = re.findall(r'^\| \[(.*?)\]\((.*?)\) \| (.*?) \|', made, re.MULTILINE)
    assert [(name, what) for name, _, what in rows] == [r[:2] for r in list_recipes()]
    assert all((ROOT / 'docs' / link).is_file() for _, link, _ in rows)
    table = hooks.table_of_recipes().splitlines()
    assert len({row.count('|') for row in table if row.startswith('| ')}) == 1


@pytest.mark.parametrize('name', ['site_hooks', 'docstring_forms'])
def test_examples_of_the_hooks_run(name, monkeypatch):
    pytest.importorskip('mkdocs')
    pytest.importorskip('griffe')
    monkeypatch.syspath_prepend(str(ROOT / 'docs'))
    result = doctest.testmod(__import__(name))
    del sys.modules[name]
    assert result.attempted
    assert not result.failed


def test_arguments_told_together_come_apart_with_all_of_their_lines(monkeypatch):
    pytest.importorskip('griffe')
    monkeypatch.syspath_prepend(str(ROOT / 'docs'))
    from docstring_forms import as_griffe_reads

    text = 'A, b: not an argument.\n\nArgs:\n    a, b: One\n        and two.\n    c: Three.\n'
    assert as_griffe_reads(text) == (
        'A, b: not an argument.\n\nArgs:\n    a: One\n        and two.\n'
        '    b: One\n        and two.\n    c: Three.\n'
    )
