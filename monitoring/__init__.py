"""SLOs, alerts and dashboards of the project.

`ai-workflow slo build` generates all configuration from them.
"""
