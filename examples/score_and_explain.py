# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Score a file, find the worst mistakes, explain them
#
# This notebook shows the work of an engineer with a trained model from `exports/`: predict a
# picture, an array and a DataFrame; score a file; read the predictions with pandas; measure the
# accuracy; find the most confident mistakes; explain them; and save a report.
#
# **Data.** If the environment variable `FER2013_DIR` names a folder with `fer2013.csv`, its
# PublicTest faces are evaluated. Otherwise the notebook draws faces, as in the version that you see
# here. The shipped models were trained on FER2013, which contains photographs. **Drawn faces are a
# different domain, and the accuracy on them is low, below 30%.** The cells work in the same way,
# and the many mistakes are something to explain, but no accuracy below says how good the model is
# on photographs. Its model card does; see section 1.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

import fer_explain
import fer_infer
from fer_core import FerError, read_faces
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_infer import Scorer

# %% [markdown]
# `SMALL` uses few faces and a small model, to test that the notebook runs.

# %% tags=["parameters"]
SMALL = os.environ.get("FER_EXAMPLES") == "small"
FER2013_DIR = os.environ.get("FER2013_DIR")
MODEL = Path("../exports/compact" if SMALL else "../exports/best")
OUTPUT = Path("output/score_and_explain")
DRAWN_FACES = 100 if SMALL else 500
SHOWN = 2 if SMALL else 6
SPLIT = "PublicTest" if FER2013_DIR else None  # no model has seen the drawn faces

# %% [markdown]
# ## 1. Open a model
#
# A model is an *exports folder*. `Scorer` runs its ONNX graph, which includes scaling,
# standardization and softmax, so that there is nothing to preprocess. By default it selects the
# fastest graph for the device: fp16 on CUDA, and int8 on a CPU.

# %%
model = Scorer(MODEL)
model

# %%
model.classes_

# %% [markdown]
# Each model carries a model card: what it was trained on, and how accurate it is. `n` is the number
# of faces, and the interval is the 95% Wilson confidence interval.

# %%
pd.DataFrame(model.card.scores).loc[["n", "accuracy", "wilson_95"]]

# %% [markdown]
# ## 2. Predict
#
# A picture of a face, 48x48 gray pixels, cut out tightly. This one is a crop of NASA's portrait of
# the astronaut Eileen Collins (public domain).

# %%
picture = Image.open("astronaut.png")
probabilities = model.predict_proba(picture)[0]

_, (left, right) = plt.subplots(
    1, 2, figsize=(7, 2.6), width_ratios=[1, 2], layout="constrained"
)
left.imshow(picture, cmap="gray")
left.axis("off")
right.barh(model.classes_, probabilities, color="#0072B2")
right.invert_yaxis()
right.set(
    xlim=(0, 1), xlabel="probability", title=f"predicted: {model.predict(picture)[0]}"
)
plt.show()

# %% [markdown]
# `predict` and `predict_proba` follow scikit-learn. They take a path, `Faces`, a uint8 array of
# shape (48, 48) or (N, 48, 48), one PIL image or several, or a DataFrame:

# %%
array = np.stack([np.asarray(picture), np.asarray(picture)[:, ::-1]])
model.predict(array)

# %% [markdown]
# A DataFrame needs a column `pixels`, as in FER2013 files. The result is a Series or a DataFrame
# with the same index, so it can be joined at once:

# %%
frame = pd.DataFrame(
    {"pixels": list(array)}, index=pd.Index(["as taken", "mirrored"], name="picture")
)
model.predict_proba(frame).style.format("{:.3f}")

# %% [markdown]
# ## 3. Score a file
#
# `fer_infer.score` writes the predictions for a file of any length in constant memory. The names of
# the files decide their formats: `.csv`, `.csv.gz`, `.csv.zst` or `.parquet`. The output appears
# complete or not at all.

# %%
OUTPUT.mkdir(parents=True, exist_ok=True)
if FER2013_DIR:
    DATA = Path(FER2013_DIR) / "fer2013.csv"
else:
    DATA = OUTPUT / "drawn_faces.csv"
    write_csv(synthesize(DRAWN_FACES, seed=0), DATA, force=True)

summary = fer_infer.score(
    DATA, MODEL, OUTPUT / "predictions.parquet", columns="probabilities", force=True
)
print(
    f"{summary.output}: {summary.rows:,} rows, {summary.precision} on {summary.provider}"
)

# %%
predictions = pd.read_parquet(OUTPUT / "predictions.parquet")
predictions.head().style.format(precision=3)

# %% [markdown]
# `id` is the value of the `id` column or, as here, the position of the face in the file, and
# `label` is the number of the predicted class. How often was each class predicted?

# %%
pd.Series(model.classes_[predictions["label"]]).value_counts()

# %% [markdown]
# **Damaged rows** stop the work with one line that names file, row and column. With
# `on_error="skip"` they are left out and listed in a file next to the output, so that nothing is
# lost without a trace.

