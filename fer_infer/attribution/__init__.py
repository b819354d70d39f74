"""Attribution methods that need only the outputs and the gradient of a model, by ONNX Runtime or by PyTorch."""
