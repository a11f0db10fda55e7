"""What is sent: request bodies read from files, or made up."""
