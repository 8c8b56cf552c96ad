#!/usr/bin/env python3
"""A small CLI agent: reads figures.json, writes report.md, has it signed off at a service with its credential."""

import argparse
import json
import os
import sys
import urllib.request


def event(kind, **members):
    print(json.dumps({"type": kind, **members}), flush=True)


def write_report(figures):
    lines = [
        "# Orders of the week",
        "",
        f"- orders: {figures['figures']['count']}",
        f"- median: {figures['figures']['median']}",
        f"- total: {figures['figures']['total']}",
        f"- revenue, as the service says: {figures['revenue']['revenue']} {figures['revenue']['currency']}",
    ]
    with open("report.md", "w", encoding="utf-8") as report:
        report.write("\n".join(lines) + "\n")
    return len(lines)


def sign_off(service, token):
    request = urllib.request.Request(f"{service}/sign-off", method="POST", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer, open("report.md", "a", encoding="utf-8") as report:
        name = json.load(answer)["signed"]
        report.write(f"\nSigned off by {name}.\n")
        return name


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--prompt", required=True)
    prompt = arguments.parse_args().prompt
    event("start", prompt=prompt)
    try:
        with open("figures.json", encoding="utf-8") as file:
            figures = json.load(file)
        lines = write_report(figures)
        event("tool", name="write", file="report.md", lines=lines)
        name = sign_off(figures["plan"]["service"], os.environ["REPORTING_TOKEN"])
    except Exception as error:  # whatever went wrong is the agent's answer, not a stack trace
        event("result", is_error=True, summary=f"{type(error).__name__}: {error}")
        sys.exit(1)
    event("result", is_error=False, summary=f"wrote report.md, signed off by {name}")


if __name__ == "__main__":
    main()
