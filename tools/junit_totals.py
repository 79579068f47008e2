#!/usr/bin/env python3
"""Adds up JUnit reports: prints how many cases passed, failed and were skipped. Fails if a report is missing."""

import sys
import xml.etree.ElementTree


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    is_skipped = case.find("skipped") is not None or case.get("status") == "notrun"
    return "skipped" if is_skipped else "passed"


def cases(report):
    try:
        return list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        sys.exit(f"no report: {error}")


def main():
    outcomes = [outcome(case) for report in sys.argv[1:] for case in cases(report)]
    print(*(outcomes.count(kind) for kind in ("passed", "failed", "skipped")))


if __name__ == "__main__":
    main()
