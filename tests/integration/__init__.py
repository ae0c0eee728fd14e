"""Parts of Stoker together with real servers."""
