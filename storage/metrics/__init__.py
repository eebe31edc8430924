"""Metrics: what the processes of this instance count, and what the database knows.

Each process keeps its numbers in memory and writes them into a file of its own every
few seconds; `flask metrics`, one process for each instance, adds the files up and
serves them. The multiprocess mode of prometheus-client maps files into memory instead,
and a full disk would kill a process that counts into such a file.
"""
