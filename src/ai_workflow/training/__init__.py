"""Trainer protocol, training loop and checkpoints."""
