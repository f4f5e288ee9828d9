"""Names and purposes of the Prefect blocks of the project."""

from __future__ import annotations

from ai_workflow.provisioning.blocks.block_catalogue import ChatBlock, SecretBlock

SECRETS = (
    SecretBlock("database-password", "the password of the database of `sql` sources"),
    SecretBlock("inference-token", "the bearer token of clients of the inference service"),
    SecretBlock("inference-label-token", "the bearer token of senders of labels to the inference service"),
    SecretBlock("inference-admin-token", "the bearer token of administrators of the inference service"),
    SecretBlock("relay-token", "the bearer token of Alertmanager and Prefect for the alert relay"),
)
CHATS = (ChatBlock("on-call", "the chat channel that receives alerts"),)
