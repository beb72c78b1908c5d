"""The frame and the style sheet of the page. Everything is inline; the page may load nothing."""

from __future__ import annotations

from string import Template

CSS = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#5a6577;--line:#dfe3ea;--grid:#e8ebf0;
  --code:#f3f5f8;--accent:#2563c9;--good:#12704f;--goodbg:#e2f4ec;--bad:#a8322b;--badbg:#fbe7e5;--warn:#7a5200;
  --warnbg:#fdf3d8;--neutralbg:#e9edf3;--c1:#2f6fd6;--c2:#c9650a;--c3:#128067;--c4:#8453c4;--cx:#7c8798;
  --c5:#b8377f;--c6:#1d7f9e;--c7:#7d6a10;--c8:#4a5b70;
  --pass:#1f9068;--fail:#7ea6dd;--error:#e08a2b;--timeout:#e3c23a;--memory:#8b62c4;--output_limit:#d578b0;
  --crash:#c9423c;--not_run:#c6ccd6;--infrastructure:#4d5666;--kw:#8a3fa0;--str:#17715a;--com:#6a7485;--num:#a8520a}
@media(prefers-color-scheme:dark){
  :root{--bg:#10141b;--card:#181e28;--ink:#e7ebf2;--soft:#a0abbd;--line:#2c3544;--grid:#252d3a;--code:#121821;
  --accent:#7fb0ff;--good:#7fdcb6;--goodbg:#12342a;--bad:#ff9d94;--badbg:#3d1d1c;--warn:#f2cf7b;--warnbg:#352a12;
  --neutralbg:#252d3a;--c1:#6aa3f8;--c2:#f0994a;--c3:#45c2a1;--c4:#b693ee;--cx:#8e99ab;
  --c5:#f08bbd;--c6:#5fc4e0;--c7:#d3bd55;--c8:#b9c6d8;--pass:#37b387;
  --fail:#4f7ab8;--error:#d98a35;--timeout:#d2b437;--memory:#a07bda;--output_limit:#d27bb0;--crash:#e0605a;
  --not_run:#596375;--infrastructure:#c9d1de;--kw:#d9a0ea;--str:#7fd3b5;--com:#8e99ab;--num:#f2b077}
}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
@media(prefers-reduced-motion:reduce){
  html{scroll-behavior:auto}
}
body{margin:0;background:var(--bg);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
a{color:var(--accent)}
.skip{position:absolute;left:-999px}
.skip:focus{left:8px;top:8px;background:var(--card);padding:8px}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:40px}
.eyebrow{margin:0;color:var(--soft);font-size:.8rem;letter-spacing:.08em;text-transform:uppercase;font-weight:600}
h1{margin:4px 0 14px;font-size:2.1rem;line-height:1.2;letter-spacing:-.02em;overflow-wrap:anywhere}
.lede{margin:0 0 14px;font-size:1.3rem;line-height:1.45;max-width:52em}
.meta{display:flex;flex-wrap:wrap;gap:4px 20px;margin:0;color:var(--soft);font-size:.9rem}
.meta b{color:var(--ink);font-weight:600}
.chip{display:inline-block;padding:2px 11px;border-radius:99px;font-size:.85rem;font-weight:600;
  background:var(--neutralbg);color:var(--ink);white-space:nowrap}
.chip.up,.chip.pass{background:var(--goodbg);color:var(--good)}
.chip.down{background:var(--badbg);color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:14px;margin:26px 0 8px;padding:0;
  list-style:none}
.card,section,.banner{background:var(--card);border:1px solid var(--line);border-radius:12px}
.card{padding:14px 18px 15px}
.card p{margin:0}
.card .what{color:var(--soft);font-size:.87rem}
.card .figure{font-size:1.55rem;font-weight:650;letter-spacing:-.01em;line-height:1.35;
  font-variant-numeric:tabular-nums}
.card .more{font-size:.87rem;color:var(--soft)}
.card .more .up{color:var(--good);font-weight:600}
.card .more .down{color:var(--bad);font-weight:600}
nav{margin:16px 0 0;font-size:.9rem}
nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0;padding:0;list-style:none}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.banner{padding:12px 18px;margin:16px 0 0;border-left:4px solid var(--c2);background:var(--warnbg);
  color:var(--warn)}
.banner p{margin:0}
.banner ul{margin:6px 0 0;padding-left:20px}
.banner.fine{border-left-color:var(--c3);background:var(--goodbg);color:var(--good)}
section{padding:22px 24px 24px;margin:18px 0;min-width:0;scroll-margin-top:10px}
h2{margin:0 0 2px;font-size:1.25rem;letter-spacing:-.01em}
section>.about{margin:0 0 16px;color:var(--soft);font-size:.94rem;max-width:62em}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:28px}
.halves{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:18px;margin:18px 0}
.halves section{margin:0}
@media(max-width:820px){
  .pair,.halves{grid-template-columns:minmax(0,1fr)}
}
@media(max-width:520px){
  header,main,footer{padding-left:14px;padding-right:14px}
  section{padding:18px 16px}
  h1{font-size:1.6rem}
  .lede{font-size:1.1rem}
  .cards{grid-template-columns:1fr 1fr;gap:10px}
  .card{padding:11px 13px}
  .card .figure{font-size:1.15rem}
}
figure{margin:0;min-width:0}
figcaption{font-weight:600;font-size:.95rem;margin-bottom:6px}
.legend{display:flex;flex-wrap:wrap;gap:3px 16px;margin:0 0 4px;padding:0;list-style:none;font-size:.84rem;
  color:var(--soft)}
