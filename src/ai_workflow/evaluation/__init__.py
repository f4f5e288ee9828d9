"""Evaluation metrics, baseline, champion comparison, model card and plots."""
