"""Real devices on the backup: the shadow of a relayed session, and how it goes on when the master is gone."""
