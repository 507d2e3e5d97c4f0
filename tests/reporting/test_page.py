"""The page: in one file, escaped, whole in a browser of any width."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from small_runs import pretraining, train

import beit_mm
from beit_mm.component import ConfigError
from beit_mm.reporting.charts import COLORS
from beit_mm.reporting.page_style import STYLE

EVIL = '<script>alert(1)</script>"\'&'
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')


class Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text, self.open = [], '', []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ('meta', 'link', 'img', 'br', 'line', 'circle'):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def write_run(folder, rate=0.1, name='a'):
    """The logs of a run, with names that a page must not take for its own."""
    vis_data = folder / '20260101_000000/vis_data'
    (vis_data / 'vis_image').mkdir(parents=True)
    entries = [
        dict(lr=rate, loss=3 / i, mim_acc=i / 2, time=0.1, data_time=0.01, iter=i, step=i)
        for i in range(1, 51)
    ]
    entries.append({'mim/acc': 25.0, EVIL: 2.0, 'step': 0})
    (vis_data / 'scalars.json').write_text(''.join(json.dumps(e) + '\n' for e in entries))
    (vis_data / 'config.py').write_text(
        f'model = dict(type={EVIL!r})\ntrain_cfg = dict(max_iters=50)\n'
        f'optim_wrapper = dict(optimizer=dict(lr={rate}))\n'
    )
    (folder / '20260101_000000/20260101_000000.log').write_text(
        f'2026/01/01 00:00:00 - mmengine - WARNING - {EVIL}\n'
        f'2026/01/01 00:00:01 - mmengine - WARNING - Left out, and another drawn: {EVIL}.png: '
        f'no image {EVIL} (1 of 9 photos so far)\n'
    )
    for step in range(10, 100, 10):
        noise = np.random.default_rng(step).integers(0, 256, (90, 3000, 3), dtype=np.uint8)
        Image.fromarray(noise).save(vis_data / f'vis_image/reconstructions_{step}.png')
    (folder / f'{name}.png').write_bytes(b'no picture')
    return folder


def test_the_page_needs_nothing_beside_it_and_takes_no_text_for_its_own(tmp_path):
    run = write_run(tmp_path / 'run<b>')
    page = beit_mm.report(run)
    assert page == run / 'report.html'
    text = page.read_text()
    reader = Reader(text)
    assert reader.open == []
    for tag, attributes in reader.tags:
        for name in ('src', 'href'):
            value = attributes.get(name) or 'data:'
            assert value.startswith('data:') or (tag == 'a' and value.startswith('#'))
    assert sum(tag == 'script' for tag, _ in reader.tags) == 1
    assert '<script>alert' not in text
    assert 'url(' not in text
    assert '@import' not in text
    # In the config, in the log, of the broken image and of a figure, as they were written.
    assert reader.text.count(EVIL) >= 4
    assert 'a.png cannot be read and is left out' in reader.text
    images = [attributes for tag, attributes in reader.tags if tag == 'img']
    assert [image['alt'] for image in images] == [
        f'reconstructions after {step} iterations' for step in range(10, 100, 20)
    ]
    assert {image['width'] for image in images} == {'1600'}
    assert len(text) < 5e6


def test_several_runs_lie_over_each_other_with_what_differs(tmp_path, capsys):
    runs = [write_run(tmp_path / 'one', 0.1), write_run(tmp_path / 'two', 0.2)]
    page = beit_mm.report(runs, tmp_path / 'compare.html')
    reader = Reader(page.read_text())
    labels = [a['data-label'] for tag, a in reader.tags if tag == 'polyline']
    assert labels[:2] == ['one, training', 'two, training']
    assert 'optim_wrapper.optimizer.lr0.10.2' in reader.text
    assert 'one: Broken images were skipped once, of 1 file.' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='is a folder'):
        beit_mm.report(runs, tmp_path)


@pytest.mark.parametrize('scheme', [0, 1], ids=['light', 'dark'])
def test_ten_runs_have_ten_colours(scheme):
    colors = re.findall(r'--c(\d):(#\w+)', STYLE)[COLORS * scheme : COLORS * (scheme + 1)]
    assert [index for index, _ in colors] == [str(index) for index in range(10)]
    assert len({color for _, color in colors}) == 10
    assert all(f'.c{index}{{--c:var(--c{index})}}' in STYLE for index in range(10))


def browser():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.mark.slow
@pytest.mark.skipif(browser() is None, reason='no Chromium on this machine')
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('size', [(375, 812), (1440, 900)], ids=['phone', 'desktop'])
def test_a_browser_shows_all_of_it(tmp_path, size, scheme):
    playwright = pytest.importorskip('playwright.sync_api')
    one = train(pretraining(tmp_path / 'real'))
    two = write_run(tmp_path / 'a_run_whose_name_is_long_enough_to_be_wider_than_any_phone_is')
    page_file = beit_mm.report([two, one], tmp_path / 'compare.html')
    with playwright.sync_playwright() as program:
        chromium = program.chromium.launch(executable_path=browser(), args=['--no-sandbox'])
        width, height = size
        context = chromium.new_context(
            viewport=dict(width=width, height=height), color_scheme=scheme, offline=True
        )
        page, wrong = context.new_page(), []
        page.on('console', lambda message: wrong.append(message.text))
        page.on('pageerror', lambda error: wrong.append(str(error)))
        page.goto(page_file.as_uri())
        for details in page.locator('summary').all():
            details.click()
        assert page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')
        charts = page.locator('.chart svg').all()
        assert len(charts) >= 6
        for chart in charts:
            box = chart.bounding_box()
            assert box['width'] > 250
            assert box['height'] > 120
            # Of one point there is a dot.
            shapes = chart.locator('polyline, circle').all()
            boxes = [shape.bounding_box() for shape in shapes]
            assert boxes
            assert max(b['width'] + b['height'] for b in boxes) > 4
        for heading in page.locator('h1, h2, h3, h4').all():
            assert heading.is_visible()
        back, ink = page.evaluate(
            '[getComputedStyle(document.body).backgroundColor, '
            'getComputedStyle(document.body).color]'
        )
        light = [int(part) for part in back[4:-1].split(',')] > [128] * 3
        assert light == (scheme == 'light')
        assert back != ink
        charts[0].hover()
        told = charts[0].locator('xpath=..').locator('.tip')
        assert told.is_visible()
        assert told.inner_text().startswith('iteration ')
        assert two.name in told.inner_text()
        box = charts[0].bounding_box()
        charts[0].hover(position=dict(x=box['width'] * 0.97, y=box['height'] / 2))
        # The other has ended 10 iterations before.
        assert told.inner_text().startswith('iteration 60\nrun, training: ')
        assert two.name not in told.inner_text()
        assert wrong == []
        chromium.close()
