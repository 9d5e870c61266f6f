#!/usr/bin/env bash
# random_state of a TorchDR estimator is no generator of its own: every fit seeds torch, numpy and the standard library
# anew for the whole process, PCA included, which draws nothing. A training loop that looks at its embeddings between
# epochs with a fixed random_state then reads its data in one and the same order from the second epoch on (two orders in
# place of six), and numpy's and Python's own draws repeat with it. Without random_state all stay as they were.
#
# Seen on 2026-11-30, Python 3.11, torch 2.15.0, torchdr 0.5: see `expected`.
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="no look: 6 orders in 6 epochs, 6 draws of numpy, 6 of random
PCA(): 6 orders in 6 epochs, 6 draws of numpy, 6 of random
PCA(random_state=0): 2 orders in 6 epochs, 2 draws of numpy, 2 of random
TSNE(random_state=0): 2 orders in 6 epochs, 2 draws of numpy, 2 of random"

cat > "$folder/epochs.py" <<'PY'
import random

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchdr import PCA, TSNE

rows = torch.randn(100, 16)


def seen(look):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    orders, by_numpy, by_python = set(), set(), set()
    for _ in range(6):
        loader = DataLoader(range(100), batch_size=10, shuffle=True)
        orders.add(tuple(each for batch in loader for each in batch.tolist()))
        by_numpy.add(np.random.rand())
        by_python.add(random.random())
        look()
    return f"{len(orders)} orders in 6 epochs, {len(by_numpy)} draws of numpy, {len(by_python)} of random"


print("no look:", seen(lambda: None))
print("PCA():", seen(lambda: PCA(n_components=2).fit_transform(rows)))
print("PCA(random_state=0):", seen(lambda: PCA(n_components=2, random_state=0).fit_transform(rows)))
shown = {"n_components": 2, "perplexity": 5, "max_iter": 5, "backend": None}
print("TSNE(random_state=0):", seen(lambda: TSNE(random_state=0, **shown).fit_transform(rows)))
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    torch==2.15.0 numpy==2.4.6 matplotlib==3.11.2 torchdr==0.5
"$folder/venv/bin/python" -W ignore "$folder/epochs.py" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
