"""Vision backbones built from scan programs."""
