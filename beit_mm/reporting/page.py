"""A report as one HTML file, which needs nothing beside it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any

from .charts import COLORS, draw_chart
from .embedded_pictures import caption_of, chosen, embedded
from .findings import Finding, number
from .page_style import SCRIPT, STYLE
from .run_record import RunRecord, StageRecord
from .stage_charts import charts_of
from .written_config import MISSING, differences, settings_of

LEVELS = {'wrong': 'Wrong', 'warning': 'Look at this'}
LOOKED_FOR = (
    'losses that are not finite, spike or do not fall; codebooks that collapse; accuracy no better '
    'than the commonest token; validation behind training; waiting for data; learning rates off '
    'their schedule or batch; gradients always clipped; runs and epochs that end early; images '
    'that were skipped'
)
HOW_TO_READ = (
    '<p class="soft">Over iterations. A pointer that rests on a chart tells its values; the '
    'numbers beside the names are the last ones.</p>'
)
MOST_TEXT, MOST_ROWS = 200_000, 300
# Settings in which runs differ, and that say nothing of how they went.
NOT_COMPARED = ('work_dir', 'experiment_name', 'resume')


def page_of(runs: Sequence[tuple[RunRecord, list[Finding]]], made: datetime) -> str:
    """The whole page.

    Args:
        runs: Runs, with what looks wrong in each.
        made: When.
    """
    records = [run for run, _ in runs]
    several = len(runs) > 1
    title = ' and '.join(run.name for run in records)
    sections: list[tuple[str, str, str]] = [
        (
            'wrong',
            'What looks wrong',
            ''.join(_findings(run, found, several) for run, found in runs),
        )
    ]
    if several:
        sections.append(('beside', 'Side by side', _side_by_side(records)))
    sections += [
        ('curves', 'Curves', HOW_TO_READ + ''.join(_curves(records))),
        ('pictures', 'Pictures', ''.join(_pictures(run, several) for run in records)),
        ('settings', 'Settings', ''.join(_settings(run, several) for run in records)),
        ('machine', 'Machine and log', ''.join(_machine(run, several) for run in records)),
    ]
    sections = [section for section in sections if section[2]]
    links = ''.join(f'<a href="#{anchor}">{heading}</a>' for anchor, heading, _ in sections)
    body = ''.join(
        f'<section id="{anchor}"><h2>{heading}</h2>{content}</section>'
        for anchor, heading, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}: beit-mm report</title><link rel="icon" href="data:,">'
        f'<style>{STYLE}</style></head><body><main><header><p class="soft">beit-mm report, '
        f'{made:%Y-%m-%d %H:%M}</p><h1>{_chips(records)}</h1>'
        f'{"".join(_head(run) for run in records)}'
        f'<nav>{links}</nav></header>{body}</main><script>{SCRIPT}</script></body></html>\n'
    )


def _chips(records: Sequence[RunRecord]) -> str:
    if len(records) == 1:
        return escape(records[0].name)
    return ' &nbsp; '.join(
        f'<span class="c{index % COLORS}"><span class="chip"></span>{escape(run.name)}</span>'
        for index, run in enumerate(records)
    )


def _head(run: RunRecord) -> str:
    stages = ', '.join(
        f'{escape(stage.name or run.name)} {_progress(stage)}' for stage in run.stages
    )
    return f'<p class="soft"><code>{escape(str(run.path))}</code><br>{stages}</p>'


def _progress(stage: StageRecord) -> str:
    planned = f' of {stage.planned:,}' if stage.planned else ''
    return f'({stage.reached:,}{planned} iterations)'


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers stand to the right, text is escaped."""
    top = ''.join(f'<th>{escape(cell)}</th>' for cell in head)
    body = ''.join(
        '<tr>' + ''.join(
            f'<td class="n">{number(cell)}</td>' if isinstance(cell, (int, float))
            else f'<td class="v">{escape(str(cell))}</td>' for cell in row
        ) + '</tr>'
        for row in rows[:MOST_ROWS]
    )  # fmt: skip
    more = f'<p class="soft">and {len(rows) - MOST_ROWS} more</p>' if len(rows) > MOST_ROWS else ''
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>{more}'


def _folded(summary: str, content: str, is_open: bool = False) -> str:
    return (
        f'<details{" open" if is_open else ""}><summary>{escape(summary)}</summary>'
        f'{content}</details>'
    )


def _findings(run: RunRecord, found: Sequence[Finding], several: bool) -> str:
    head = f'<h3>{escape(run.name)}</h3>' if several else ''
    if not found:
        return (
            f'{head}<div class="fine"><p><b>Nothing looks wrong.</b></p>'
            f'<p class="soft">Looked for: {LOOKED_FOR}.</p></div>'
        )
    cards = ''.join(
        f'<article class="finding {one.level}"><p class="tag">{LEVELS[one.level]}'
        f'{f" <em>in {escape(one.stage)}</em>" if one.stage else ""}</p>'
        f'<h4>{escape(one.title)}</h4><p>{escape(one.evidence)}</p>'
        f'<p><b>What to do.</b> {escape(one.advice)}</p></article>'
        for one in found
    )
    return f'{head}<div class="findings">{cards}</div>'


def _grouped(records: Sequence[RunRecord]) -> dict[str, list[tuple[str, StageRecord]]]:
    """Stages of the same name over each other; of runs that are one stage each, all."""
    alone = all(len(run.stages) == 1 for run in records)
    groups: dict[str, list[tuple[str, StageRecord]]] = {}
    for run in records:
        for stage in run.stages:
            groups.setdefault('' if alone else stage.name, []).append((run.name, stage))
    return groups


