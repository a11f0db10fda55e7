"""What stands around the service in production. Code here builds and checks those files; it imports nothing of ours."""
