#!/usr/bin/env bash
# From faces to a report: train a small network, export and verify it, score, evaluate and explain.
#     demo.sh [DATA]    DATA has a Usage column with Training and PublicTest rows, as fer2013.csv; default: drawn faces
set -euo pipefail

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

start=$SECONDS
data=${1:-demo/faces.csv}
held_out=PublicTest # the recipe is fixed, so these rows chose nothing
if [[ $# -gt 0 ]]; then
    [[ -e $1 ]] || { echo "demo: expected faces, found no $1" >&2; exit 1; }
    data=$(realpath -- "$1")
fi
cd -P -- "$(dirname -- "$0")/.." # demo/ is that of this checkout, whatever folder the call comes from
if [[ $# -gt 0 && $data/ == "$PWD"/demo/* ]]; then
    echo "demo: expected faces elsewhere, found them in demo/, which is made anew" >&2
    exit 1
fi
# An earlier demo is replaced, and its list says what it made; any other file in demo/ is somebody's work.
others=$(find demo ! -type d ! -path demo/.files 2>/dev/null | sort | comm -23 - <(sort demo/.files 2>/dev/null) || true)
if [[ -n $others ]]; then
    echo "demo: ${others%%$'\n'*} is not of an earlier demo and would be deleted; move it elsewhere" >&2
    exit 1
fi
rm -rf demo
mkdir demo
trap 'find demo ! -type d ! -path demo/.files > demo/.files' EXIT # also of a demo that was interrupted
if [[ $# -eq 0 ]]; then
    run fer-train synthesize demo/faces.csv --faces 5000 --seed 0
fi
run fer-train fit "$data" --output demo/runs/small \
    --architecture compact --architecture-argument 'widths=[[16],[16,32,32],[64,64]]' \
    --no-augment --epochs 8 --batch-size 64 --lr 0.05 --ema 0.99
run fer-train export demo/runs/small --output demo/exports/small
run fer-infer score "$data" --model demo/exports/small --output demo/predictions.csv
run fer-infer evaluate "$data" --split "$held_out" --model demo/exports/small --output demo/evaluation
run fer-explain report "$data" --split "$held_out" --model demo/exports/small --output demo/report

accuracy=$(python -c 'import json; print(json.load(open("demo/evaluation/metrics.json"))["accuracy"])')
printf '\n%.1f%% of the held-out faces (%s) are predicted right. Made in %d s:\n' \
    "$(awk "BEGIN {print 100 * $accuracy}")" "$held_out" $((SECONDS - start))
printf '  %-27s %s\n' \
    demo/runs/small/curves.png "loss and accuracy by epoch" \
    demo/exports/small "the model: ONNX graph, weights, card, parity" \
    demo/predictions.csv "a label for every row" \
    demo/evaluation "accuracy on held-out faces, confusion matrix" \
    demo/report/index.html "the explanation; open it in a browser"
least=0.60 # of drawn faces, of which a network that learns reaches 80%
if [[ $# -gt 0 ]]; then
    least=0.35 # real faces are harder; always predicting `happy` is right for a quarter of FER2013
fi
if awk "BEGIN {exit !($accuracy < $least)}"; then
    echo "demo: expected an accuracy of at least $least, found $accuracy: the network has not learned" >&2
    exit 1
fi
