"""What operators deploy with: the Helm chart, the image."""
