"""Tests of the generated rules by promtool: each alert just beyond and just short of each limit."""
