"""Labels, label join, performance of versions in production and drift."""
