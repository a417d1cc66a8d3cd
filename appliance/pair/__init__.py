"""Two appliances that are one: who is master, what the backup has, and how it takes over."""
