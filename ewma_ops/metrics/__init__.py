"""What flows measure of themselves, as Prometheus families: `families` has all of this room."""
