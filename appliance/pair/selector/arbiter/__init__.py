"""The arbiter: a small machine that turns the switch of a hub for two appliances, asked over serial lines."""
