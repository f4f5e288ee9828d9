"""Files that the SLO compiler writes: Alertmanager, Grafana, scrape configuration, metrics page."""
