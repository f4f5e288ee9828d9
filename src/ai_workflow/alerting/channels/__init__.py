"""Chat channels, one file per vendor."""
