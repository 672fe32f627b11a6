"""A page that separates on its visitor's own machine: nano on ONNX Runtime's build for browsers, and nothing else."""
