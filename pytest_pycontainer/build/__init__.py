"""From a Dockerfile to an image: read, plan, carry out, with a cache that all processes share."""