def _curves(records: Sequence[RunRecord]) -> Iterator[str]:
    for name, stages in _grouped(records).items():
        charts = ''.join(draw_chart(chart) for chart in charts_of(stages))
        yield f'<h3>{escape(name)}</h3>' if name else ''
        lines = '<br>'.join(_line_of(*pair, len(stages) > 1) for pair in stages)
        yield f'<p class="soft">{lines}</p>'
        yield (
            f'<div class="charts">{charts}</div>' if charts
            else '<p>It has logged no figures: it ended before the first entry of its log.</p>'
        )  # fmt: skip


def _line_of(run: str, stage: StageRecord, several: bool) -> str:
    told = stage.told
    parts = [_progress(stage).strip('()')]
    if stage.images_a_step:
        parts.append(f'{stage.images_a_step} images each')
    if told.begun and told.ended:
        parts.append(f'{told.begun:%Y-%m-%d %H:%M:%S} to {told.ended:%H:%M:%S}')
    if told.starts > 1:
        parts.append(f'started {told.starts} times')
    if stage.recipe is not None:
        parts.append(f'nearest recipe {stage.recipe.name}')
    return escape((f'{run}: ' if several else '') + ', '.join(parts))


def _side_by_side(records: Sequence[RunRecord]) -> str:
    parts = []
    for name, stages in _grouped(records).items():
        if len(stages) < 2:
            continue
        names = [run for run, _ in stages]
        parts.append(f'<h3>{escape(name)}</h3>' if name else '')
        finals = [_finals(stage) for _, stage in stages]
        rows = [
            [figure, *(final.get(figure, MISSING) for final in finals)]
            for figure in dict.fromkeys(figure for final in finals for figure in final)
        ]
        parts += ['<h4>Final figures</h4>', table(['figure', *names], rows)]
        settings = [settings_of(stage.config) for _, stage in stages]
        keys = dict.fromkeys(
            key for other in settings[1:] for key, *_ in differences(settings[0], other)
        )
        rows = [
            [key, *(str(one.get(key, MISSING)) for one in settings)]
            for key in keys if key not in NOT_COMPARED
        ]  # fmt: skip
        parts += ['<h4>Settings that differ</h4>']
        parts += [table(['setting', *names], rows) if rows else '<p>None.</p>']
    return ''.join(parts)


def _finals(stage: StageRecord) -> dict[str, float]:
    """The last value of each figure, validation's first."""
    val = {f'{name} (validation)' if name in stage.train else name: curve.last
           for name, curve in stage.val.items() if name not in ('time', 'data_time')}  # fmt: skip
    return {
        'iterations': float(stage.reached),
        **val,
        **{name: curve.last for name, curve in stage.train.items()},
    }


def _pictures(run: RunRecord, several: bool) -> str:
    parts = []
    for path in chosen(run.pictures):
        where = path.relative_to(run.path).as_posix()
        caption = escape(caption_of(path))
        file = f'<code class="soft" title="{escape(where)}">{escape(path.name)}</code>'
        try:
            data, width, height = embedded(path)
        except Exception as error:
            parts.append(
                f'<p>{escape(where)} cannot be read and is left out: {escape(str(error))}</p>'
            )
            continue
        parts.append(
            f'<figure><figcaption>{caption} {file}</figcaption><img src="{data}" '
            f'width="{width}" height="{height}" alt="{caption}"></figure>'
        )
    if not parts:
        return ''
    head = f'<h3>{escape(run.name)}</h3>' if several else ''
    return f'{head}<div class="pictures">{"".join(parts)}</div>'


def _settings(run: RunRecord, several: bool) -> str:
    parts = []
    for stage in run.stages:
        name = ' / '.join(filter(None, [run.name if several else '', stage.name]))
        parts.append(f'<h3>{escape(name)}</h3>' if name else '')
        if stage.recipe is not None:
            rows = stage.recipe.differences
            parts.append(
                _folded(
                    f'{len(rows)} settings differ from the recipe that is nearest, '
                    f'{stage.recipe.name}',
                    table(['setting', 'recipe', 'this run'], rows), len(run.stages) == 1,
                )
            )  # fmt: skip
        if stage.config_text:
            text = stage.config_text[:MOST_TEXT]
            parts.append(_folded('the whole config, as it ran', f'<pre>{escape(text)}</pre>'))
        else:
            parts.append('<p>No config was written: vis_data/config.py is not there.</p>')
    return ''.join(parts)


def _machine(run: RunRecord, several: bool) -> str:
    parts = [f'<h3>{escape(run.name)}</h3>' if several else '']
    machine = {key: value for stage in run.stages for key, value in stage.told.machine.items()}
    fast = next((stage.told.fast for stage in run.stages if stage.told.fast), [])
    parts.append(table(['', ''], list(machine.items())) if machine else '')
    parts.append(_list('what was fast on it', fast))
    for stage in run.stages:
        of = f' in {stage.name}' if stage.name else ''
        broken = stage.told.broken
        parts.append(_list(f'{len(broken)} images{of} that could not be read', broken))
        changed = [f'{kind}: {count}' for kind, count in stage.image_changes.items()]
        parts.append(_list(f'what reading changed in images{of}', changed))
        warned = [f'{t} ({n} times)' if n > 1 else t for t, n in stage.told.warnings.items()]
        parts.append(_list(f'{len(warned)} warnings of the log{of}', warned))
    if run.outcome:
        parts.append(_folded('report.json', table(['figure', 'value'], list(run.outcome.items()))))
    return ''.join(parts)


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ''
    rows = ''.join(f'<li>{escape(line)}</li>' for line in lines[:MOST_ROWS])
    return _folded(title, f'<ul>{rows}</ul>')