.legend li{display:flex;align-items:center;gap:6px}
.legend svg{width:12px;height:12px;flex:none;overflow:visible}
.note{margin:6px 0 0;color:var(--soft);font-size:.84rem}
.empty{margin:8px 0;color:var(--soft);font-style:italic}
.pair+.pair{margin-top:28px}
.chart{display:block;width:100%;height:auto;max-width:620px}
.chart text{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
.chart .name{fill:var(--ink);font-weight:600}
.chart .halo{paint-order:stroke;stroke:var(--card);stroke-width:5px;stroke-linejoin:round}
.mid{text-anchor:middle}
.end{text-anchor:end}
.grid{stroke:var(--grid);fill:none}
.limit{stroke:var(--c2);stroke-dasharray:5 4;fill:none}
.zero{stroke:var(--soft);stroke-width:1.5}
.split{stroke:var(--soft);stroke-dasharray:2 4;opacity:.7;fill:none}
.line{fill:none;stroke:var(--k);stroke-width:2;stroke-linejoin:round}
.bar{fill:none;stroke:var(--k);stroke-width:1.6}
.dot{fill:var(--k)}
.outline{fill:none;stroke:var(--c2);stroke-width:1.8}
.c1{--k:var(--c1)}
.c2{--k:var(--c2)}
.c3{--k:var(--c3)}
.c4{--k:var(--c4)}
.c5{--k:var(--c5)}
.c6{--k:var(--c6)}
.c7{--k:var(--c7)}
.c8{--k:var(--c8)}
.cx{--k:var(--cx)}
.v-pass{--k:var(--pass)}
.v-fail{--k:var(--fail)}
.v-error{--k:var(--error)}
.v-timeout{--k:var(--timeout)}
.v-memory{--k:var(--memory)}
.v-output_limit{--k:var(--output_limit)}
.v-crash{--k:var(--crash)}
.v-not_run{--k:var(--not_run)}
.v-infrastructure{--k:var(--infrastructure)}
.p-sample{--k:var(--c1)}
.p-test{--k:var(--c2)}
.p-train{--k:var(--c3)}
.p-evaluate{--k:var(--c4)}
.p-save{--k:var(--cx)}
details{margin-top:10px}
summary{cursor:pointer;color:var(--soft);font-size:.87rem}
summary:hover{color:var(--ink)}
.scroll{overflow:auto;margin-top:8px;max-height:26em}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:5px 14px 5px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child,.words td,.words th,.t2 :nth-child(2),
  .t3 :nth-child(2),.t3 :nth-child(3){text-align:left}
td:first-child{white-space:normal;min-width:7em}
th:last-child,td:last-child{padding-right:2px}
.words td{white-space:normal;overflow-wrap:anywhere;vertical-align:top}
.words td:first-child{white-space:nowrap;padding-right:24px;width:12em}
.settings td:nth-child(2){white-space:normal}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.program{border-top:1px solid var(--line);margin:0;padding:12px 0}
.program:last-child{padding-bottom:0}
.program>summary{color:var(--ink);font-size:.95rem;list-style-position:outside;margin-left:1.1em}
.program .place{color:var(--soft);font-variant-numeric:tabular-nums}
.program .id{font-weight:600;margin:0 10px 0 4px;overflow-wrap:anywhere}
.program .drawn{color:var(--soft);margin-left:10px}
.reason{margin:10px 0 8px}
.facts{display:flex;flex-wrap:wrap;gap:6px 28px;margin:0 0 12px}
.facts div{min-width:6.2em}
.facts dt{color:var(--soft);font-size:.78rem}
.facts dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
.code{border:1px solid var(--line);border-radius:8px;overflow:hidden}
.code h3{margin:0;padding:5px 14px;font-size:.75rem;font-weight:600;color:var(--soft);
  border-bottom:1px solid var(--line);background:var(--neutralbg)}
.code pre+h3{border-top:1px solid var(--line)}
pre{margin:0;padding:12px 14px;overflow:auto;max-height:30em;background:var(--code);
  font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;tab-size:4}
pre.prompt{color:var(--soft)}
.k{color:var(--kw)}
.s{color:var(--str)}
.m{color:var(--com);font-style:italic}
.n{color:var(--num)}
code{font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
section>.code,section>.scroll{margin:16px 0 0}
section>.scroll{max-height:none}
footer{padding-top:6px;padding-bottom:44px;color:var(--soft);font-size:.85rem}
@media(max-width:520px){
  .chart text{font-size:15px}
  .card:nth-child(-n+2){grid-column:1/-1}
}
@media print{
  body{background:#fff}
  section,.card{break-inside:avoid}
  nav{display:none}
}
"""

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>$title</title>
<style>$css</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header>
$header
</header>
<main id="main">
$main
</main>
<footer>
$footer
</footer>
</body>
</html>
""")
