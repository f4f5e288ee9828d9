"""Every block the project looks up, by name: what it is for, and the variables its values come from."""

from __future__ import annotations

from ai_workflow.provisioning.blocks.block_catalogue import ChatBlock, SecretBlock

SECRETS = (
    SecretBlock("database-password", "the password of the database that `sql` sources read"),
    SecretBlock("inference-token", "the bearer token of those who ask the inference service"),
    SecretBlock("inference-label-token", "the bearer token of those who send labels to the inference service"),
    SecretBlock("inference-admin-token", "the bearer token of those who administer it"),
    SecretBlock("relay-token", "the bearer token of Alertmanager and Prefect when they post alerts to the relay"),
)
CHATS = (ChatBlock("on-call", "the chat that alerts are told in"),)
