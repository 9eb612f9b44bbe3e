"""The demonstration: a broker, real readings, and the real flow on them (extra ``demo``)."""
