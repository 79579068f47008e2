#!/usr/bin/env python3
"""One history of checkpoints in Tenon, restic and borg: what it takes on disk, its last commit, and reading it back.

    bench/backups.py [--build DIR] [--dir DIR] [--commits N] [--mib N] [--install] [--smoke]

The history is that of compare.py's P8: 2 % of the bytes change in runs of 1 MiB. restic and borg get it as a file that
was just written; --install asks apt for them (Debian packages restic and borgbackup). What is missing is left out.
Passwords and encryption are left out where the program can (borg), and restic's compression is off: random mantissas
do not compress.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20


def run(command, environment=None, **options):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=os.environ | (environment or {}), **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")
    return done.stdout


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def disk_bytes(path):
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*"))


def tenon_history(program, directory, commits, nbytes):
    store = directory / "history.tenon"
    figures = json.loads(run([program, "chain", store, commits, nbytes, 4]))
    size = disk_bytes(store)
    shutil.rmtree(store)
    return {"size": size, "last": figures["last_commit"], "read": figures["open_and_read"],
            "ideal": figures["first_bytes"] + figures["changed_bytes"]}


class Restic:
    name = "restic"

    def __init__(self, repository):
        self.command = ["restic", "--repo", repository, "--no-cache", "--quiet"]
        self.environment = {"RESTIC_PASSWORD": "bench"}
        run([*self.command, "init"], self.environment)

    def commit(self, file, number):
        run([*self.command, "backup", "--compression", "off", file], self.environment)

    def read(self, file):
        return run([*self.command, "dump", "latest", file], self.environment)


class Borg:
    name = "borg"

    def __init__(self, repository):
        self.repository, self.environment = repository, {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
                                                         "BORG_BASE_DIR": str(repository) + ".base"}
        run(["borg", "init", "--encryption", "none", repository], self.environment)

    def commit(self, file, number):
        run(["borg", "create", "--compression", "none", f"{self.repository}::{number}", file.name], self.environment,
            cwd=file.parent)
        self.newest = number

    def read(self, file):
        return run(["borg", "extract", "--stdout", f"{self.repository}::{self.newest}", file.name], self.environment)


def backup_history(tool, program, directory, commits, nbytes):
    repository, file = directory / f"{tool.name}.repository", directory / "state.bin"
    file.unlink(missing_ok=True)
    backups = tool(repository)
    for number in range(commits):
        run([program, "step", file, number, nbytes])
        last, _ = timed(lambda: backups.commit(file, number))
    read, content = timed(lambda: backups.read(file))
    if content != file.read_bytes():
        sys.exit(f"{tool.name} gave other bytes back")
    size = disk_bytes(repository)
    shutil.rmtree(repository)
    return {"size": size, "last": last, "read": read}


def install():
    run(["apt-get", "install", "-y", "--no-install-recommends", "restic", "borgbackup"])


def print_table(results, arguments):
    ours = results["tenon"]
    print(f"{arguments.commits} commits of {arguments.mib} MiB, 2 % changed in each\n")
    print("| | on disk | / (first + changed) | last commit | open and read all |\n|---|---|---|---|---|")
    for name, figures in results.items():
        print(f"| {name} | {figures['size'] / MIB:.0f} MiB | {figures['size'] / ours['ideal']:.3f} x | "
              f"{figures['last'] * 1e3:.1f} ms ({figures['last'] / ours['last']:.1f} x) | "
              f"{figures['read'] * 1e3:.1f} ms ({figures['read'] / ours['read']:.1f} x) |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--dir", type=pathlib.Path, help="where to write (default: the build directory's file system)")
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--mib", type=int, default=128, help="size of a checkpoint")
    parser.add_argument("--install", action="store_true", help="install restic and borg first")
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.commits, arguments.mib = 3, 8
    if arguments.install:
        install()
    program, nbytes = arguments.build / "bench" / "bench-history", arguments.mib * MIB
    with tempfile.TemporaryDirectory(prefix="tenon-bench-", dir=arguments.dir or arguments.build) as directory:
        directory = pathlib.Path(directory).resolve()
        results = {"tenon": tenon_history(program, directory, arguments.commits, nbytes)}
        for tool in (Restic, Borg):
            if shutil.which(tool.name):
                results[tool.name] = backup_history(tool, program, directory, arguments.commits, nbytes)
            else:
                print(f"{tool.name} is not installed: left out", file=sys.stderr)
    print_table(results, arguments)


if __name__ == "__main__":
    main()
