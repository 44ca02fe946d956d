"""From trained weights to the one ONNX file that runs everywhere."""
