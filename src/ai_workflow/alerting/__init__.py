"""Alert relay: notifications of Alertmanager and Prefect, delivered to chat channels."""
