"""From a verdict to a better persona. Retrieval supplies the facts; what is learnt here is the manner."""
