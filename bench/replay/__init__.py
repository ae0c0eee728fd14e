"""A recorded working hour, played through two cache layers: what is asked, who answers, how it is judged."""
