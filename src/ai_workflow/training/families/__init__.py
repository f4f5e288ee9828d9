"""Model families: LightGBM and a PyTorch perceptron."""
