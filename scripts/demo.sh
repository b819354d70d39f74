#!/usr/bin/env bash
# Train a small network, export and verify it, score, evaluate, and write a report and a page for the browser.
#     demo.sh [DATA]    DATA has a Usage column with Training and PublicTest rows, like fer2013.csv; default: drawn faces
set -euo pipefail

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

start=$SECONDS
data=${1:-demo/faces.csv}
held_out=PublicTest # held out, because the settings below are fixed
if [[ $# -gt 0 ]]; then
    [[ -e $1 ]] || { echo "demo: expected a file or folder of faces, but $1 does not exist" >&2; exit 1; }
    data=$(realpath -- "$1")
fi
cd -P -- "$(dirname -- "$0")/.." # demo/ is in this checkout, regardless of the working directory
if [[ $# -gt 0 && $data/ == "$PWD"/demo/* ]]; then
    echo "demo: DATA is in demo/, which would be deleted; move it elsewhere" >&2
    exit 1
fi
# An earlier demo is replaced; demo/.files lists its files. Any other file in demo/ belongs to the user.
others=$(find demo ! -type d ! -path demo/.files 2>/dev/null | sort | comm -23 - <(sort demo/.files 2>/dev/null) || true)
if [[ -n $others ]]; then
    echo "demo: ${others%%$'\n'*} was not created by an earlier demo and would be deleted; move it elsewhere" >&2
    exit 1
fi
rm -rf demo
mkdir demo
trap 'find demo ! -type d ! -path demo/.files > demo/.files' EXIT # also after an interruption
if [[ $# -eq 0 ]]; then
    run fer-train synthesize demo/faces.csv --faces 5000 --seed 0
fi
run fer-train fit "$data" --output demo/runs/small \
    --architecture compact --architecture-argument 'widths=[[16],[16,32,32],[64,64]]' \
    --no-augment --epochs 8 --batch-size 64 --lr 0.05 --ema 0.99
run fer-train export demo/runs/small --output demo/exports/small --saliency
run fer-infer score "$data" --model demo/exports/small --output demo/predictions.csv
run fer-infer evaluate "$data" --split "$held_out" --model demo/exports/small --output demo/evaluation
run fer-explain report "$data" --split "$held_out" --model demo/exports/small --output demo/report

page_command="fer-infer web --model demo/exports/small --output demo/page"
if command -v npm > /dev/null; then
    run $page_command || true # without a network, npm cannot download ONNX Runtime Web; the line above says so
fi

accuracy=$(python -c 'import json; print(json.load(open("demo/evaluation/metrics.json"))["accuracy"])')
printf '\nAccuracy %.1f%% on the held-out faces (%s). Created in %d s:\n' \
    "$(awk "BEGIN {print 100 * $accuracy}")" "$held_out" $((SECONDS - start))
printf '  %-27s %s\n' \
    demo/runs/small/curves.png "loss and accuracy by epoch" \
    demo/exports/small "the model: ONNX graph, weights, model card, parity check" \
    demo/predictions.csv "the predicted label of each row" \
    demo/evaluation "accuracy on held-out faces, confusion matrix" \
    demo/report/index.html "the report; open it in a browser"
if [[ -e demo/page/index.html ]]; then
    printf '  %-27s %s\n' demo/page "the model in the browser; python -m http.server -d demo/page serves it"
else
    echo "To try the model in the browser, install Node.js and run: $page_command"
fi
least=0.60 # on drawn faces, where this network reaches about 80%
if [[ $# -gt 0 ]]; then
    least=0.35 # real faces are harder; always predicting `happy` has an accuracy of 25% on FER2013
fi
if awk "BEGIN {exit !($accuracy < $least)}"; then
    echo "demo: expected an accuracy of at least $least, found $accuracy: the network has not learned" >&2
    exit 1
fi
