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
# # Facial expressions: a CNN, a DNN, and what they look at
#
# This notebook is a course report from data to figures. It trains two networks that classify faces
# of 48x48 gray pixels into seven expressions, compares them, and then asks how the better one
# decides:
#
# 1. a **CNN** and its training curves,
# 2. a **DNN** of about as many parameters, compared with the CNN,
# 3. the **confusion matrix** and the pairs of classes that are confused,
# 4. **saliency maps**: the pixels that a decision depends on,
# 5. **gradient ascent** on the filters of a layer, and the layer's output for one face.
#
# **Data.** If the environment variable `FER2013_DIR` names a folder with `fer2013.csv` ([from
# Kaggle](https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge)),
# the notebook uses FER2013: 28,709 Training faces and 3,589 PublicTest faces. Otherwise it draws
# faces, as in the version that you see here. Drawn faces are easier than photographs, and narrow
# networks suffice for them, so the whole notebook runs in minutes on two CPU cores. Conclusions
# about real faces need FER2013. There the two networks train for several hours on a CPU; a GPU is
# much faster.

# %%
import math
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, display
from scipy.stats import binomtest

import fer_explain
import fer_infer
import fer_train
from fer_core import EXPRESSIONS, ModelCard, read_faces
from fer_core.io.csv.writer import write_csv
from fer_core.synthetic.data_set import synthesize
from fer_explain import AscentConfig, list_layers
from fer_train.models import count_multiply_adds, count_parameters

# %% [markdown]
# All choices are in the next cell. The drawn faces are few, so that batches are smaller and the
# moving average of the weights is shorter than the defaults. `SMALL` trains for one epoch on very
# few faces, to test that the notebook runs; its figures mean nothing.

# %% tags=["parameters"]
SMALL = os.environ.get("FER_EXAMPLES") == "small"
FER2013_DIR = os.environ.get("FER2013_DIR")

if FER2013_DIR:
    OUTPUT = Path("output/course_report_fer2013")
    DATA = Path(FER2013_DIR) / "fer2013.csv"
    CNN_WIDTHS, DNN_WIDTHS = (48, 96, 192), (1024, 512, 256)
    SETTINGS = {"epochs": 1 if SMALL else 100}
else:
    OUTPUT = Path("output/course_report")
    DATA = OUTPUT / "drawn_faces.csv"
    CNN_WIDTHS, DNN_WIDTHS = (12, 24, 48), (224, 112, 56)
    SETTINGS = {"epochs": 1 if SMALL else 30, "batch_size": 32, "ema_decay": 0.99}

DRAWN_FACES = 200 if SMALL else 2500
SPLIT = "PublicTest"

# %%
OUTPUT.mkdir(parents=True, exist_ok=True)
if not FER2013_DIR:
    write_csv(synthesize(DRAWN_FACES, seed=0), DATA, force=True)

training, test = read_faces(DATA, "Training"), read_faces(DATA, SPLIT)
counts = {
    split: np.bincount(faces.labels, minlength=7)
    for split, faces in {"Training": training, SPLIT: test}.items()
}
pd.DataFrame(counts, index=EXPRESSIONS).T.assign(total=lambda table: table.sum(axis=1))

# %% [markdown]
# One face per class, with its label:


