"""Options shared by several commands: --pipeline, --environment, --store."""

# No postponed annotations: modules that extend the class do not import the names in them.
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cyclopts import Parameter

from ai_workflow.config import loader
from ai_workflow.config.settings import Settings, StoreSection
from ai_workflow.registry.registry import Registry
from ai_workflow.storage.store import Store


@Parameter(name="*")
@dataclass
class Where:
    """Pipeline, environment and store of a command.

    Args:
        pipeline: YAML file of a pipeline; the pipeline of `config/base.yaml` if not given.
        environment: Which config/NAME.yaml; else AIW_ENVIRONMENT, else development.
        store: The store's root, if it is not the one of the configuration.
    """

    pipeline: Path | None = None
    environment: str | None = None
    store: str | None = None

    # Whether a store that does not exist holds nothing for the command: a mistake.
    _reads_only: ClassVar[bool] = True

    @property
    def loaded(self) -> loader.Loaded:
        """The configuration as the layers give it, with the origin of each key."""
        return loader.load(self.pipeline, environment=self.environment)

    @property
    def settings(self) -> Settings:
        """The configuration that applies.

        Raises:
            StoreError: `store` is a folder that does not exist.
        """
        found = self.loaded.settings
        if self.store is None:
            return found
        return found.model_copy(
            update={"store": StoreSection(root=Store(self.store).require(exists=self._reads_only).root)}
        )

    @property
    def registry(self) -> Registry:
        """The versions it means."""
        settings = self.settings
        return Registry(Store(settings.store.root), settings.models)
