"""The distribution protocol: images from and to registries (OCI distribution-spec 1.1, Docker Registry HTTP API V2)."""
