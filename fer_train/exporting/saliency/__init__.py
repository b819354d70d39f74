"""The graph `saliency.onnx`: a model together with its gradient at the pixels, in standard ONNX operators."""
