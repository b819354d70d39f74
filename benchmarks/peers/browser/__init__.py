"""The packages @vladmandic/face-api and @vladmandic/human, and ONNX Runtime Web, run in Node."""
