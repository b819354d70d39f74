#!/usr/bin/env bash
# Download what a machine with PyTorch alone lacks, for Python 3.12 on x86-64 Linux, and build the toolkit's own wheel.
#
#     benchmarks/gpu/wheels.sh FOLDER [NAME...]     names: of packages in constraints.txt; default: all below
#
# Versions are those of constraints.txt. No dependency comes along unless it is named, so torch and CUDA stay as they are.
set -euo pipefail
folder=$(realpath -m "${1:?split: wheels.sh FOLDER [NAME...]}")
shift
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    names=(
        lightning-fabric lightning-utilities captum backports.zstd    # 6 MB: rarely there
        safetensors onnx onnx-ir onnxscript ml_dtypes protobuf        # 11 MB: for export
        click rich markdown-it-py mdurl Pygments Jinja2 MarkupSafe tqdm fsspec packaging typing_extensions
        numba llvmlite                                                # 64 MB
        numpy pillow matplotlib contourpy cycler fonttools kiwisolver pyparsing python-dateutil
        scikit-learn scipy joblib threadpoolctl narwhals              # 100 MB with NumPy and matplotlib
        pytest pluggy iniconfig
    )
fi

platforms=()
for tag in 2_34 2_31 2_28 2_27 2_26 2_24 2_17; do  # pip takes each literally
    platforms+=(--platform "manylinux_${tag}_x86_64")
done
for name in "${names[@]}"; do
    # with its version by constraints.txt, whatever the case of the letters
    requirement=$(grep -i -m1 "^${name}==" constraints.txt) ||
        { echo "wheels.sh: constraints.txt has no $name" >&2; exit 1; }
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
        --dest "$folder" "$requirement"
done
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" .
du -ch "$folder"/*.whl | sort -h
