#!/usr/bin/env bash
# LogisticRegression of few rows under a strong penalty (a linear probe whose C is searched from 1e-6 up) says that it
# converged and has other answers than its minimum, at a tol of 1e-8 too: tol bounds the whole gradient, which is below
# it before the direction of the weights is found, after one step. newton-cg with a tol of 1e-13 finds the minimum.
#
# Seen on 2026-11-30, Python 3.11, scikit-learn 1.9.1, numpy 2.4.6, scipy 1.17.1: see `expected`.
#
# Prints what it sees; exit 1 if that is something else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="C=1e-06, lbfgs, tol=1e-04: other answers than the minimum for more than 3 % of rows, no warning
C=1e-06, lbfgs, tol=1e-08: other answers than the minimum for more than 3 % of rows, no warning
C=1e-04, lbfgs, tol=1e-08: other answers than the minimum for more than 3 % of rows, no warning"

cat > "$folder/probe.py" <<'PY'
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(0)
classes, dim = 10, 512
centres = rng.normal(size=(classes, dim))


def rows(each):
    labels = np.repeat(np.arange(classes), each)
    found = 0.12 * centres[labels] + rng.normal(size=(len(labels), dim))
    return found / np.linalg.norm(found, axis=1, keepdims=True), labels


x, y = rows(4)
test, _ = rows(100)


def fitted(c, solver, tol):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = LogisticRegression(C=c, solver=solver, tol=tol, max_iter=100_000).fit(x, y)
    return model.predict(test), "a warning" if caught else "no warning"


for c, tol in ((1e-6, 1e-4), (1e-6, 1e-8), (1e-4, 1e-8)):
    answers, said = fitted(c, "lbfgs", tol)
    other = 100 * (answers != fitted(c, "newton-cg", 1e-13)[0]).mean()
    what = f"other answers than the minimum for {'more' if other > 3 else 'less'} than 3 % of rows"
    print(f"C={c:.0e}, lbfgs, tol={tol:.0e}: {what}, {said}")
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" "$folder/probe.py" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
