#!/usr/bin/env bash
# The whole road: faces, a small network, its export with parity, predictions, an evaluation and a report.
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
# only what an earlier demo made is made anew; anything else in demo/ is somebody's work
evaluated='(metrics\.json|(per_class|confusion)\.csv|(confusion|reliability)\.png)'
trained="($evaluated|config\.json|metrics\.csv|curves\.png|(last|ema)\.safetensors|resume\.pt|sample\.npz)"
exported='(model\.onnx|weights\.safetensors|(card|parity)\.json|README\.md)'
reported='(index\.html|attributions\.npz|figures/(confusion|layer_outputs|maximization|classes|class_means|face_row_[0-9]+)\.png)'
made="(faces|predictions)\.csv|evaluation\.txt|evaluation/$evaluated|runs/drawn/$trained"
made="$made|exports/drawn/$exported|report/$reported"
others=$(find demo ! -type d 2>/dev/null | grep -vxE "demo/($made|(.*/)?\.fer-[0-9a-f-]+\.[a-z]+)" | sort || true)
if [[ -n $others ]]; then
    echo "demo: ${others%%$'\n'*} is not of an earlier demo and would be deleted; move it elsewhere" >&2
    exit 1
fi
rm -rf demo
mkdir demo
if [[ $# -eq 0 ]]; then
    run fer-train synthesize demo/faces.csv --rows 5000 --seed 0
fi
run fer-train fit "$data" --output demo/runs/drawn --model course-cnn --model-argument widths=[16,32,64] \
    --model-argument dropout=0.2 --no-augment --epochs 8 --batch-size 32 --lr 1e-3 --schedule one-cycle --ema 0.99
run fer-train export demo/runs/drawn --output demo/exports/drawn
run fer-infer score "$data" --model demo/exports/drawn --output demo/predictions.csv
run fer-infer evaluate "$data" --usage "$held_out" --model demo/exports/drawn --output demo/evaluation | tee demo/evaluation.txt
run fer-explain report "$data" --usage "$held_out" --model demo/exports/drawn --output demo/report

printf '\nOn held-out faces (%s): %s\n' "$held_out" "$(grep ^accuracy demo/evaluation.txt)"
printf 'Made in %d s:\n' $((SECONDS - start))
printf '  %-24s %s\n' \
    demo/runs/drawn/curves.png "how the training went" \
    demo/exports/drawn "the model: ONNX graph, weights, card, parity" \
    demo/predictions.csv "a label for every row" \
    demo/evaluation "accuracy on held-out faces, confusion matrix" \
    demo/report/index.html "the explanation; open it in a browser"
