"""Pictures of the dashboards, rendered with Grafana UI components, not a Grafana server."""
