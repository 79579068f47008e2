"""Runs a command and says what it took: exit code, processor time, peak memory. Kept small and started without the
test's own modules, because a child's peak memory begins with that of the process it was forked from.

    python3 -I -S measure.py REPORT COMMAND [ARGUMENT...]
"""

import json
import os
import sys

report, command = sys.argv[1], sys.argv[2:]
child = os.posix_spawn(command[0], command, os.environ)
_, status, usage = os.wait4(child, 0)
with open(report, "w", encoding="utf-8") as out:
    json.dump(
        {
            "exit_code": os.waitstatus_to_exitcode(status),
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * 1024,
        },
        out,
    )
