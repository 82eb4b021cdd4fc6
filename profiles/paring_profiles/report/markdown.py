"""The report as Markdown: the same tables, without the pictures."""

from __future__ import annotations

from typing import Any

from paring_profiles.report import answers, details, energy, experts, questions, robustness, tables
from paring_profiles.report.headline import headline, others
from paring_profiles.report.marks import code as _code
from paring_profiles.report.marks import fence as _fence
from paring_profiles.report.marks import table_lines as _table
from paring_profiles.report.marks import text as _text
from paring_profiles.report.rival import against_int8
from paring_profiles.result import Candidate, Profile


def render(profile: Profile, curve: dict[str, Any] | None = None) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    told = [*others(profile), *against_int8(profile)]
    parts = [f"# {_text(headline(profile))}", *_bullets(told), ""]
    parts += _noise(profile)
    if curve:
        parts += ["## Accuracy against speed-up", "", *_table(details.curve_table(curve))]
    parts += ["## Before and after", "", *_before_after(profile)]
    for title, table in robustness.robustness_tables(profile):
        parts += [f"## {_text(title)}", "", *_table(table)]
    token_table = details.token_table(profile)
    if token_table.rows:
        parts += [f"## {token_table.header[1]}", "", *_table(token_table)]
    stages = answers.stage_table(profile)
    if stages.rows:
        parts += ["## Tokens before and after each step", "", *_table(stages)]
    for title, table in experts.share_tables(profile):
        parts += [f"## {_text(title)}", "", *_table(table)]
    for size in dict.fromkeys(case[0] for case in tables.cases(profile)):
        operators = details.operator_table(profile, size)
        if operators.rows:
            parts += [f"## Time by operator at batch {size}, a call", "", *_table(operators)]
    for candidate in profile.candidates:
        parts += _described(candidate)
    parts += _conditions(profile)
    return "\n".join(parts).rstrip() + "\n"


def _noise(profile: Profile) -> list[str]:
    if not profile.noise:
        return []
    return ["> **This measurement was noisy.**", ">", *_quoted(profile.noise), ""]


def _quoted(lines: list[str]) -> list[str]:
    return [f"> - {_text(line)}" for line in lines]


def _bullets(lines: list[str]) -> list[str]:
    return ["", *(f"- {_text(line)}" for line in lines)] if lines else []


def _before_after(profile: Profile) -> list[str]:
    names = [candidate.name for candidate in profile.candidates]
    lines = []
    for group in questions.before_after(profile):
        header = (group.title, "Provenance", *names)
        rows = tuple(
            (row.label, row.provenance or tables.ABSENT, *(_cell(cell) for cell in row.cells))
            for row in group.rows
        )
        lines += _table(tables.Table(header, rows))
    return lines


def _cell(cell: tables.Cell) -> str:
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def _described(candidate: Candidate) -> list[str]:
    lines = [f"## {_text(candidate.name)}", ""]
    lines += [f"- Artifact: {_code(candidate.path)}, {_text(candidate.format)}"]
    lines += [f"- Source: {_code(candidate.source)}"] if candidate.source else []
    parity = candidate.parity
    lines += [f"- Parity: {_text(details.parity_sentence(parity) if parity else 'Not checked.')}"]
    lines += [""]
    if kept := answers.kept_text(candidate):
        lines += ["What the filter kept of the first prompt:", "", *_fence(kept, "text"), ""]
    if candidate.recipe:
        lines += ["Recipe:", "", *_fence(details.as_yaml(candidate.recipe)), ""]
    if candidate.transforms:
        lines += ["Transforms:", "", *_fence(details.as_yaml(candidate.transforms)), ""]
    if parity and parity.get("cases"):
        lines += _table(details.parity_table(parity))
    return lines


def _conditions(profile: Profile) -> list[str]:
    lines = ["## Conditions", "", details.method(profile), "", *_bullets(details.methods(profile)), ""]
    lines += _table(tables.Table(("Machine", ""), tuple(details.machine_rows(profile.machine))))
    lines += _table(tables.Table(("Setting", ""), tuple(details.settings_rows(profile))))
    lines += _table(tables.Table(("Energy meter", ""), tuple(energy.meter_rows(profile))))
    versions = tuple(sorted(profile.tools.items()))
    lines += _table(tables.Table(("Tool", "Version"), versions))
    return [*lines, f"Measured {_text(profile.created)}."]