# %%
damaged = OUTPUT / "damaged.csv"
header, first, second, *_ = DATA.open().read(100_000).splitlines()
damaged.write_text(
    "\n".join([header, first, second.replace(" ", " x", 1), second]) + "\n"
)

try:
    fer_infer.score(damaged, MODEL, OUTPUT / "damaged_predictions.csv", force=True)
except FerError as error:
    print(error)

# %%
summary = fer_infer.score(
    damaged, MODEL, OUTPUT / "damaged_predictions.csv", on_error="skip", force=True
)
print(f"{summary.rows} rows scored")
pd.read_csv(summary.rejects)

# %% [markdown]
# ## 4. Compare with the labels
#
# `fer_infer.evaluate` reads the file once and reports every accuracy with n and a 95% interval. It
# also writes tables and plots.

# %%
evaluation = fer_infer.evaluate(
    DATA, MODEL, OUTPUT / "evaluation", split=SPLIT, force=True
)
evaluation

# %% [markdown]
# The tables are DataFrames. The confusion matrix, true classes as rows:

# %%
evaluation.to_pandas("confusion").style.background_gradient(cmap="Blues", axis=1)

# %% [markdown]
# Differences between two models, or two versions of one, need the same care. If the intervals are
# far apart, the difference is more than chance; if they overlap, compare face by face on the same
# faces.
#
# ## 5. The worst mistakes
#
# The most instructive faces are wrong predictions with a high probability. They often have a wrong
# label, or they show what the model has not learned.

# %%
faces = read_faces(DATA, SPLIT)
if SMALL:
    faces = faces.take(slice(40))
probabilities = model.predict_proba(faces)

table = pd.DataFrame(
    {
        "row": faces.rows,
        "true": model.classes_[faces.labels],
        "predicted": model.classes_[probabilities.argmax(axis=1)],
        "confidence": probabilities.max(axis=1),
        "probability of the true class": probabilities[
            np.arange(len(faces)), faces.labels
        ],
    }
)
mistakes = table[table["true"] != table["predicted"]].nlargest(SHOWN, "confidence")
percent = {"confidence": "{:.1%}", "probability of the true class": "{:.1%}"}
mistakes.style.format(percent).hide()

# %% [markdown]
# `row` is the row of the file, where the header is row 1, as in the error messages. Which mistakes
# are the most frequent?

# %%
pd.crosstab(table["true"], table["predicted"]).stack().rename(
    "faces"
).reset_index().query("true != predicted").nlargest(5, "faces").style.hide()

# %% [markdown]
# ## 6. Explain them
#
# `fer_explain.explain` first checks that the PyTorch weights which it explains compute the same as
# the ONNX graph that was scored. **Integrated gradients** (Sundararajan, Taly and Yan 2017)
# distribute the difference between the logit of the face and that of a gray image over the pixels.
# Orange pixels support the class, blue pixels oppose it.
#
# Why the *predicted*, wrong class?

# %%
worst = faces.take(mistakes.index)
maps = fer_explain.explain(
    MODEL, worst, method="integrated-gradients", samples=4 if SMALL else 32
)
maps

# %% [markdown]
# And what supports the *true* class in the same faces?

# %%
of_true_class = fer_explain.explain(
    MODEL,
    worst,
    method="integrated-gradients",
    target="true",
    samples=4 if SMALL else 32,
)
of_true_class.plot(0)

# %% [markdown]
# The maps are arrays, so they can be analyzed further. How much of the attribution lies in the
# upper half of the face, with eyes and brows, and how much in the lower half, with nose and mouth?

# %%
strength = np.abs(maps.to_numpy())
upper = strength[:, :24].sum(axis=(1, 2)) / strength.sum(axis=(1, 2))
pd.DataFrame(
    {"row": maps.rows, "predicted": maps.predictions, "upper half": upper}
).style.format({"upper half": "{:.0%}"}).hide()

# %% [markdown]
# A map shows what one decision depends on. It does not show whether the decision is right, and it
# can be wrong itself; `fer-explain faithfulness` and `fer-explain sanity` test maps. The maps of a
# model that is hardly better than chance mean little, and the report warns of such a model.
#
# ## 7. Save a report
#
# The report is one HTML page that needs no other file: accuracy, the check of the model, the chosen
# faces with maps by several methods, tests of these maps, and the filters of a layer.

# %%
page = fer_explain.write_report(
    faces, MODEL, OUTPUT / "report", rows=mistakes["row"].tolist(), force=True
)
print(f"open {page} in a browser")

# %%
model.close()

# %% [markdown]
# **The same from a shell:**
#
# ```
# fer-infer score faces.csv --model exports/best --output predictions.parquet --columns probabilities
# fer-infer evaluate faces.csv --split PublicTest --model exports/best --output evaluation
# fer-explain report faces.csv --split PublicTest --model exports/best --worst 6 --output report
# ```
