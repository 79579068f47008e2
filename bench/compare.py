#!/usr/bin/env python3
"""Measures Tenon beside its peers and the limits of this machine, in one run, and prints one markdown table.

    bench/compare.py [--build DIR] [--dir DIR] [--rows P1,P3,...] [--rounds N] [--smoke]

Every line is a ratio of medians of interleaved rounds; lines of peers that are missing stay empty. Nothing here fails
because something was slow: the exit status is 1 only if a program failed, or if bytes that were loaded differ from those
that were saved.
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile

import rows_files
import rows_query
import rows_store
from harness import SMOKE, Bench, Sizes, machine_line, print_table

MEASUREMENTS = {
    "P1": rows_store.measure_attach,
    "P2": rows_store.measure_first_byte,
    "P3": rows_store.measure_commit_new,
    "P4": rows_store.measure_commit_again,
    "P5": rows_store.measure_touch,
    "P6": rows_store.measure_share,
    "P7": rows_store.measure_follow,
    "P8": rows_store.measure_chain,
    "P9": rows_store.measure_stitched,
    "P10": rows_query.measure_query,
    "P11": rows_query.measure_summary,
    "P12": rows_files.measure_convert,
    "P13": rows_files.measure_convert,
    "P14": rows_files.measure_python,
    "P15": rows_files.measure_copy,
    "growth": rows_store.measure_growth,
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--dir", type=pathlib.Path, help="where to write (default: the build directory's file system)")
    parser.add_argument("--rows", default=",".join(MEASUREMENTS), help="some of %(default)s")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--smoke", action="store_true", help="small sizes: shows that everything runs, not how fast")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows.split(",")
    if unknown := set(arguments.rows) - set(MEASUREMENTS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return arguments


def main():
    arguments = parse_arguments()
    sizes = SMOKE if arguments.smoke else Sizes()
    if arguments.rounds:
        sizes = dataclasses.replace(sizes, rounds=arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="tenon-bench-", dir=arguments.dir or arguments.build) as directory:
        bench = Bench(arguments.build, pathlib.Path(directory), sizes)
        print(machine_line(directory), end="\n\n", flush=True)
        for measure in dict.fromkeys(MEASUREMENTS[row] for row in arguments.rows):
            measure(bench)
            print(f"{measure.__name__} done", file=sys.stderr)
        print_table(bench.lines, arguments.smoke)


if __name__ == "__main__":
    main()
