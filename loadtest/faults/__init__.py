"""What goes wrong on purpose, over real sockets and on real processes, and what the service must do about it."""
