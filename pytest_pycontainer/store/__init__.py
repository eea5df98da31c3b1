"""Everything on disk that outlives a run: image configs, extracted layers, tags and the build cache."""
