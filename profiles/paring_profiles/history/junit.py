"""Findings as a JUnit file: what build servers read."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from paring_profiles.history.changes import NOT_COMPARABLE, REGRESSION, Change
from paring_profiles.history.findings import Findings
from paring_profiles.history.rows import case_text
from paring_profiles.history.sentences import sentence
from paring_profiles.whole import write_whole

# What XML 1.0 has no place for.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(findings: Findings, path: Path) -> None:
    """Write one test case a comparison, whole or not at all; a regression fails, what was not judged skips.

    Raises:
        OSError: the file cannot be written.
    """
    suite = ElementTree.Element("testsuite", name="paring compare")
    for change in findings.changes:
        suite.append(_case(change))
    counts = {
        "tests": len(findings.changes),
        "failures": len(findings.regressions),
        "errors": 0,
        "skipped": sum(one.verdict == NOT_COMPARABLE for one in findings.changes),
    }
    root = ElementTree.Element("testsuites")
    for element in (suite, root):
        for name, count in counts.items():
            element.set(name, str(count))
    root.append(suite)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def _case(change: Change) -> ElementTree.Element:
    where = "whole artifact" if change.case is None else case_text(change.case)
    element = ElementTree.Element(
        "testcase",
        classname=_clean(f"paring.{change.name}"),
        name=_clean(f"{change.figure}, {where}, machine {change.machine}"),
        time="0",
    )
    told = _clean(sentence(change))
    if change.verdict == REGRESSION:
        failure = ElementTree.SubElement(element, "failure", type=REGRESSION, message=told)
        failure.text = _clean("\n".join([told, change.reason, *change.changed, *change.noise]))
    elif change.verdict == NOT_COMPARABLE:
        ElementTree.SubElement(element, "skipped", message=told)
    else:
        ElementTree.SubElement(element, "system-out").text = told
    return element


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
