"""A fleet that does not exist, on real TCP: what demo, tests and benchmarks talk to the gateway with.

    roads     corridors of Liaoning as lines that one can drive along
    vehicle   one vehicle on one road: where it is, how fast, whether it rests
    terminal  the terminal's side of the standard: register, report, keep what is not answered, come back
    story     who presses the button when, who loses power, who falls asleep
    fleet     the sockets

Only `fleet` does I/O and reads a clock; the others take time as an argument and chance as a seeded generator,
so that one seed tells one story.
"""
