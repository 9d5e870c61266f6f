#!/usr/bin/env bash
# torch.set_num_threads(1) in a new thread does not hold: at the first operation of the thread that could use several,
# torch gives it the number that was set last anywhere. A pool whose workers call it once (an initializer) computes
# with as many threads as another part of the program set meanwhile; a matrix product then has other bits.
# Asking for the number first (torch.get_num_threads()) makes the thread keep what it sets afterwards.
#
# Seen on 2026-11-29, Python 3.11, Linux x86-64:
#   torch 2.15.0: set to 1 in a thread, set to 8 in another: the first computes with 8; asked first, with 1
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/threads.py" <<'PY'
import threading

import torch


def seen_by_a_worker(ask_first: bool) -> int:
    """How many threads a worker that set 1 has, after another thread set 8."""
    is_set, other_has_set, seen = threading.Event(), threading.Event(), []

    def worker() -> None:
        if ask_first:
            torch.get_num_threads()
        torch.set_num_threads(1)
        is_set.set()
        other_has_set.wait()
        torch.ones(2) + 1
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=worker)
    thread.start()
    is_set.wait()
    torch.set_num_threads(8)
    other_has_set.set()
    thread.join()
    return seen[0]


print(f"torch {torch.__version__.partition('+')[0]}: set to 1: {seen_by_a_worker(False)}", end="; ")
print(f"asked, then set to 1: {seen_by_a_worker(True)}")
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install torch==2.15.0
"$folder/venv/bin/python" -W ignore "$folder/threads.py" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "torch 2.15.0: set to 1: 8; asked, then set to 1: 1") "$folder/seen.txt"
