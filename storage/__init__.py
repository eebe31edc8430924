"""Bytes and rows: the blob service, the members, the jobs, the array page."""
