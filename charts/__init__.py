"""The Helm chart of the demo, and what keeps its generated parts up to date."""
