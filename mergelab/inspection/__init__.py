"""Looking inside: what differs between sources, layer by layer, and where a graft broke."""
