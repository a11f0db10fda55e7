"""How much does one replica carry? The highest rate that holds an objective, by bisection. See docs/capacity.md."""
