#!/usr/bin/env bash
# Text towers of open_clip take tokens that are padded to fewer places than the model has, or not, the wrong way round.
# A plain CLIP reads a text from left to right up to its end token, so places after it change nothing: it fails inside
# the sum with its positions (CLIP) or inside attention (the same tower in CustomTextCLIP, where the positions are cut to
# the tokens and the causal mask is not). A SigLIP tower attends to every place and reads the last one: it takes half the
# places without a word, and gives another row.
#
# Seen on 2026-11-30, Python 3.11, torch 2.15.0, open_clip_torch 3.3.0: see `expected`.
#
# Prints what it sees; exit 1 if that is something else. torch takes some GB of disk while this runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

expected="CLIP, ViT-B-32, 38 of 77 places: RuntimeError, size of tensor
the same tower in CustomTextCLIP, 38 of 77 places: RuntimeError, shape of the 2D attn_mask
SigLIP, ViT-B-16-SigLIP, 32 of 64 places: taken, another row"

cat > "$folder/places.py" <<'PY'
import open_clip
import torch

torch.manual_seed(0)


def said(model, places, end, padding):
    tokens = torch.full((1, places), padding)
    tokens[0, :12] = torch.randint(2, 1000, (12,))
    tokens[0, 12] = end
    with torch.no_grad():
        whole = model.encode_text(tokens, normalize=True)
        try:
            half = model.encode_text(tokens[:, : places // 2], normalize=True)
        except RuntimeError as error:
            reasons = ("size of tensor", "shape of the 2D attn_mask")
            return f"{places // 2} of {places} places: RuntimeError, {next(r for r in reasons if r in str(error))}"
    row = "the same row" if torch.allclose(whole, half, atol=1e-5) else "another row"
    return f"{places // 2} of {places} places: taken, {row}"


end = open_clip.get_tokenizer("ViT-B-32").eot_token_id
print("CLIP, ViT-B-32,", said(open_clip.create_model("ViT-B-32").eval(), 77, end, 0))
custom = open_clip.create_model("ViT-B-32", force_custom_text=True).eval()
print("the same tower in CustomTextCLIP,", said(custom, 77, end, 0))
print("SigLIP, ViT-B-16-SigLIP,", said(open_clip.create_model("ViT-B-16-SigLIP").eval(), 64, 1, 1))
PY

python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --disable-pip-version-check --quiet install \
    torch==2.15.0 torchvision open_clip_torch==3.3.0
"$folder/venv/bin/python" -W ignore "$folder/places.py" 2> /dev/null > "$folder/seen.txt"
cat "$folder/seen.txt"
diff <(echo "$expected") "$folder/seen.txt"
