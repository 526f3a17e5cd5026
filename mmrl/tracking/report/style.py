"""Style of the report page, inlined; the page loads nothing."""

STYLE = """
:root { color-scheme: light dark;
  --bg: #f6f6f3; --card: #ffffff; --ink: #1b1d21; --muted: #5d626b; --line: #e2e2dc; --soft: #f1f1ed;
  --s1: #2459c4; --s2: #b84d0f; --s3: #147a50; --s4: #7b3fb5; --s5: #a8324a; --s6: #6d6110;
  --up: #147a50; --down: #b3382c; --warn-bg: #fbefd9; --warn: #7a4a00; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #14161a; --card: #1c1f24; --ink: #e9e9e6; --muted: #a0a6af; --line: #30343b; --soft: #25292f;
  --s1: #7fb0ff; --s2: #f5a268; --s3: #5fd0a0; --s4: #c3a0f7; --s5: #f28b9c; --s6: #d6c766;
  --up: #5fd0a0; --down: #ff9184; --warn-bg: #3b2f17; --warn: #f3cf8c; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 36px 24px 64px; }
h1, h2, h3, h4, p, figure { margin: 0; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 19px; line-height: 1.3; }
h3 { font-size: 14px; line-height: 1.35; font-weight: 600; overflow-wrap: anywhere; }
h4 { font-size: 12px; font-weight: 600; color: var(--muted); margin: 12px 0 4px; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; font-size:
  12.5px; }
section { margin-top: 40px; }
section > h2 { margin-bottom: 14px; }
section > h3 { margin: 16px 0 8px; }
.muted { color: var(--muted); }
.lead { color: var(--muted); margin-top: 6px; }
.card, figure, article, .fold { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.notes { margin-top: 20px; padding: 12px 16px; background: var(--warn-bg); color: var(--warn); border-radius: 10px; }
.notes ul { margin: 0; padding-left: 18px; }
.stages { display: flex; gap: 3px; margin-top: 22px; }
.stages div { min-width: 0; flex-basis: 0; padding: 12px 12px 8px; background: var(--card);
  border: 1px solid var(--line); border-top: 0;
  background-image: linear-gradient(var(--s1), var(--s1)), linear-gradient(var(--line), var(--line));
  background-size: var(--done) 4px, 100% 4px; background-repeat: no-repeat; }
.stages b, .stages span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.stages span { color: var(--muted); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.heldout { width: 100%; }
.card.scroll { max-width: 760px; } .card.wide { max-width: none; }
.heldout th, .heldout td { padding: 9px 16px; text-align: right; border-bottom: 1px solid var(--line); }
.heldout thead th { color: var(--muted); font-weight: 500; font-size: 13px; white-space: nowrap; }
.heldout th:first-child { text-align: left; overflow-wrap: anywhere; }
.heldout tbody th { font-weight: 400; }
.heldout tr:last-child > * { border-bottom: 0; }
.heldout tr.mean > * { border-top: 2px solid var(--line); font-weight: 600; }
.heldout td.final { font-weight: 700; }
.heldout small { display: block; color: var(--muted); font-size: 12px; font-weight: 400; white-space: nowrap; }
.up { color: var(--up); } .down { color: var(--down); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 16px; }
figure { padding: 14px 14px 10px; position: relative; min-width: 0; }
figcaption { min-height: 26px; display: flex; justify-content: space-between; gap: 12px; align-items: baseline; }
.latest { font-size: 17px; font-variant-numeric: tabular-nums; }
.keys { min-height: 22px; margin: 2px 0 8px; font-size: 12.5px; color: var(--muted); display: flex; flex-wrap: wrap;
  gap: 0 14px;
  align-items: center; overflow-wrap: anywhere; }
.key { display: inline-flex; align-items: center; gap: 6px; }
.key b { color: var(--ink); font-variant-numeric: tabular-nums; font-weight: 600; }
.swatch { background: var(--c); width: 14px; height: 3px; border-radius: 2px; flex: none; }
.chart { display: block; width: 100%; height: auto; touch-action: pan-y; border-radius: 4px; }
.chart:focus-visible { outline: 2px solid var(--s1); outline-offset: 2px; }
.chart text { fill: var(--muted); font: 12px system-ui, "Segoe UI", "Liberation Sans", sans-serif; }
.chart .tick { font-variant-numeric: tabular-nums; }
.chart .stage-name { font-style: italic; }
.grid { stroke: var(--line); stroke-width: 1; }
.stage { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 3 3; }
.change line { stroke: var(--warn); stroke-width: 1; } .change circle { fill: var(--warn); }
.starts { width: 100%; }
.starts th, .starts td { padding: 9px 16px; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  font-weight: 400; overflow-wrap: anywhere; }
.starts thead th { color: var(--muted); font-size: 13px; white-space: nowrap; }
.starts tr:last-child > * { border-bottom: 0; }
.starts td:not(:last-child), .starts tbody th { white-space: nowrap; }
.starts ul { margin: 0; padding: 0; list-style: none; } .starts tr.gone > * { color: var(--muted); }
.cross { stroke: var(--ink); stroke-width: 1; opacity: .55; }
.curve { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.mark { fill: var(--c); }
.raw { fill: none; stroke: var(--c); stroke-width: 1; opacity: .3; }
.bar { stroke: var(--c); stroke-width: 1.4; opacity: .45; }
.reading { margin-top: 40px; } .reading + section { margin-top: 14px; }
.s1 { --c: var(--s1); } .s2 { --c: var(--s2); } .s3 { --c: var(--s3); }
.s4 { --c: var(--s4); } .s5 { --c: var(--s5); } .s6 { --c: var(--s6); }
.tip { position: absolute; left: 14px; pointer-events: none; background: var(--ink); color: var(--bg); border-radius:
  6px;
  padding: 5px 9px; font-size: 12px; line-height: 1.45; font-variant-numeric: tabular-nums; white-space: pre;
  z-index: 2; }
.gap-note { font-size: 12px; color: var(--muted); }
summary { cursor: pointer; }
summary h2, summary h3 { display: inline; }
.fold { padding: 12px 16px; margin-top: 12px; }
.fold[open] summary, details > summary:has(+ .charts) { margin-bottom: 12px; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.facts-table { width: 100%; table-layout: fixed; }
.facts-table th { width: 150px; text-align: left; font-weight: 500; color: var(--muted); vertical-align: top;
  padding: 3px 12px 3px 0; }
.facts-table td { overflow-wrap: anywhere; padding: 3px 0; }
.bad { width: 100%; font-size: 13px; }
.bad th, .bad td { text-align: left; vertical-align: top; padding: 4px 12px 4px 0;
  border-bottom: 1px solid var(--line); }
.bad td { overflow-wrap: anywhere; }
.bad td:nth-child(3) { overflow-wrap: normal; }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 16px; margin-top: 10px; }
.film figcaption { display: block; margin-top: 10px; }
.film .facts { margin-top: 4px; }
.film video { display: block; width: 100%; height: auto; border-radius: 6px; background: var(--soft); }
.film.small video { image-rendering: pixelated; }
.film.wide { grid-column: span 2; }
.screen { position: relative; }
.screen.still::after { content: ""; position: absolute; left: 8px; bottom: 8px; width: 26px; height: 26px;
  border-radius: 50%; pointer-events: none; background: #000a; }
.screen.still::before { content: ""; position: absolute; left: 18px; bottom: 15px; z-index: 1; pointer-events: none;
  border-left: 9px solid #fff; border-top: 6px solid transparent; border-bottom: 6px solid transparent; }
.count { font-weight: 400; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 8px 0 14px; font-size: 13px; }
.box-true, .box-predicted { width: 18px; height: 13px; border-radius: 2px; border: 2px solid #0f8f4f; }
.box-predicted { border: 2px dashed #d6400b; }
.step { margin-top: 14px; }
.step > summary { padding: 4px 0; }
.step > summary h3 { font-size: 16px; }
article { margin-top: 10px; padding: 16px; }
.group-head { color: var(--muted); font-size: 13px; margin-bottom: 12px; overflow-wrap: anywhere; }
.group { display: grid; grid-template-columns: minmax(0, 300px) minmax(0, 1fr); gap: 24px; }
.picture { display: block; width: 100%; max-height: 420px; height: auto; border-radius: 6px; background: var(--soft);
  border: 1px solid var(--line); }
.picture + .picture { margin-top: 8px; }
.picture.small image { image-rendering: pixelated; }
.picture rect { fill: none; stroke-width: 2.2; }
.picture .halo { stroke: #fff; stroke-width: 4.6; opacity: .85; }
.picture .true { stroke: #0f8f4f; stroke-width: 3.2; }
.picture .predicted { stroke: #d6400b; stroke-dasharray: 6 3; }
.picture text { fill: #d6400b; stroke: #fff; stroke-width: .22em; paint-order: stroke; font-weight: 700; font-family:
  sans-serif; }
.picture .guess { transition: opacity .12s; }
.picture.picked .guess { opacity: .12; } .picture.picked .guess.on { opacity: 1; }
.no-image { padding: 18px 12px; border: 1px dashed var(--line); border-radius: 6px; color: var(--muted); font-size:
  13px;
  overflow-wrap: anywhere; }
.answer { padding: 10px 0; border-top: 1px solid var(--line); }
.answer:first-child { border-top: 0; padding-top: 0; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; font-size: 13px; font-variant-numeric:
  tabular-nums; }
.parts { color: var(--muted); margin-top: 3px; } .parts b { font-weight: 600; }
.badge { display: inline-block; min-width: 21px; padding: 0 6px; text-align: center; border-radius: 11px; background:
  var(--soft);
  font-weight: 600; font-size: 12px; line-height: 21px; }
.chip { padding: 0 8px; border-radius: 5px; border: 1px solid var(--line); font-size: 12px; line-height: 20px;
  overflow-wrap: anywhere; }
.chip.warn { background: var(--warn-bg); color: var(--warn); border-color: transparent; }
.chip.right { color: var(--up); } .chip.wrong { color: var(--down); }
.times { font-weight: 600; }
.sift { display: none; flex-wrap: wrap; gap: 8px 18px; align-items: center; margin: 10px 0; font-size: 13px; }
[data-ready] .sift { display: flex; }
.sift label { display: inline-flex; gap: 6px; align-items: center; color: var(--muted); max-width: 100%; }
.sift select, .sift input, .spell { font: inherit; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; padding: 3px 7px; min-width: 0; max-width: 100%; }
.sift input { width: 76px; }
.spell { display: none; margin-top: 6px; font-size: 12px; color: var(--muted); cursor: pointer; }
[data-ready] .spell { display: inline-block; }
.token { border-radius: 2px; }
.sum { margin-top: 4px; font-size: 12px; }
.pairs .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); gap: 10px; }
.pairs article { margin-top: 0; min-width: 0; }
.pairs .group { grid-template-columns: minmax(0, 190px) minmax(0, 1fr); gap: 16px; }
.model-prompt { margin-top: 6px; } .model-prompt summary { font-size: 12px; font-weight: 600; color: var(--muted); }
.model-prompt pre { margin-top: 4px; }
.text { background: var(--soft); border-radius: 6px; padding: 8px 10px; max-height: 240px; overflow-y: auto; }
.answer .text { margin-top: 6px; }
footer { margin-top: 48px; color: var(--muted); font-size: 13px; }
@media (max-width: 700px) {
  main { padding: 24px 16px 48px; } h1 { font-size: 25px; } section { margin-top: 32px; }
  .group, .pairs .group { grid-template-columns: minmax(0, 1fr); gap: 16px; } article { padding: 14px; }
  .heldout, .heldout thead, .heldout tbody { display: block; }
  .heldout tr { display: grid; grid-template-columns: repeat(var(--columns), minmax(54px, 1fr)); padding: 8px 12px;
    border-bottom: 1px solid var(--line); }
  .heldout tbody tr:last-child { border-bottom: 0; }
  .heldout tr > * { padding: 1px 2px; border: 0 !important; }
  .heldout thead th { white-space: normal; overflow-wrap: anywhere; align-self: end; }
  .heldout tr > th:first-child { grid-column: 1 / -1; } .heldout thead th:first-child { display: none; }
  .films { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px; } .film { padding: 10px; }
  .film.wide { grid-column: 1 / -1; }
  .chart text { font-size: 13px; }
  .facts-table th { width: 108px; } .stages div { padding: 11px 9px 7px; }
}
"""
