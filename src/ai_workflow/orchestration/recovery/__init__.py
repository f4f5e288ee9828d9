"""Recovery of flow runs whose process has died."""
