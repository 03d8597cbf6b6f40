"""Dreaming a region: pure functions on tensors, which know nothing of files, sockets or processes.

Read in this order: `region` (boxes and pieces), `windows` (what the network is shown), `objectives`,
`gradient` (one window through the network and back), `pyramid` (resizing, normalising), `dream` (the loop).
"""
