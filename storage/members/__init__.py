"""Where objects are kept: the members that the engine is given."""
