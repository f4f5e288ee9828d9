"""One stage, one job: plain functions from references to references, with the store between them."""
