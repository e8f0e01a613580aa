"""Sockets to log: terminals connect, are told apart, and are answered when what they said is durable.

    links       one TCP connection each, and the table of all of them as columns
    sessions    which terminal is on which link, numbered so that a later one is always newer
    reception   what one frame means and what is answered: the answer table
    credentials authentication codes that need no database
    fleet       the local copy of known and blocked terminals
    pipeline    all that arrived in one turn of the loop, read as one batch
    commits     syncs, and the answers that wait for them
    sockets     plain TCP connections, polled, read and written together
    listening   the sockets that listen, for TCP, TLS and UDP
    doors       connections that begin with a PROXY header or a handshake
    proxy       that header
    certificates  what a handshake needs, renewed while we run
    datagrams   UDP: a link for each peer address
    addresses   how much of all that one address may take
    server      the clock, start and stop

The gateway reads headers. It decodes a body only where the answer needs it, and it works without the
database.
"""
