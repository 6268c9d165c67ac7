"""Results: kept as JSON beside docs/performance.md, and written into it between markers, so that the prose stays."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"**{self.title}**\n\n{table}" if self.title else table


@dataclass(frozen=True)
class Findings:
    """Of one section. raw: what was measured, in seconds and the like, from which charts are drawn. quick: a smoke
    run, which means nothing."""

    tables: Sequence[Table]
    notes: Sequence[str]
    raw: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)
    quick: bool = False

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Findings":
        return cls(**{**kept, "tables": [Table(**table) for table in kept["tables"]]})

    def markdown(self, picture: str | None) -> str:
        parts = [table.markdown() for table in self.tables]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        if picture is not None:
            parts.append(f"![{Path(picture).stem}]({picture})")
        parts.append(_told_machine(self.machine))
        if self.quick:
            parts.insert(0, "**A smoke run: these figures mean nothing.**")
        return "\n\n".join(parts)


def _told_machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    half = "" if machine["gflops_bf16"] is None else f", {machine['gflops_bf16']} in bfloat16"
    return (
        f"*{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['threads']} threads on each side; a 2048-cube product runs at {machine['gflops_fp32']} GFLOP/s"
        f"{half}. Python {machine['python']}, {versions}.*"
    )


def keep(path: Path, section: str, findings: Findings) -> dict[str, Findings]:
    """Add a section to the JSON of all sections, and give them all."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept[section] = asdict(findings)
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return {name: Findings.from_json(value) for name, value in kept.items()}


def between_markers(page: str, section: str, text: str) -> str:
    """The page with `text` between <!-- section --> and <!-- /section -->, whatever was there.

    Raises: ValueError if the page has no such markers, in that order.
    """
    start, end = f"<!-- {section} -->", f"<!-- /{section} -->"
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page needs the lines {start} and {end}, in that order")
    return f"{before}{start}\n{text}\n{end}{after}"
