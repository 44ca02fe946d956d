"""Partial gradients for any PyTorch model."""
