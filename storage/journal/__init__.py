"""The catalogue journal: what changed in the database, on the members too."""