# %%
def show_images(images, captions, columns=7, side=1.35, **options):
    """Draw images in rows, each with its caption."""
    rows = math.ceil(len(images) / columns)
    _, axes = plt.subplots(
        rows,
        columns,
        figsize=(side * columns, (side + 0.25) * rows),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat[len(images) :]:
        axis.axis("off")
    for axis, image, caption in zip(axes.flat, images, captions, strict=False):
        axis.imshow(image, **{"cmap": "gray", "interpolation": "nearest"} | options)
        axis.set_title(caption, fontsize=9)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color("lightgray")
    plt.show()


examples = [
    np.flatnonzero(test.labels == label)[0]
    for label in range(7)
    if label in test.labels
]
show_images(
    test.images[examples],
    [EXPRESSIONS[test.labels[i]] for i in examples],
    vmin=0,
    vmax=255,
)

# %% [markdown]
# ## 1. The CNN
#
# The network has seven convolutions of 3x3 pixels in groups of 2, 2 and 3. Each group ends with a
# max-pooling that halves height and width, and each following group has twice as many channels.
# Three dense layers of 256, 256 and 7 units turn the last feature maps into one number per class,
# the *logits*, and their softmax gives the probabilities. Every layer but the last is followed by a
# ReLU.
#
# A convolution uses the same weights at every position. The network therefore does not have to
# learn separately what a raised corner of the mouth looks like at each place where a mouth can be,
# and the pooling makes it less sensitive to small shifts.
#
# Training minimizes the cross-entropy with **Adam at a learning rate of 3e-4**, which is kept
# constant. Two measures work against overfitting:
#
# - **Dropout** of 0.5 in the hidden dense layers: each training step sees only a random half of the
#   units.
# - **Augmentation**: each training image is mirrored with a probability of one half, rotated by up
#   to 10 degrees, shifted and scaled by up to 10%, and its brightness and contrast vary by up to
#   10%. The label stays the same, so the network must not depend on these properties.
#
# The network is evaluated, and later exported, with a moving average of its weights over the last
# training steps, which is steadier than the weights themselves.
#
# The PublicTest faces are not used for training. They do not select anything either: the weights
# after the last epoch are kept, whatever the accuracy of an earlier epoch was. Otherwise the
# reported accuracy would be too high, because the best of many noisy numbers is better than the
# network.


# %%
def train(name, architecture, **arguments):
    """Train a network, or resume an earlier training in the same folder."""
    folder = OUTPUT / name
    if folder.exists():
        return fer_train.fit(DATA, folder, resume=True)
    return fer_train.fit(
        DATA,
        folder,
        architecture=architecture,
        architecture_arguments=arguments,
        **SETTINGS,
    )


cnn_run = train("cnn", "course-cnn", widths=CNN_WIDTHS, hidden=256, dropout=0.5)
cnn = fer_train.load_model(cnn_run)
list_layers(cnn)

# %% [markdown]
# The curves show loss and accuracy after each epoch:

# %%
cnn_run.plot()

# %% [markdown]
# How to read them:
#
# - Both losses fall and both accuracies rise as long as the network learns something that also
#   holds for other faces.
# - If the training loss kept falling while the PublicTest loss rose, the network would be
#   **overfitting**. Augmentation and dropout are there to prevent that.
# - The training accuracy can be *below* the PublicTest accuracy. It is measured during training,
#   with dropout and on augmented faces, which are harder than the original ones.
# - At the start the loss is near ln 7 = 1.95, the loss of a network that gives each class the same
#   probability. On few faces it can stay there for some epochs, until the first useful filters have
#   formed.
# - Curves that still fall at the last epoch mean that longer training would help. FER2013 needs
#   about 100 epochs; the drawn faces above get 30 to keep this notebook short.

# %% [markdown]
# ## 2. The DNN
#
# The rival has no convolutions: it reads the 2,304 pixels as a list and passes them through three
# hidden dense layers, 48x48-1024-512-256-7 in its full size. Widths are chosen so that both
# networks have about as many **parameters**; the comparison is then about how parameters are used,
# not about how many there are. Optimizer, augmentation and number of epochs are the same. The
# dropout is 0.3 in place of 0.5, since a network that underfits needs less of it.

# %%
dnn_run = train("dnn", "course-dnn", widths=DNN_WIDTHS)
dnn = fer_train.load_model(dnn_run)
RUNS = {"CNN": cnn_run, "DNN": dnn_run}

# %%
COLORS = {"CNN": "#0072B2", "DNN": "#D55E00"}
SERIES = {"validation": (SPLIT, "solid"), "train": ("Training", "dashed")}

_, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
    for network, run in RUNS.items():
        history = run.to_pandas()
        for column, (split, linestyle) in SERIES.items():
            axis.plot(
                history["epoch"],
                history[f"{column}_{measure}"],
                color=COLORS[network],
                linestyle=linestyle,
                marker="o" if len(history) == 1 else None,
                label=f"{network}, {split}",
            )
    axis.set(xlabel="epoch", ylabel=measure)
    axis.grid(alpha=0.3)
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# Both networks are exported to ONNX. The export checks that the exported graph computes the same as
# the PyTorch network, and from here on the exported models are scored and explained. The evaluation
# gives each accuracy with its 95% Wilson confidence interval.

# %%
EXPORTS = {name: OUTPUT / "exports" / name.lower() for name in RUNS}
evaluations = {}
for name, folder in EXPORTS.items():
    fer_train.export(RUNS[name], folder, force=True)
    evaluations[name] = fer_infer.evaluate(
        DATA, folder, OUTPUT / f"evaluation-{name.lower()}", split=SPLIT, force=True
    )

comparison = {}
for name, network in {"CNN": cnn, "DNN": dnn}.items():
    comparison[name] = {
        "parameters": f"{count_parameters(network):,}",
        "multiply-adds per face": f"{count_multiply_adds(network):,}",
        f"{SPLIT} accuracy": f"{evaluations[name].accuracy:.1%}",
        "95% interval": "{:.1%} to {:.1%}".format(*evaluations[name].wilson_95),
        "Training accuracy": f"{RUNS[name].history[-1]['train_accuracy']:.1%}",
    }
pd.DataFrame(comparison)

# %% [markdown]
# Is the difference more than chance? Both networks classify the *same* faces, so the exact
# **McNemar test** applies: only faces that one network classifies correctly and the other does not
# are informative. If the networks were equally good, each of these faces would be like a coin toss.

# %%
predictions = {}
for name, folder in EXPORTS.items():
    with fer_infer.Scorer(folder) as model:
        predictions[name] = model.predict_proba(test).argmax(axis=1)

correct = {name: labels == test.labels for name, labels in predictions.items()}
only_cnn = int((correct["CNN"] & ~correct["DNN"]).sum())
only_dnn = int((correct["DNN"] & ~correct["CNN"]).sum())
p = binomtest(only_cnn, only_cnn + only_dnn).pvalue if only_cnn + only_dnn else 1.0
print(
    f"correct only by the CNN: {only_cnn} faces, only by the DNN: {only_dnn} faces "
    f"of {len(test):,}; p = {p:.2g}"
)

# %% [markdown]
# **What the comparison shows.** A DNN connects each hidden unit with every pixel and learns each
# position separately. A CNN shares its weights over positions. With as many parameters it can
# afford several layers of features, and it pays with computation: the same weights are used
# thousands of times per face, hence the many more multiply-adds. A DNN that is shown augmented
# faces has to learn every shift and rotation as a new pattern, so its training accuracy is low,
# too: it **underfits**. It also learns more slowly. On the drawn faces it was still improving after
# 30 epochs; 120 epochs took it to 52% of 250 faces, still far below the CNN after 30.
#
# One training per network says nothing about the scatter between random seeds. A careful report
# repeats both with several seeds, for instance `seed=1` and `seed=2` in `SETTINGS`.
#
# The toolkit includes both course networks in full size, trained on FER2013. Their model cards
# state how accurate they are on real faces:

# %%
rows = {}
for name in ("course-cnn", "course-dnn"):
    card = ModelCard.load_json(Path("../exports") / name / "card.json")
    (split, score), *_ = card.scores.items()
    rows[name] = {
        "split": split,
        "faces": score["n"],
        "accuracy": f"{score['accuracy']:.1%}",
        "95% interval": "{:.1%} to {:.1%}".format(*score["wilson_95"]),
    }
pd.DataFrame(rows).T

# %% [markdown]
# ## 3. The confusion matrix
#
# Accuracy is one number; the confusion matrix shows which classes it hides. Each row contains the
# faces of one class, each column the faces that were predicted as one. The diagonal holds the
# correct predictions.

# %%
display(Image(OUTPUT / "evaluation-cnn/confusion.png", width=620))

# %%
evaluations["CNN"]

# %% [markdown]
# **Precision** is the share of faces predicted as a class that belong to it, **recall** the share
# of the faces of a class that were found, and **F1** their harmonic mean. A class with few faces,
# such as disgust in FER2013, has a wide interval: a difference within the intervals means little.
#
# The pairs of classes that are confused most, in either direction:

# %%
pairs = evaluations["CNN"].most_confused_pairs
pd.DataFrame(pairs[:5]).style.format({"share": "{:.1%}"}).hide()

# %% [markdown]
# On FER2013 the pairs at the top are sad and neutral, and **fear and sad**. They have causes in
# common: both raise the inner brows, a neutral mouth differs little from a slightly sad one, and
# FER2013's labels, which come from web searches, are often wrong; people agree with them on about
# 65% of the faces (Goodfellow et al. 2013). Drawn faces have no wrong labels, but many show their
# expression faintly.
#
# The faces below belong to the pair that is confused most. Each caption states the true class and
# then the predicted one.

# %%
predicted = predictions["CNN"]
if pairs:
    pair = [EXPRESSIONS.index(name) for name in pairs[0].pair.split(" and ")]
    confused = np.flatnonzero(
        np.isin(test.labels, pair)
        & np.isin(predicted, pair)
        & (test.labels != predicted)
    )[:14]
    captions = [
        f"{EXPRESSIONS[test.labels[i]]}: {EXPRESSIONS[predicted[i]]}" for i in confused
    ]
    show_images(test.images[confused], captions, vmin=0, vmax=255)

# %% [markdown]
# ## 4. Saliency maps: where the model looks
#
# A **saliency map** (Simonyan, Vedaldi and Zisserman 2013) is the gradient of the predicted class's
# logit with respect to the pixels. Its absolute value shows how strongly the logit reacts to a tiny
# change of each pixel. One backward pass computes it.
#
# Each picture shows a face, its map, and the **masked face**: the 20% most salient pixels are kept,
# and the others are replaced by the mean gray level of the face. First one face, then several:

# %%
maps = fer_explain.explain(EXPORTS["CNN"], test, method="saliency")
correctly = [
    np.flatnonzero((test.labels == label) & (predicted == label))[:1]
    for label in range(7)
]
shown = np.concatenate([*correctly, np.arange(4)])[:4]
maps.plot(shown[0])

# %%
maps[shown]

# %% [markdown]
# The mean map of each predicted class shows what single maps hide in their noise:

# %%
classes = [label for label in range(7) if (predicted == label).any()]
strength = np.abs(maps.to_numpy())
strength /= strength.max(axis=(1, 2), keepdims=True).clip(min=1e-12)
mean_maps = [strength[predicted == label].mean(axis=0) for label in classes]
captions = [f"{EXPRESSIONS[label]} ({(predicted == label).sum()})" for label in classes]
show_images(mean_maps, captions, cmap="inferno", vmin=0)

# %% [markdown]
# On the drawn faces the maps of happy, sad, fear and surprise are brightest at the mouth, and those
# of angry at the brows.
#
# ### Do the maps show what matters?
#
# A map is easy to believe, because we know where *we* would look. Two experiments test it. The
# model classifies faces of which it sees only 20% of the pixels (**keep**), and faces without these
# pixels (**remove**). If the map is right, keeping the most salient pixels should preserve more
# correct predictions than keeping others, and removing them should destroy more. Two controls keep
# as many pixels: a square in the center, where every face has its eyes, nose and mouth, and pixels
# chosen at random.

# %%
SHARE = 0.2
SIDE = round(48 * SHARE**0.5)
corner = 24 - SIDE // 2

center = np.zeros(test.images.shape, bool)
center[:, corner : corner + SIDE, corner : corner + SIDE] = True
masks = {
    "most salient": fer_explain.salient_mask(maps.to_numpy(), SHARE),
    "center": center,
    "random": np.random.default_rng(0).random(test.images.shape) < SHARE,
}

altered = {"unaltered": {"keep": test.images, "remove": test.images}}
for name, mask in masks.items():
    altered[name] = {
        "keep": fer_explain.masked_face(test.images, mask),
        "remove": fer_explain.masked_face(test.images, ~mask),
    }

accuracies = {}
with fer_infer.Scorer(EXPORTS["CNN"]) as model:
    for name, images in altered.items():
        accuracies[name] = {
            what: (model.predict_proba(faces).argmax(axis=1) == test.labels).mean()
            for what, faces in images.items()
        }
print(f"accuracy on {len(test):,} faces")
pd.DataFrame(accuracies).T.style.format("{:.1%}")

# %% [markdown]
# For the drawn faces the maps pass: the model recognizes far more faces by the most salient fifth
# of the pixels than by a central square of the same area, and without that fifth it is hardly
# better than chance, which is 14% for seven equally frequent classes. Random pixels do worst,
# although they still show the coarse shape of the face. Repeat this with your own model before you
# trust its maps.

# %% [markdown]
# ### What a saliency map is not
#
# - **Not the importance of a region.** The gradient describes tiny changes of the pixels. Where the
#   logit hardly reacts any more, the gradient is small, although the region may have decided.
# - **Not a segmentation.** A map is scattered over pixels. Neighboring pixels carry the same
#   information, and the network uses some of them.
# - **Not a reason.** A map at the mouth does not say whether the mouth was open or closed.
# - **Not evidence that the model is right.** Maps of wrong predictions look just as convincing.
# - **Not independent of the face.** Edges attract gradients in any network. Methods that give
#   similar maps for a network with random weights (Adebayo et al. 2018) explain the image, not the
#   network; `fer-explain sanity` tests this.
# - **The masked faces above are unlike any training face.** Low accuracy on them can come from the
#   unusual look as well as from missing information.
#
# `fer-explain methods` lists further methods, such as integrated gradients, whose maps add up to
# the difference of the logit from that of a gray image. `fer-explain faithfulness` measures what
# this section only sketched, with confidence intervals.

# %% [markdown]
# ## 5. What the filters respond to
#
# **Gradient ascent** (Erhan et al. 2009) turns the question around: not which pixels of a face a
# filter responds to, but which image activates it most. It starts with gray noise and repeatedly
# changes the *image* in the direction of the gradient of the filter's mean activation, while the
# weights stay as they are. Small random shifts and rotations and a penalty on rough images keep it
# from ending in noise.
#
# Filters of the second convolution and of the last one, after their ReLU:

# %%
relus = [
    layer
    for layer in list_layers(cnn)
    if layer.kind == "ReLU" and len(layer.shape) == 3
]
ascent = AscentConfig(steps=8 if SMALL else 128)


def show_maximized(layer, channels=21):
    """Draw the images that maximize a layer's channels, and their mean activations."""
    channels = range(min(channels, layer.shape[0]))
    found = fer_explain.maximize_channels(cnn, layer.name, channels, ascent)
    captions = [
        f"{channel}: dead" if dead else f"{channel}: {reached:.1f}"
        for channel, reached, dead in zip(
            found.channels, found.reached, found.dead, strict=True
        )
    ]
    print(f"{layer.name}: {len(channels)} of {layer.shape[0]} channels")
    show_images(found.images, captions, vmin=0, vmax=255)


show_maximized(relus[1])

# %%
show_maximized(relus[-1])

# %% [markdown]
# - Filters of the **second convolution** see 5x5 pixels. Some respond to stripes of one direction,
#   which are edges in a face; others to plain bright or dark areas, and then the best image is
#   white or black.
# - Filters of the **last convolution** have a large receptive field and combine what earlier layers
#   found. Their images contain curves and corners, sometimes rows of parts that resemble brows or
#   mouths, because the mean activation is highest when the feature is everywhere. It is tempting to
#   name such a filter after what one recognizes. A better test is which real faces activate it,
#   which `fer-explain filters` shows.
# - A **dead** filter is inactive for every image that the ascent found. It does nothing but cost
#   time.
#
# The same method applied to the logits gives the image that the network finds most typical of each
# class:

# %%
logits_layer = list_layers(cnn)[-1]
found = fer_explain.maximize_channels(cnn, logits_layer.name, config=ascent)
captions = [
    f"{name}: {reached:.0f}"
    for name, reached in zip(EXPRESSIONS, found.reached, strict=True)
]
show_images(found.images, captions, vmin=0, vmax=255)
print(f"largest logit of a {SPLIT} face: {maps.logits.max():.0f}")

# %% [markdown]
# The logits of these images, in the captions, are far higher than those of any face, and no person
# would recognize a face in most of them. The network has learned what distinguishes the classes,
# not what a face is.
#
# ### The layer's output for image 17
#
# Finally, the forward direction: the outputs of the first ReLU and of a deeper one for one face,
# number 17 of the PublicTest faces, counted from 0. Bright positions are active.

# %%
image = test.images[17]
names = EXPRESSIONS[test.labels[17]], EXPRESSIONS[predicted[17]]
show_images([image], ["image 17: {}, predicted {}".format(*names)], columns=1, side=3)


def show_feature_maps(layer, channels=14):
    """Draw a layer's output for image 17, each channel on a scale of its own."""
    maps = fer_explain.layer_output(cnn, image, layer.name)[:channels]
    print(f"{layer.name}: output {layer.shape_text}")
    show_images(
        maps,
        [f"channel {channel}" for channel in range(len(maps))],
        cmap="inferno",
        vmin=0,
    )


show_feature_maps(relus[0])

# %%
show_feature_maps(relus[4])

# %% [markdown]
# The first layer keeps the picture: each channel is a filtered copy, bright at edges of one
# direction or in dark or light areas. After two poolings the maps have 12x12 positions, and little
# of the face can be recognized: each channel marks *where* its feature was found, and is zero
# elsewhere. That most values are zero is normal, since a feature such as an open mouth is absent in
# most places.
#
# ## Summary
#
# - With as many parameters, the CNN is more accurate than the DNN, and it needs more computation
#   per face.
# - Errors concentrate in pairs of expressions that share facial movements.
# - Saliency maps show sensitivity, not reasons, and a map has to be tested before it is believed.
# - Filters of early layers respond to edges; those of later layers to combinations of them.
#
# **Next steps:** set `FER2013_DIR` and run the notebook again; vary one choice at a time, such as
# dropout, augmentation or the number of convolutions; repeat each training with several seeds; and
# read `fer-explain report`, which collects these figures in one page.
