"""A service with upstreams and load, on this machine or out of the chart's manifests."""
