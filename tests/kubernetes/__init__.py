"""A real Kubernetes on this machine, where the chart is installed and its pods run: `make kubernetes`."""
