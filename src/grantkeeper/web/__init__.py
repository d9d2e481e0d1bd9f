"""HTTP in and out: the edge, the API, the browser's pages. Must not know SQL or a provider's wire."""
