"""From a run to an exports folder: ONNX graphs, lower precisions, and the check that they agree."""
