"""The comparison as one HTML file that needs nothing else: tables, verdicts, plots, settings."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from .report import blocks, conclusion, head, notes

__all__ = ["html_page"]

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em;
  color: #222; background: #fff; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
.verdicts td { text-align: left; white-space: normal; vertical-align: top; }
.level { display: inline-block; min-width: 5.5em; padding: 0 .5em; border-radius: .3em;
  text-align: center; font-weight: 600; }
.trust { background: #cfe8cf; } .caution { background: #fbe8b5; } .reject { background: #f4c7c3; }
.warning { background: #fbe8b5; padding: .5em 1em; border-left: .3em solid #d9a400; }
img { max-width: 100%; height: auto; } ul { padding-left: 1.2em; }
</style>
</head>
<body>
<h1>$title</h1>
$head
<p><strong>Conclusion:</strong> $conclusion</p>
<h2>Verdicts</h2>
$verdicts
$tables
$notes
$images
<h2>Settings</h2>
$settings
<h2>Versions</h2>
$versions
</body>
</html>
""")
TITLES = {
    "marginals.png": "Marginals",
    "pairs.png": "Pairs",
    "elbo.png": "ELBO during training",
    "predictive.png": "Posterior predictive checks",
    "calibration.png": "Simulation-based calibration",
}


def html_page(comparison, images: Sequence[Path] = ()) -> str:
    """The page; the plots are part of it, and all text is escaped.

    Args:
        comparison: a :class:`~.comparison.Comparison`.
        images: PNG files to embed.
    """
    first, *others = head(comparison).splitlines()
    return PAGE.substitute(
        title=escape(f"Comparison of {comparison.model.name} on {comparison.host}"),
        head=_head([first, *others]),
        conclusion=escape(conclusion(comparison)),
        verdicts=_verdicts(comparison),
        tables="\n".join(
            f"<h2>{escape(title)}</h2>\n{_table(rows)}"
            for title, rows in blocks(comparison).items()
        ),
        notes=_list("Notes", notes(comparison)),
        images="\n".join(_image(path) for path in images),
        settings=_table([["", "value"], *_pairs(comparison.settings.to_dict())]),
        versions=_table([["", "version"], *_pairs(comparison.versions)]),
    )


def _head(lines: Iterable[str]) -> str:
    return "\n".join(
        f'<p class="warning">{escape(line.removeprefix("!! "))}</p>'
        if line.startswith("!! ")
        else f"<p>{escape(line)}</p>"
        for line in lines
    )


def _verdicts(comparison) -> str:
    rows = []
    for result in comparison.results:
        level = escape(result.verdict.level)
        reasons = "<br>".join(escape(reason) for reason in result.verdict.reasons)
        badge = f'<span class="level {level}">{level}</span>'
        rows.append(f"<tr><td>{escape(result.name)}</td><td>{badge}</td><td>{reasons}</td></tr>")
    return f'<table class="verdicts">\n{"".join(rows)}\n</table>'


def _table(rows: Sequence[Sequence[str]]) -> str:
    first, *others = rows
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in first) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in others]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h2>{escape(title)}</h2>\n<ul>{items}</ul>"


def _image(path: Path) -> str:
    title = escape(TITLES.get(path.name, path.stem))
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<h2>{title}</h2>\n<img alt="{title}" src="data:image/png;base64,{data}">'


def _pairs(values: dict) -> list[list[str]]:
    return [[str(name), str(value)] for name, value in values.items()]
