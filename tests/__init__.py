"""Everything that Stoker promises, tried on real servers."""
