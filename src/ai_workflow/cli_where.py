"""Whose configuration, store and versions a command means: what several commands ask for alike."""

# Without postponed annotations: who extends the class need not know the names in them.
from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from ai_workflow import config
from ai_workflow.registry import Registry
from ai_workflow.settings import Settings, StoreSection
from ai_workflow.store import Store


@Parameter(name="*")
@dataclass
class Where:
    """Whose versions.

    Args:
        pipeline: YAML file of a pipeline; the pipeline of `config/base.yaml` if not given.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        store: The store's root, if it is not the one of the configuration.
    """

    pipeline: Path | None = None
    environment: str | None = None
    store: str | None = None

    @property
    def loaded(self) -> config.Loaded:
        """The configuration as the layers give it, with the origin of each key."""
        return config.load(self.pipeline, environment=self.environment)

    @property
    def settings(self) -> Settings:
        """The configuration that applies.

        Raises:
            StoreError: `store` is a folder that does not exist.
        """
        found = self.loaded.settings
        if self.store is None:
            return found
        return found.model_copy(update={"store": StoreSection(root=Store(self.store).require().root)})

    @property
    def registry(self) -> Registry:
        """The versions it means."""
        settings = self.settings
        return Registry(Store(settings.store.root), settings.models)
