#!/usr/bin/env bash
# An index of usearch in int8 scales each row to a length of about 127, whatever its metric is. With `ip` and `l2sq` a row,
# its double and its triple are then one and the same row: float32, float16 and float8 keep the three apart, int8 gives all
# of them one distance, and the nearest of 1,000 rows of different lengths are those by cosine. Harmless for unit rows but
# for the scale (a row is at about -15,000 from itself where float32 has 0), and not where lengths carry something.
#
# Seen on 2026-11-30, Python 3.11, usearch 2.26.6, numpy 2.4.6: see `expected`.
#
# Prints what it sees; exit 1 if that is something else.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="f32: ip tells 3 lengths, l2sq 3; first of 1,000 by inner product: most, by cosine: few
f16: ip tells 3 lengths, l2sq 3; first of 1,000 by inner product: most, by cosine: few
e4m3: ip tells 3 lengths, l2sq 3; first of 1,000 by inner product: most, by cosine: few
i8: ip tells 1 lengths, l2sq 1; first of 1,000 by inner product: few, by cosine: most"

cat > "$folder/lengths.py" <<'PY'
import numpy as np
from usearch.index import Index

random = np.random.default_rng(0)
rows = random.standard_normal((1000, 64)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
scaled = rows * random.uniform(0.2, 1, (1000, 1)).astype(np.float32)
queries = random.standard_normal((200, 64)).astype(np.float32)
by_product, by_cosine = (queries @ scaled.T).argmax(1), (queries @ rows.T).argmax(1)


def index(metric, dtype, of):
    made = Index(ndim=64, metric=metric, dtype=dtype)
    made.add(np.arange(len(of)), of)
    return made


def told_apart(metric, dtype):
    one = 0.25 * rows[0]
    found = index(metric, dtype, np.stack([one, 2 * one, 3 * one])).search(one, 3, exact=True)
    return len(set(found.distances.tolist()))


for dtype in ("f32", "f16", "e4m3", "i8"):
    first = index("ip", dtype, scaled).search(queries, 1, exact=True).keys[:, 0].astype(int)
    shares = ["most" if (first == right).mean() > 0.75 else "few" for right in (by_product, by_cosine)]
    print(
        f"{dtype}: ip tells {told_apart('ip', dtype)} lengths, l2sq {told_apart('l2sq', dtype)}; "
        f"first of 1,000 by inner product: {shares[0]}, by cosine: {shares[1]}"
    )
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install usearch==2.26.6 numpy==2.4.6
"$folder/venv/bin/python" "$folder/lengths.py" > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
