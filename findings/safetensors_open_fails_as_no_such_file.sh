#!/usr/bin/env bash
# safe_open says "No such file or directory" of a weights file that is there, where a process has too many files open or
# may not read it: whoever takes FileNotFoundError for "not downloaded yet" fetches gigabytes again, or goes on without.
# open() says what it is. The system's number of the error (errno) is not kept either.
#
# Seen on 2026-11-30, Python 3.11, safetensors 0.8.0, numpy 2.4.6: see `expected`.
#
# Prints what it sees; exit 1 if that is something else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="open: OSError, Too many open files, errno 24
safe_open: FileNotFoundError, No such file or directory, errno None
afterwards: 4 numbers"

cat > "$folder/opened.py" <<'PY'
import os
import resource
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

place = os.path.join(sys.argv[1], "weights.safetensors")
save_file({"a": np.ones(4, np.float32)}, place)
with safe_open(place, framework="numpy") as file:  # what it loads at first use is loaded
    file.get_tensor("a")


def said(opened):
    try:
        opened()
    except OSError as error:
        words = str(error).partition("] ")[2] or str(error)
        return f"{type(error).__name__}, {words.partition(':')[0]}, errno {error.errno}"


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
held = []
try:
    while True:
        held.append(open(os.devnull))
except OSError:
    pass
seen = [f"open: {said(lambda: open(place))}", f"safe_open: {said(lambda: safe_open(place, framework='numpy').__enter__())}"]
for each in held:
    each.close()
with safe_open(place, framework="numpy") as file:
    seen.append(f"afterwards: {len(file.get_tensor('a'))} numbers")
print("\n".join(seen))
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" "$folder/opened.py" "$folder" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
