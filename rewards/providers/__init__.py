"""Where replies of language models come from: a server, or replies kept in the repository."""
