"""How the page looks, and the few lines of script that tell values under a pointer."""

# Colours that stay apart for the colour-blind (Okabe and Ito, Color Universal Design, 2008), darker
# on white and lighter on black.
STYLE = """
:root{color-scheme:light dark;--back:#fbfbfa;--card:#fff;--ink:#1d2126;--soft:#5c6670;
--line:#dfe2e6;--grid:#eceef0;--wrong:#b3261e;--warning:#9a5b00;--link:#0b63a5;--good:#14734a;
--c0:#0072b2;--c1:#d55e00;--c2:#00835f;--c3:#b0568c;--c4:#7a5c00;--c5:#2b2f33;
--c6:#6a4fd0;--c7:#7d1145;--c8:#7f8f00;--c9:#2b93b5}
@media (prefers-color-scheme:dark){:root{--back:#14171a;--card:#1c2024;--ink:#e8eaed;--soft:#a3adb8;
--line:#343a41;--grid:#2a2f35;--wrong:#ff8a80;--warning:#ffb95c;--link:#7cc4ff;--good:#69d7a0;
--c0:#56b4e9;--c1:#ff9152;--c2:#2fc99b;--c3:#e598c6;--c4:#f0d13c;--c5:#d5dae0;
--c6:#a58fff;--c7:#d4527f;--c8:#b4d455;--c9:#3f9bb5}}
*{box-sizing:border-box}
body{margin:0;overflow-wrap:anywhere;background:var(--back);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1320px;margin:0 auto;padding:20px 16px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:.2em 0;overflow-wrap:anywhere}
h2{font-size:1.3rem;margin:2.2em 0 .6em;padding-top:.6em;border-top:1px solid var(--line)}
h3{font-size:1.08rem;margin:1.6em 0 .3em;overflow-wrap:anywhere}h4{font-size:.95rem;margin:0}
#beside h4{margin:1em 0 .4em}
h4 small,.soft{color:var(--soft);font-weight:400}p{margin:.4em 0}.soft{font-size:.92rem}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:.8em 0;font-size:.95rem}a{color:var(--link)}
code,pre,td.v{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:12px;max-height:32rem;overflow:auto}
.findings>*,.charts>*,.pictures>*{min-width:0}
.findings{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:12px}
.finding,.fine{background:var(--card);border:1px solid var(--line);border-left:6px solid var(--l);
border-radius:8px;padding:12px 16px}
.wrong{--l:var(--wrong)}.warning{--l:var(--warning)}.fine{--l:var(--good)}
.finding h4{font-size:1.02rem;line-height:1.35;margin:.1em 0 .3em}
.tag{font-size:.8rem;font-weight:700;color:var(--l);letter-spacing:.02em}
.tag em{color:var(--soft);font-style:normal;font-weight:400}
.charts{display:grid;gap:14px;grid-template-columns:repeat(auto-fill,minmax(min(100%,370px),1fr))}
figure{margin:0}.chart{position:relative;background:var(--card);border:1px solid var(--line);
border-radius:8px;padding:10px 10px 4px;display:flex;flex-direction:column;min-width:0}
.chart svg{width:100%;height:auto;display:block;margin-top:auto;touch-action:pan-y}
.legend{display:flex;flex-wrap:wrap;gap:0 14px;font-size:.84rem;margin:.2em 0 .3em;
color:var(--soft)}
.legend span{min-width:0}
.legend b{color:var(--ink);font-weight:600}
.legend i{display:inline-block;width:18px;border-top:3px solid var(--c);vertical-align:middle;
margin-right:5px}
.legend .beside i{border-top-style:dashed;border-top-width:2px}.legend .val i{position:relative}
.legend .val i::after{content:"";position:absolute;left:5px;top:-6px;width:9px;height:9px;
border-radius:50%;background:var(--c)}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}
.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}.c8{--c:var(--c8)}.c9{--c:var(--c9)}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .up{text-anchor:end}
svg .across{text-anchor:middle}svg .grid{stroke:var(--grid)}
svg polyline{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}
svg polyline.val{stroke-width:1.4}svg polyline.beside{stroke-dasharray:5 4;stroke-width:1.5}
svg circle{fill:var(--c);stroke:var(--card);stroke-width:1}
svg .level{stroke:var(--soft);stroke-dasharray:2 3}
svg .levelname{text-anchor:end}svg .lost{fill:var(--wrong);font-weight:700;text-anchor:middle}
svg .here{stroke:var(--soft);stroke-width:1;visibility:hidden}
.tip{position:absolute;top:6px;right:8px;background:var(--card);border:1px solid var(--line);
border-radius:6px;padding:2px 8px;font-size:.8rem;pointer-events:none;white-space:pre-line;
box-shadow:0 2px 8px #0003}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;background:var(--card);font-size:.9rem;min-width:min(100%,480px)}
th,td{border:1px solid var(--line);padding:5px 10px;text-align:left;vertical-align:top}
th{font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}
table{overflow-wrap:normal}td.n{white-space:nowrap}
td.v{overflow-wrap:break-word;max-width:420px}h1>span{display:inline-block}
.pictures{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr))}
.pictures figcaption{font-size:.9rem;margin-bottom:4px}
.pictures img{max-width:100%;height:auto;border-radius:6px;border:1px solid var(--line);
background:#fff}
details{margin:.7em 0}summary{cursor:pointer;font-weight:600}
.chip{display:inline-block;width:12px;height:12px;border-radius:3px;background:var(--c);
margin-right:6px}
@media print{.chart,.finding,.pictures figure{break-inside:avoid}}
"""

SCRIPT = """
for (const svg of document.querySelectorAll('.chart svg')) {
  const [x0, x1, left, right] = svg.dataset.x.split(' ').map(Number);
  const [y0, y1, bottom, top] = svg.dataset.y.split(' ').map(Number);
  const log = svg.dataset.log === '1', tip = svg.parentNode.querySelector('.tip');
  const here = svg.querySelector('.here'), series = new Map();
  for (const line of svg.querySelectorAll('polyline')) {
    const points = line.getAttribute('points').split(' ').map(p => p.split(',').map(Number));
    series.set(line.dataset.label, (series.get(line.dataset.label) || []).concat(points));
  }
  const value = y => {
    const share = (y - bottom) / (top - bottom);
    return log ? y0 * Math.pow(y1 / y0, share) : y0 + (y1 - y0) * share;
  };
  const hide = () => { tip.hidden = true; here.style.visibility = 'hidden'; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const near = (points, at) =>
      points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
    const all = [...series.values()].flat();
    if (!all.length) return hide();
    const place = near(all, x)[0];
    const told = [];
    for (const [label, points] of series) {
      // A shorter run has no value there.
      if (place < points[0][0] - 4 || place > points[points.length - 1][0] + 4) continue;
      told.push(label + ': ' + Number(value(near(points, place)[1]).toPrecision(3)));
    }
    const step = Math.round(x0 + (x1 - x0) * (place - left) / (right - left));
    tip.textContent = 'iteration ' + step + '\\n' + told.join('\\n');
    tip.hidden = false;
    tip.style.left = place > (left + right) / 2 ? '54px' : 'auto';
    tip.style.right = place > (left + right) / 2 ? 'auto' : '8px';
    here.setAttribute('x1', place); here.setAttribute('x2', place);
    here.setAttribute('y1', top); here.setAttribute('y2', bottom);
    here.style.visibility = 'visible';
  });
}
"""
