"""What an experiment leaves: its figures as JSON, its picture as PNG, and one page of HTML that needs nothing else.

The page holds the picture itself, works from a file, and says what was run: seed, versions, digests of the weights and
of the data. The same findings give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from alexnet import __version__, figures
from alexnet.files import write_bytes, write_json
from alexnet.prepared import INDEX, is_prepared

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{line-height:1.2}img{max-width:100%;height:auto;border:1px solid #ddd}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0}
th,td{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ccc;vertical-align:top}td{overflow-wrap:anywhere}
caption{text-align:left;font-weight:600;padding:.3rem 0}
"""


@dataclass(frozen=True)
class Findings:
    """One experiment: what the paper says, what was found here, and what it was found with.

    `table` is rows of text under a row of headings; `values` the figures for JSON; `picture` a matplotlib figure and
    `shown` what it shows, in words; `facts` are seed, versions and digests by name.
    """

    name: str
    title: str
    paper: str
    ours: str
    table: Sequence[Sequence[str]]
    values: dict[str, Any]
    picture: Any
    shown: str
    facts: dict[str, str]


def import_figures() -> ModuleType:
    """Return matplotlib's figure module; MissingPackageError when it is not installed."""
    return figures.import_figures("alexnet reproduce")


def facts_of(seed: int | None, packages: Sequence[str], **more: str) -> dict[str, str]:
    """Return the seed, the versions of the toolchain, Python and packages, and what else is named."""
    found = {} if seed is None else {"seed": str(seed)}
    found |= {"alexnet-toolchain": __version__, "Python": platform.python_version()}
    found |= {package: metadata.version(package) for package in ("numpy", "matplotlib", *packages)}
    return found | {name.replace("_", " "): value for name, value in more.items()}


def data_digest(data: Path, digests: Sequence[str]) -> str:
    """Return the SHA-256 of prepared data's index, or of the pictures' own digests where a folder was read."""
    if is_prepared(data):
        return hashlib.sha256((data / INDEX).read_bytes()).hexdigest()
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def write_findings(found: Findings, out: Path) -> list[Path]:
    """Write NAME.json, NAME.png and NAME.html under `out`, each whole or not at all, and return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"{found.name}.{suffix}" for suffix in ("json", "png", "html")]
    png = png_of(found.picture)
    heads = list(found.table[0]) if found.table else []
    values = {
        "experiment": found.name,
        "paper": found.paper,
        "ours": found.ours,
        "table": [dict(zip(heads, row, strict=True)) for row in found.table[1:]],
        **found.values,
        "facts": found.facts,
    }
    write_json(files[0], values)
    write_bytes(files[1], png)
    write_bytes(files[2], page(found, png).encode())
    return files


def png_of(picture: Any) -> bytes:
    """Return a matplotlib figure as PNG, the same bytes for the same figure."""
    data = io.BytesIO()
    picture.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


def page(found: Findings, png: bytes) -> str:
    """Return the page: title, the paper's statement beside ours, the picture, the table, and what it was made with."""
    image = base64.b64encode(png).decode()
    shown, title = html.escape(found.shown), html.escape(found.title)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body><main>",
            f"<h1>{title}</h1>",
            f"<p><strong>The paper:</strong> {html.escape(found.paper)}</p>",
            f"<p><strong>Here:</strong> {html.escape(found.ours)}</p>",
            f'<figure><img alt="{shown}" src="data:image/png;base64,{image}"><figcaption>{shown}</figcaption></figure>',
            _table("Figures", found.table) if len(found.table) > 1 else "",
            _table("Made with", [("what", "value"), *found.facts.items()]),
            "</main></body></html>",
        ]
    )


def _table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text under a row of headings as an HTML table."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows[1:]
    )
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
