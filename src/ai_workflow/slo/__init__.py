"""SLO compiler: slo.yaml to Prometheus rules, Alertmanager and Grafana configuration."""
