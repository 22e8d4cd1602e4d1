"""A trained model as others run it: one ONNX file, and all that is needed to ask it without Lehr."""
