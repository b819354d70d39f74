"""Train classifiers of facial expressions and export them."""

import os

# With AVX2, MKL's products of matrices depend on where in memory they lie, by an ulp and from call to call: the same
# seed would give other weights. MKL reads this when it is first used; a setting of the user's own stays.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
