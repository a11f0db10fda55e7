"""The sampled audit log: pairs as they were scored, on disk, for a teacher to check later."""
